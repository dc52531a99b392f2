// The engine's work on CUDA beside the CPU's: solver, gradient and search on whole arrays, and training steps
// that are recorded and replayed.
#include <doctest/doctest.h>

#include <cmath>
#include <memory>
#include <vector>

#include "engine/solver/family_solver.h"
#include "engine/solver/search.h"
#include "engine/solver/solver.h"
#include "kernels/cuda_loader.h"
#include "tests/support/device_buffer.h"
#include "tests/training/training_steps_case.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/control.h"
#endif

using namespace tvmap;
using namespace tvmap::tests;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

std::unique_ptr<Backend> cuda_backend() { return tvmap_cuda_library()->open("fp32"); }

constexpr int height = 13, width = 18;

ImageStack images(int n, double shift = 0) {
    ImageStack stack{n, height, width, {}};
    for (int i = 0; i < n * height * width; ++i)
        stack.values.push_back(
            float((i / 7 % 3) * 0.3 + 0.2 * std::sin(12.9898 * i + 78.233 * std::cos(3.1 * i) + shift)));
    return stack;
}

Map map_of(MapKind kind) {
    Map lambda{kind, {}};
    const int count = kind == MapKind::scalar ? 1 : (kind == MapKind::shared ? 1 : 2) * height * width;
    for (int i = 0; i < count; ++i) lambda.values.push_back(float(0.06 + 0.03 * std::cos(1.7 * i)));
    return lambda;
}

SolverConfig steps(int iterations) {
    SolverConfig solver;
    solver.iterations = iterations;
    return solver;
}

}  // namespace

TEST_CASE("solves, whole, in pieces and from a state, have the CPU's bits") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    const ImageStack z = images(3);
    for (const MapKind kind : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        CAPTURE(int(kind));
        const Map lambda = map_of(kind);
        const Solution expected = solve(*cpu, steps(30), z, lambda, {});
        CHECK(compared_bits(solve(*cuda, steps(30), z, lambda, {}).x, expected.x));

        // Eleven steps, then nineteen more with a look at the gap every seven.
        SolverState states[2];
        std::vector<Solution> ends;
        for (int device = 0; device < 2; ++device) {
            SolveOptions options;
            options.state = &states[device];
            solve(device ? *cuda : *cpu, steps(11), z, lambda, options);
            options.watch_gap = true;
            options.check_every = 7;
            ends.push_back(solve(device ? *cuda : *cpu, steps(19), z, lambda, options));
        }
        CHECK(compared_bits(ends[1].x, ends[0].x));
        CHECK(compared_bits(states[1].x, expected.x));
        CHECK(compared_bits(states[1].x_bar, states[0].x_bar));
        CHECK(compared_bits(states[1].p, states[0].p));
        CHECK(compared_bits(states[1].q, states[0].q));
        for (int n = 0; n < 3; ++n) CHECK(ends[1].gaps[n].gap == ends[0].gaps[n].gap);
    }
}

TEST_CASE("restorations, whole and from a state, have the CPU's bits") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    SolverConfig solver = steps(30);
    solver.regulariser = Regulariser::tgv;
    solver.norm_auto = true;
    Restoration given;
    given.z = images(3);
    given.observation.data = DataTerm::blur;
    given.observation.columns = 3;
    given.observation.values = {0.25f, 0.5f, 0.25f};
    given.lambda = {MapKind::scalar, {0.06f, 0.1f}};
    const Restored expected = restore(*cpu, solver, given, {});
    CHECK(compared_bits(restore(*cuda, solver, given, {}).x, expected.x));
    SolverState states[2];
    for (int device = 0; device < 2; ++device) {
        RestoreOptions options;
        options.state = &states[device];
        solver.iterations = 11;
        restore(device ? *cuda : *cpu, solver, given, options);
        options.watch_gap = true;
        options.check_every = 7;
        solver.iterations = 19;
        CHECK(compared_bits(restore(device ? *cuda : *cpu, solver, given, options).x, expected.x));
    }
    CHECK(compared_bits(states[1].x, states[0].x));
    CHECK(compared_bits(states[1].x_bar, states[0].x_bar));
    CHECK(compared_bits(states[1].p, states[0].p));
    CHECK(compared_bits(states[1].q, states[0].q));
}

TEST_CASE("gradients are the CPU's but for the rounding of the loss") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    const ImageStack z = images(3), clean = images(3, 0.4);
    for (const MapKind kind : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        CAPTURE(int(kind));
        const SolverGradient expected = solver_gradient(*cpu, steps(20), z, map_of(kind), clean, 1, true),
                             actual = solver_gradient(*cuda, steps(20), z, map_of(kind), clean, 2, true);
        CHECK(actual.mse == doctest::Approx(expected.mse).epsilon(1e-13));  // sums in double in another order
        // The same masks; a derivative of the loss may round the other way.
        CHECK(relative_difference(actual.d_lambda, expected.d_lambda) < 1e-6);
        CHECK(relative_difference(actual.d_z, expected.d_z) < 1e-6);
        CHECK(actual.bytes > expected.d_z.size() * sizeof(float));
    }
}

