// The solver with learned steps on CUDA beside the CPU's, and in training, where steps are not recorded.
#include <doctest/doctest.h>

#include <memory>

#include "kernels/cuda_loader.h"
#include "tests/support/device_buffer.h"
#include "tests/training/training_steps_case.h"
#include "tests/unrolled/step_sizes_case.h"

using namespace tvmap;
using namespace tvmap::tests;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

std::unique_ptr<Backend> cuda_backend() { return tvmap_cuda_library()->open("fp32"); }

}  // namespace

TEST_CASE("learned steps on CUDA: the CPU's bits, and its gradients but for the rounding of the loss") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    StepsCase c;
    SUBCASE("one triple for each iteration") {}
    SUBCASE("one for all, batch, separate maps, Neumann, p0 = z") {
        c.training.count = 1;
        c.images = 3;
        c.maps = 2;
        c.boundary = Boundary::neumann;
        c.dual_start = DualStart::image;
    }
    SUBCASE("used twice, wider than a group of masks") {
        c.passes = 2;
        c.width = 19;
    }
    c.fill(1);
    const StepsOutcome expected = run(*cpu, c), actual = run(*cuda, c);
    CHECK(compared_bits(actual.x, expected.x));
    // The same masks; a derivative of the loss may round the other way.
    CHECK(relative_difference(actual.d_lambda, expected.d_lambda) < 1e-6);
    CHECK(relative_difference(actual.d_z, expected.d_z) < 1e-6);
    for (std::size_t kind = 0; kind < 3; ++kind)
        CHECK(relative_difference(actual.d_raw[kind], expected.d_raw[kind]) < 1e-6);
}

TEST_CASE("training with learned steps on CUDA, in one go or resumed: the same bits, and nearly the CPU's") {
    Workshop w;
    w.config.solver.train_steps = TrainSteps::per_step;
    w.config.solver.tau = w.config.solver.sigma = 0.2;
    const Outcome cpu = train(w, make_backend("cpu"), Way::host);
    w.algorithms = Algorithms();
    const Outcome expected = train(w, cuda_backend(), Way::host);
    for (std::size_t step = 0; step < cpu.losses.size(); ++step)
        // Convolutions and losses add up in another order, nine times after each other.
        CHECK(expected.losses[step] == doctest::Approx(cpu.losses[step]).epsilon(1e-4));
    const Outcome resumed = train(w, cuda_backend(), Way::host, 4);
    CHECK(resumed.losses == expected.losses);
    CHECK(compared_bits(resumed.weights, expected.weights));
}
