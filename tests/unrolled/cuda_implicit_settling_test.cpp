// Where the implicit adjoint with a tolerance ends: after the first stretch of 32 steps whose part of the map's gradient
// is small beside the whole, in every solve; by norms that this test takes in double, and after the same stretch on both
// backends.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "engine/unrolled/unrolled_solver.h"
#include "kernels/cuda_loader.h"
#include "kernels/device_array.h"
#include "tests/support/device_buffer.h"
#include "tests/unrolled/gradient_modes_case.h"

using namespace tvmap;
using gradient_modes_case::Data, gradient_modes_case::Floats;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

constexpr int stretch = 32, stretches = 9;

struct Ended {
    Floats d_lambda;
    int steps;
};

Ended run(Backend& backend, const PdhgProblem& s, const Data& data, double tolerance, int cap) {
    GradientMode mode = gradient_modes_case::mode_of("implicit");
    mode.tolerance = tolerance;
    mode.cap = cap;
    UnrolledSolver solver(backend, s, 60, mode);
    const DeviceArray<float> z(backend, data.z), lambda(backend, data.lambda), d_x(backend, data.d_x),
        x(backend, data.z.size()), d_lambda(backend, data.lambda.size());
    const DeviceArray<std::byte> saved(backend, solver.saved_bytes()),
        forward(backend, solver.forward_workspace_bytes()),
        backward(backend, solver.backward_workspace_bytes());
    const SolverInput input{.b = z.data(), .lambda = lambda.data()};
    solver.forward(input, x.data(), saved.data(), forward.data());
    solver.backward(saved.data(), input, d_x.data(), {.d_lambda = d_lambda.data()}, backward.data());
    Ended ended{Floats(data.lambda.size()), solver.adjoint_steps()};
    d_lambda.download(ended.d_lambda.data(), ended.d_lambda.size());
    return ended;
}

/// The largest ‖part of the last stretch‖ / ‖whole‖ of the solves.
double last_share(const PdhgProblem& s, const Floats& before, const Floats& after) {
    double largest = 0;
    const std::size_t size = std::size_t(s.map_size());
    for (std::size_t n = 0; n < std::size_t(s.solves); ++n) {
        double part = 0, whole = 0;
        for (std::size_t i = n * size; i < (n + 1) * size; ++i) {
            const double difference = double(after[i]) - double(before[i]);
            part += difference * difference;
            whole += double(after[i]) * after[i];
        }
        largest = std::max(largest, std::sqrt(part / whole));
    }
    return largest;
}

}  // namespace

TEST_CASE("implicit ends after the stretch that its tolerance says, on both backends") {
    const auto cpu = make_backend("cpu"), cuda = tvmap_cuda_library()->open("fp32");
    PdhgProblem shared = pdhg_case::problem_of(9, 16, MapKind::shared, 3),
                separate = pdhg_case::problem_of(21, 22, MapKind::separate, 2);
    separate.boundary = Boundary::neumann;
    for (const PdhgProblem& s : {shared, separate}) {
        CAPTURE(s.width);
        const Data data = gradient_modes_case::make_data(s, 6);
        // What each further stretch adds, where nothing ends the adjoint but its cap.
        std::vector<double> shares;
        Floats before(data.lambda.size(), 0.0f);
        for (int steps = stretch; steps <= stretches * stretch; steps += stretch) {
            const Floats after = run(*cpu, s, data, 0, steps).d_lambda;
            shares.push_back(last_share(s, before, after));
            before = after;
        }
        REQUIRE(shares.front() == 1);
        // A share is a difference of sums in single precision, whose rounding turns none that is above 1e-4.
        int ends = 0;
        for (std::size_t k = 1; k < shares.size() && shares[k] > 1e-4; ++k) {
            // Between the shares of two stretches, so that no rounding turns the decision.
            const double tolerance = std::sqrt(shares[k] * shares[k - 1]);
            const auto found =
                std::find_if(shares.begin(), shares.end(), [&](double share) { return share <= tolerance; });
            REQUIRE(found != shares.end());
            const int expected = stretch * int(found - shares.begin() + 1);
            CAPTURE(tolerance);
            const Ended on_cpu = run(*cpu, s, data, tolerance, 12 * stretch),
                        on_cuda = run(*cuda, s, data, tolerance, 12 * stretch);
            CHECK(on_cpu.steps == expected);
            CHECK(on_cuda.steps == expected);
            CHECK(compared_bits(on_cuda.d_lambda, on_cpu.d_lambda));
            ++ends;
        }
        CHECK(ends >= 2);
    }
}