TEST_CASE("searches over several images are the CPU's, in calls of any size") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    const ImageStack z = images(3), clean = images(3, 0.4);
    const SearchedImages searched{z.values.data(), clean.values.data(), 3, height, width};
    const std::vector<float> lambdas{0.0f, 0.03f, 0.1f, 0.3f};
    const auto expected = scalar_search(*cpu, steps(20), searched, lambdas);
    for (const int solves : {3, 8, 1000}) {
        CAPTURE(solves);
        const auto actual = scalar_search(*cuda, steps(20), searched, lambdas,
                                          {.batch_bytes = solves * height * width * sizeof(float)});
        REQUIRE(actual.size() == 3);
        for (int n = 0; n < 3; ++n)
            for (std::size_t i = 0; i < lambdas.size(); ++i) {
                const Quality &a = actual[n].quality[i], &e = expected[n].quality[i];
                // The same images; sums and logarithm in double, in another order and by another library.
                CHECK(a.psnr == doctest::Approx(e.psnr).epsilon(1e-12));
                CHECK(a.ssim == doctest::Approx(e.ssim).epsilon(1e-11));
                CHECK(a.ssim_uniform == doctest::Approx(e.ssim_uniform).epsilon(1e-11));
            }
    }
    CHECK(images_at_once(*cuda, steps(256), 256, 256, 81) > 1);
}

TEST_CASE("a search's last call may be laid out in another way, and need more memory") {
    const auto cpu = make_backend("cpu"), cuda = cuda_backend();
    constexpr int count = 9, batch = 8, high = 128, wide = 64;
    std::vector<float> noisy(count * high * wide), clean(noisy.size());
    for (std::size_t i = 0; i < noisy.size(); ++i) {
        noisy[i] = float(0.5 + 0.3 * std::sin(0.7 * double(i)));
        clean[i] = 0.5f;
    }
#ifdef TVMAP_EMULATED
    const gpu::Device usual = gpu::device();
    gpu::Device device = usual;
    device.largest_cluster = 1;  // one solve in tiles, eight with a multiprocessor each
    emulation::set_device(device);
    PdhgProblem whole;
    whole.height = high, whole.width = wide, whole.map = MapKind::scalar, whole.solves = batch;
    PdhgProblem rest = whole;
    rest.solves = count - batch;
    REQUIRE(cuda->pdhg_workspace_bytes(rest) > cuda->pdhg_workspace_bytes(whole));
#endif
    const SearchedImages searched{noisy.data(), clean.data(), count, high, wide};
    const auto expected = scalar_search(*cpu, steps(3), searched, {0.05f});
    const auto actual = scalar_search(*cuda, steps(3), searched, {0.05f},
                                      {.batch_bytes = batch * high * wide * sizeof(float)});
    for (int n = 0; n < count; ++n)
        CHECK(actual[n].quality[0].psnr == doctest::Approx(expected[n].quality[0].psnr).epsilon(1e-12));
#ifdef TVMAP_EMULATED
    emulation::set_device(usual);
#endif
}

TEST_CASE("training steps on CUDA: replayed or fed from the host, in one go or resumed, the same bits") {
    Workshop w;
    const Outcome cpu = train(w, make_backend("cpu"), Way::host);
    Algorithms fresh;
    w.algorithms = fresh;
    const Outcome expected = train(w, cuda_backend(), Way::host);
    for (std::size_t step = 0; step < cpu.losses.size(); ++step)
        // Convolutions and losses add up in another order, nine times after each other.
        CHECK(expected.losses[step] == doctest::Approx(cpu.losses[step]).epsilon(1e-4));
    for (const Way way : {Way::host, Way::resident, Way::uploaded})
        for (const int leave : {0, 4}) {
            CAPTURE(int(way));
            CAPTURE(leave);
            const Outcome outcome = train(w, cuda_backend(), way, leave);
            CHECK(outcome.losses == expected.losses);
            CHECK(compared_bits(outcome.weights, expected.weights));
        }
}

// What a launch costs on a device is a few microseconds, and a step of batch 1 has two milliseconds in all. On a GPU a
// convolution takes as many launches as the algorithm that was timed fastest (176 in all on an H200, once), so the
// number is checked where each takes one.
TEST_CASE("a step of the reference's network is a graph of at most 150 nodes") {
    Workshop w;
    w.config.network.channels = {32, 64, 128, 256};
    w.config.train.batch = 1;
    for (const bool separate : {false, true}) {
        w.config.map.separate = separate;
        Training training(w, cuda_backend());
        CHECK(training.parameters.count() == 1796034);
        const ResidentSteps steps(training.parts(w.config), 1, 0, true);
        MESSAGE("a training step is ", steps.graph_nodes(), " launches");
#ifdef TVMAP_EMULATED
        CHECK(steps.graph_nodes() <= 150);
#endif
        CHECK(steps.graph_nodes() > 0);
    }
}
