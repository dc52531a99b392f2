// The gradient modes on CUDA beside the CPU's, in memory of the promised sizes between sentinels; and
// training steps in them, recorded and not.
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/unrolled/unrolled_solver.h"
#include "kernels/cuda_loader.h"
#include "kernels/device_array.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/device_buffer.h"
#include "tests/training/training_steps_case.h"

using namespace tvmap;
using namespace tvmap::tests;
using pdhg_case::Data, pdhg_case::Floats;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

std::unique_ptr<Backend> cuda_backend() { return tvmap_cuda_library()->open("fp32"); }

GradientMode mode_of(const std::string& name) {
    const auto mode = gradient_mode(name);
    REQUIRE(mode.has_value());
    return *mode;
}

/// Memory of a backend with sentinels before and behind it, and in it at first.
class Watched {
  public:
    Watched(Backend& backend, std::size_t bytes) : memory_(backend, bytes + 2 * margin) {
        const std::vector<std::uint8_t> sentinels(memory_.size(), sentinel);
        memory_.upload(sentinels.data(), sentinels.size());
    }
    Watched(Backend& backend, const Floats& values) : Watched(backend, 4 * values.size()) {
        memory_.upload(reinterpret_cast<const std::uint8_t*>(values.data()), 4 * values.size(), margin);
    }
    template <class T = void>
    T* data() const {
        return reinterpret_cast<T*>(memory_.data() + margin);
    }
    Floats floats() const {
        Floats values((memory_.size() - 2 * margin) / 4);
        memory_.download(reinterpret_cast<std::uint8_t*>(values.data()), 4 * values.size(), margin);
        return values;
    }
    bool intact() const {
        std::vector<std::uint8_t> ends(2 * margin);
        memory_.download(ends.data(), margin);
        memory_.download(ends.data() + margin, margin, memory_.size() - margin);
        return std::all_of(ends.begin(), ends.end(), [](std::uint8_t b) { return b == sentinel; });
    }

  private:
    static constexpr std::size_t margin = 256;
    static constexpr std::uint8_t sentinel = 0xc5;  // floats of -6331.8
    DeviceArray<std::uint8_t> memory_;
};

struct Gradient {
    Floats x, d_lambda, d_z;
    int adjoint_steps = 0;
};

Gradient run_mode(Backend& backend, const PdhgProblem& s, int iterations, const GradientMode& mode,
                  const Data& data, Write write) {
    UnrolledSolver solver(backend, s, iterations, mode);
    const Watched z(backend, data.z), lambda(backend, data.lambda), d_x(backend, data.d_x),
        d_lambda(backend, Floats(data.lambda.size(), 0.5f)), d_z(backend, Floats(data.d_x.size(), 0.25f)),
        x(backend, 4 * data.d_x.size()), saved(backend, solver.saved_bytes()),
        forward(backend, solver.forward_workspace_bytes()),
        backward(backend, solver.backward_workspace_bytes());
    const SolverInput input{.b = z.data<float>(), .lambda = lambda.data<float>()};
    solver.forward(input, x.data<float>(), solver.saved_bytes() ? saved.data() : nullptr, forward.data());
    solver.backward(saved.data(), input, d_x.data<float>(),
                    {.d_lambda = d_lambda.data<float>(), .d_b = d_z.data<float>(), .write = write},
                    backward.data());
    backend.synchronise();
    for (const Watched* memory : {&z, &lambda, &d_x, &d_lambda, &d_z, &x, &saved, &forward, &backward})
        CHECK(memory->intact());
    return {x.floats(), d_lambda.floats(), d_z.floats(), solver.adjoint_steps()};
}

}  // namespace

TEST_CASE("every mode has the CPU's bits") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    PdhgProblem shared = pdhg_case::problem_of(7, 18, MapKind::shared, 2),
                separate = pdhg_case::problem_of(5, 16, MapKind::separate);
    separate.boundary = Boundary::neumann;
    separate.dual_start = DualStart::image;
    separate.theta = 0.8f;
    for (const PdhgProblem& s : {shared, separate})
        for (const std::string name : {"masks", "stored", "truncated:5", "implicit", "checkpoint"}) {
            CAPTURE(name);
            CAPTURE(s.width);
            const Data data = pdhg_case::make_data(s, 6);
            const int iterations = name == "checkpoint" ? 260 : 12;  // so many that it has several segments
            const GradientMode mode = mode_of(name);
            if (name == "checkpoint") CHECK(UnrolledSolver(*cuda, s, iterations, mode).saved_bytes() > 0);
            for (const Write write : {Write::overwrite, Write::accumulate}) {
                const Gradient expected = run_mode(*cpu, s, iterations, mode, data, write),
                               got = run_mode(*cuda, s, iterations, mode, data, write);
                CHECK(compared_bits(got.x, expected.x));
                CHECK(compared_bits(got.d_lambda, expected.d_lambda));
                CHECK(compared_bits(got.d_z, expected.d_z));
                CHECK(got.adjoint_steps == expected.adjoint_steps);
            }
        }
}

TEST_CASE("training steps in a mode, recorded or not: the same bits, the CPU's but for rounding") {
    Workshop w;
    for (const std::string name : {"stored", "truncated:2", "implicit"}) {
        CAPTURE(name);
        w.config.solver.gradient = mode_of(name);
        // So fine that a stretch more or less, where rounding decides, is not seen.
        w.config.solver.gradient.tolerance = 1e-6;
        w.config.solver.gradient.cap = 400;
        const Outcome cpu = train(w, make_backend("cpu"), Way::host);
        w.algorithms = {};
        const Outcome expected = train(w, cuda_backend(), Way::host),
                      recorded = train(w, cuda_backend(), Way::resident, 4);
        w.algorithms = {};
        for (std::size_t step = 0; step < cpu.losses.size(); ++step)
            // Convolutions and losses add up in another order, nine times after each other.
            CHECK(expected.losses[step] == doctest::Approx(cpu.losses[step]).epsilon(1e-4));
        CHECK(recorded.losses == expected.losses);
        CHECK(compared_bits(recorded.weights, expected.weights));
    }
}
