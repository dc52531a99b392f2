// The implicit gradient ends by its tolerance on CUDA as it does on the CPU: in a graph as outside one, recorded
// or not.
#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "engine/graph/operations.h"
#include "engine/graph/plan.h"
#include "kernels/cuda_loader.h"
#include "tests/support/device_buffer.h"
#include "tests/unrolled/gradient_modes_case.h"

using namespace tvmap;
using gradient_modes_case::Data, gradient_modes_case::Floats, gradient_modes_case::distance;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

/// d_Λ and d_z of the mean squared error, through a plan whose backward pass is recorded or not.
struct Gradient {
    Floats d_lambda, d_z;
};
Gradient run(Backend& backend, const PdhgProblem& s, const GradientMode& mode, const Data& data,
             bool recorded) {
    Graph graph(1);
    const int maps = s.map == MapKind::separate ? 2 : 1;
    const Value z = graph.input("z", s.solves, 1, s.height, s.width, true),
                lambda = graph.input("lambda", s.solves, maps, s.height, s.width, true),
                target = graph.input("target", s.solves, 1, s.height, s.width);
    loss(graph, denoise(graph, z, lambda, s, 60, mode), target, LossKind::mse);
    Algorithms algorithms;
    Plan plan(std::move(graph), backend, algorithms, true);
    Parameters parameters(backend, plan.graph().parameters(), true);
    const Arena arena(backend, plan.arena_bytes());
    plan.bind(arena, parameters);
    const auto upload = [&](Value value, const Floats& values) {
        backend.upload(plan.view(value).data, values.data(), sizeof(float) * values.size());
    };
    upload(z, data.z);
    upload(lambda, data.lambda);
    upload(target, data.d_x);
    const auto step = [&] {
        plan.forward();
        plan.backward();
    };
    step();
    if (recorded) {
        backend.synchronise();
        const auto recording = backend.record(step);
        for (int replay = 0; replay < 2; ++replay) recording->replay();
    }
    backend.synchronise();
    Gradient result{Floats(data.lambda.size()), Floats(data.z.size())};
    backend.download(result.d_lambda.data(), plan.gradient(lambda).data, sizeof(float) * data.lambda.size());
    backend.download(result.d_z.data(), plan.gradient(z).data, sizeof(float) * data.z.size());
    return result;
}

}  // namespace

TEST_CASE("implicit: one meaning of its tolerance on both backends, in a recorded step too") {
    const auto cpu = make_backend("cpu"), cuda = tvmap_cuda_library()->open("fp32");
    PdhgProblem shared = pdhg_case::problem_of(9, 16, MapKind::shared, 2),
                separate = pdhg_case::problem_of(7, 10, MapKind::separate);
    separate.boundary = Boundary::neumann;
    for (const PdhgProblem& s : {shared, separate}) {
        CAPTURE(s.width);
        const Data data = gradient_modes_case::make_data(s, 6);
        GradientMode mode = gradient_modes_case::mode_of("implicit");
        mode.tolerance = 0.05;  // so coarse that where it ends is seen
        mode.cap = 500;
        const Gradient expected = run(*cpu, s, mode, data, false);
        GradientMode all = mode;
        all.tolerance = 0;
        // What the steps up to the cap would add to it.
        CHECK(distance(run(*cpu, s, all, data, false).d_lambda, expected.d_lambda) > 1e-3);
        for (const bool recorded : {false, true}) {
            CAPTURE(recorded);
            const Gradient got = run(*cuda, s, mode, data, recorded);
            // The same steps; the gradient of the loss that they start from may round otherwise.
            compared_otherwise();
            CHECK(distance(got.d_lambda, expected.d_lambda) < 1e-5);
            CHECK(distance(got.d_z, expected.d_z) < 1e-5);
        }
    }
}
