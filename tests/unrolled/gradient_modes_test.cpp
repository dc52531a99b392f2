// The gradient modes: exact ones against each other and against finite differences in double, truncated and
// implicit against what they claim to be, what implicit tends to, memory, and training in each.
#include "engine/config/gradient_mode.h"
#include "engine/config/solver_problem.h"

#include "engine/solver/solver.h"
#include "kernels/base/error.h"
#include "tests/training/training_steps_case.h"
#include "tests/unrolled/gradient_modes_case.h"

namespace {

using namespace tvmap;
using namespace gradient_modes_case;
using pdhg_case::same_bits;
using reference::Plane;

const std::vector<std::string> every_mode{"masks",       "checkpoint",  "stored",
                                          "truncated:1", "truncated:6", "implicit"};

/// All that distinguishes one problem from another, in few of them.
std::vector<PdhgProblem> problems() {
    PdhgProblem plain = problem_of(9, 14), separate = problem_of(7, 19, MapKind::separate, 3),
                scalar = problem_of(6, 5, MapKind::scalar, 4);
    separate.boundary = Boundary::neumann;
    separate.dual_start = DualStart::image;
    separate.theta = 0.7f;
    scalar.solves_per_image = 2;
    scalar.boundary = Boundary::neumann;
    return {plain, separate, scalar};
}

double norm(const Floats& values) {
    double sum = 0;
    for (const float v : values) sum += double(v) * v;
    return std::sqrt(sum);
}

double degrees_between(const Floats& a, const Floats& b) {
    double inner = 0;
    for (std::size_t i = 0; i < a.size(); ++i) inner += double(a[i]) * b[i];
    return std::acos(std::min(1.0, inner / (norm(a) * norm(b)))) * 180 / M_PI;
}

}  // namespace

TEST_CASE("names, there and back") {
    for (const std::string& name : every_mode) CHECK(mode_of(name).name() == name);
    CHECK(mode_of("truncated:256").steps == 256);
    for (const char* name : {"", "mask", "Masks", "masks ", "truncated", "truncated:", "truncated:0",
                             "truncated:-3", "truncated:8x", "truncated:99999999999", "implicit:3"})
        CHECK(!gradient_mode(name).has_value());
    CHECK(mode_of("masks").exact(8));
    CHECK(mode_of("truncated:8").exact(8));
    CHECK(!mode_of("truncated:8").exact(9));
    CHECK(!mode_of("implicit").exact(8));
}

TEST_CASE("the exact modes agree: x and d_z to the bit, d_Λ to the rounding of its sum") {
    for (const PdhgProblem& s : problems())
        for (const int iterations : {1, 2, 7, 600}) {
            CAPTURE(s.width);
            CAPTURE(iterations);
            const Data data = make_data(s, 5);
            const Gradient expected = run_mode(s, iterations, mode_of("masks"), data);
            CHECK(expected.adjoint_steps == iterations);
            for (const std::string name : {"checkpoint", "stored", "truncated", "truncated:1", "implicit"}) {
                CAPTURE(name);
                const bool all = name == "truncated";
                const Gradient got = run_mode(
                    s, iterations, mode_of(all ? "truncated:" + std::to_string(iterations) : name), data);
                CHECK(same_bits(got.x, expected.x));
                if (!all && !mode_of(name).exact(iterations)) continue;
                CHECK(got.d_z == expected.d_z);
                // Sums of one step each, or of segments, in single precision: 7e-7 seen.
                CHECK(distance(got.d_lambda, expected.d_lambda) < 2e-6);
                if (all) CHECK(same_bits(got.d_lambda, expected.d_lambda));
                CHECK(got.adjoint_steps == iterations);
            }
        }
}

TEST_CASE("checkpoint: several segments, and less memory than masks where there are many steps") {
    const PdhgProblem s = problem_of(256, 256);
    const auto solver = [&](const std::string& mode, int iterations) {
        return UnrolledSolver(cpu_backend(), s, iterations, mode_of(mode));
    };
    const auto bytes = [&](const std::string& mode, int iterations) {
        const UnrolledSolver u = solver(mode, iterations);
        return u.saved_bytes() + std::max(u.forward_workspace_bytes(), u.backward_workspace_bytes());
    };
    const double mega = 1e6, plane = 256 * 256 * 4;
    // Solver alone: 4 bits a pixel and step and 28 bytes a pixel, rows padded.
    CHECK(bytes("masks", 256) < 256 * 256 * (128 + 32));
    CHECK(bytes("masks", 256) + 4 * plane <= 12 * mega);  // with z, Λ, x and d_Λ
    // x, x̄, p and q of 256 steps but the first, which is z.
    CHECK(solver("stored", 256).saved_bytes() == 255 * 5 * std::size_t(plane));
    CHECK(bytes("stored", 256) == doctest::Approx(335 * mega).epsilon(0.03));
    CHECK(bytes("implicit", 256) < 20 * plane);
    CHECK(bytes("truncated:8", 256) < 14 * plane);
    for (const int iterations : {64, 256, 1024, 4096}) {
        CAPTURE(iterations);
        // Of the same order at few steps, where the segment is all of them.
        CHECK(bytes("checkpoint", iterations) < bytes("masks", iterations) + 1.5 * plane);
        MESSAGE("256², T = " << iterations << ": masks " << bytes("masks", iterations) / mega
                             << ", checkpoint " << bytes("checkpoint", iterations) / mega << ", stored "
                             << bytes("stored", iterations) / mega << " MB");
    }
    CHECK(bytes("checkpoint", 1024) < 0.55 * bytes("masks", 1024));
    // Some √T: four times the steps take twice the memory that depends on them.
    const double rest = bytes("truncated:1", 1024);
    CHECK(bytes("checkpoint", 16384) - rest ==
          doctest::Approx(2 * (bytes("checkpoint", 4096) - rest)).epsilon(0.1));
    CHECK(solver("checkpoint", 4096).saved_bytes() > 0);
    CHECK(solver("masks", 4096).recomputes() == false);
    CHECK(solver("checkpoint", 4096).recomputes());
}

TEST_CASE("exact modes are finite differences in double along the same decisions") {
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann})
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            PdhgProblem s = problem_of(5, 7, map);
            s.boundary = boundary;
            s.dual_start = map == MapKind::separate ? DualStart::image : DualStart::zero;
            const int iterations = 400;
            const Data data = make_data(s, 11);
            const auto e = decisions(s, iterations, data);
            const Twin twin(s);
            const auto [d_lambda, d_z] = finite_differences(data, [&](const Plane& z, const Plane& lambda) {
                Twin::State at = twin.start(z);
                for (int k = 0; k < iterations; ++k) twin.step(at, z, lambda, e[k]);
                return at.x;
            });
            for (const std::string name : {"masks", "checkpoint", "stored", "truncated:400"}) {
                CAPTURE(name);
                CAPTURE(int(map));
                const Gradient got = run_mode(s, iterations, mode_of(name), data);
                // Single precision through 400 steps: 1e-6 seen.
                CHECK(distance(got.d_lambda, d_lambda) < 5e-6);
                CHECK(distance(got.d_z, d_z) < 5e-6);
            }
        }
}

TEST_CASE("truncated:K is the finite difference of the last K steps, what they start from held fixed") {
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann})
        for (const int last : {1, 2, 9}) {
            PdhgProblem s = problem_of(6, 5, MapKind::separate);
            s.boundary = boundary;
            s.dual_start = DualStart::image;
            s.theta = 0.8f;
            const int iterations = 30;
            const Data data = make_data(s, 3);
            const auto e = decisions(s, iterations, data);
            const Twin twin(s);
            Twin::State held = twin.start(Plane(data.z.begin(), data.z.end()));
            for (int k = 0; k < iterations - last; ++k)
                twin.step(held, Plane(data.z.begin(), data.z.end()),
                          Plane(data.lambda.begin(), data.lambda.end()), e[k]);
            const auto [d_lambda, d_z] = finite_differences(data, [&](const Plane& z, const Plane& lambda) {
                Twin::State at = held;
                for (int k = iterations - last; k < iterations; ++k) twin.step(at, z, lambda, e[k]);
                return at.x;
            });
            GradientMode mode = mode_of("truncated:1");
            mode.steps = last;
            const Gradient got = run_mode(s, iterations, mode, data);
            CHECK(got.adjoint_steps == last);
            CHECK(distance(got.d_lambda, d_lambda) < 2e-6);  // single precision, few steps
            CHECK(distance(got.d_z, d_z) < 2e-6);
        }
}

TEST_CASE("implicit is the finite difference of the fixed point of the last step's decisions") {
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        PdhgProblem s = problem_of(6, 7);
        s.boundary = boundary;
        const Data data = make_data(s, 8);
        const int iterations = 300;
        const auto e = decisions(s, iterations, data);
        const Twin twin(s);
        const auto [d_lambda, d_z] = finite_differences(data, [&](const Plane& z, const Plane& lambda) {
            Twin::State at = twin.start(z);
            for (int k = 0; k < 4000; ++k) twin.step(at, z, lambda, e.back());
            return at.x;
        });
        GradientMode mode = mode_of("implicit");
        mode.cap = 4000;
        mode.tolerance = 0;  // all of them
        const Gradient all = run_mode(s, iterations, mode, data);
        CHECK(all.adjoint_steps == 4000);
        CHECK(distance(all.d_lambda, d_lambda) < 1e-5);  // single precision through thousands of steps
        CHECK(distance(all.d_z, d_z) < 1e-5);
        for (const double tolerance : {1e-2, 1e-4}) {
            CAPTURE(tolerance);
            mode.tolerance = tolerance;
            const Gradient got = run_mode(s, iterations, mode, data);
            CHECK(got.adjoint_steps < 4000);
            CHECK(got.adjoint_steps % 32 == 0);
            // What a geometric series leaves out is a few times its last part.
            CHECK(distance(got.d_lambda, d_lambda) < 10 * tolerance);
            MESSAGE("tolerance " << tolerance << ": " << got.adjoint_steps << " adjoint steps, error "
                                 << distance(got.d_lambda, d_lambda));
        }
        mode.tolerance = 1e-30;
        mode.cap = 70;  // two stretches and a part of one
        CHECK(run_mode(s, iterations, mode, data).adjoint_steps == 70);
    }
}

TEST_CASE("implicit of a batch goes on until every solve has converged") {
    PdhgProblem s = problem_of(9, 10, MapKind::shared, 3), one = problem_of(9, 10);
    const Data data = make_data(s, 21);
    const GradientMode mode = mode_of("implicit");
    const Gradient together = run_mode(s, 200, mode, data);
    int most = 0;
    for (int n = 0; n < 3; ++n) {
        const auto part = [&](const Floats& all) {
            return Floats(all.begin() + n * 90, all.begin() + (n + 1) * 90);
        };
        const Gradient alone = run_mode(one, 200, mode, {part(data.z), part(data.lambda), part(data.d_x)});
        CHECK(distance(part(together.d_lambda), alone.d_lambda) < 10 * mode.tolerance);
        most = std::max(most, alone.adjoint_steps);
    }
    CHECK(together.adjoint_steps == most);
}

TEST_CASE("implicit tends to masks as T grows; truncated to it as K does") {
    PdhgProblem s = problem_of(24, 28);
    const Data data = pdhg_case::make_data(s, 17);
    GradientMode implicit = mode_of("implicit");
    implicit.tolerance = 1e-6;
    implicit.cap = 20000;
    std::vector<double> errors;
    for (const int iterations : {64, 128, 256, 512, 1024, 2048}) {
        const Gradient exact = run_mode(s, iterations, mode_of("masks"), data),
                       got = run_mode(s, iterations, implicit, data);
        errors.push_back(distance(got.d_lambda, exact.d_lambda));
        MESSAGE("T = " << iterations << ": implicit off by " << errors.back() << " in d_Λ, norm ratio "
                       << norm(got.d_lambda) / norm(exact.d_lambda) << ", angle "
                       << degrees_between(got.d_lambda, exact.d_lambda) << " degrees, d_z off by "
                       << distance(got.d_z, exact.d_z) << ", " << got.adjoint_steps << " adjoint steps");
    }
    MESSAGE("rate: the error falls as T^"
            << std::log(errors.back() / errors.front()) / std::log(2048.0 / 64));
    CHECK(errors.back() < 0.02);
    CHECK(errors.back() < 0.1 * errors.front());
    double before = INFINITY;
    const Gradient exact = run_mode(s, 256, mode_of("masks"), data);
    for (const int last : {1, 8, 64, 192, 256}) {
        const double error = distance(
            run_mode(s, 256, mode_of("truncated:" + std::to_string(last)), data).d_lambda, exact.d_lambda);
        MESSAGE("T = 256: truncated:" << last << " off by " << error);
        CHECK(error < before);
        before = error;
    }
    CHECK(before == 0);
}

TEST_CASE("every mode overwrites or accumulates, both gradients or one") {
    for (const PdhgProblem& s : problems())
        for (const std::string& name : every_mode) {
            CAPTURE(name);
            CAPTURE(s.width);
            const Data data = make_data(s, 2);
            const GradientMode mode = mode_of(name);
            const int iterations = name == "checkpoint" ? 500 : 40;
            const Gradient expected = run_mode(s, iterations, mode, data);
            const Gradient added = run_mode(s, iterations, mode, data, Write::accumulate, 2.5f);
            const auto shifted = [](Floats values) {
                for (float& v : values) v += 2.5f;
                return values;
            };
            CHECK(distance(added.d_lambda, shifted(expected.d_lambda)) < 1e-6);  // rounding beside 2.5
            CHECK(distance(added.d_z, shifted(expected.d_z)) < 1e-6);
            const float untouched = 7;
            const Gradient map_alone =
                               run_mode(s, iterations, mode, data, Write::overwrite, untouched, true, false),
                           image_alone =
                               run_mode(s, iterations, mode, data, Write::overwrite, untouched, false, true);
            CHECK(same_bits(map_alone.d_lambda, expected.d_lambda));
            CHECK(map_alone.d_z == Floats(expected.d_z.size(), untouched));
            CHECK(same_bits(image_alone.d_z, expected.d_z));
            CHECK(image_alone.d_lambda == Floats(expected.d_lambda.size(), untouched));
        }
}

TEST_CASE("solver_gradient takes the mode and tells its memory") {
    const ImageStack z{1, 16, 16, make_data(problem_of(16, 16), 4).z}, clean{1, 16, 16, Floats(256, 0.4f)};
    const Map lambda{MapKind::shared, Floats(256, 0.07f)};
    SolverConfig solver;
    solver.iterations = 64;
    const SolverGradient exact = solver_gradient(cpu_backend(), solver, z, lambda, clean, 1, true);
    for (const std::string& name : every_mode) {
        CAPTURE(name);
        solver.gradient = mode_of(name);
        const UnrolledSolver unrolled(cpu_backend(), solver_problem(solver, z, lambda), 64, solver.gradient);
        const SolverGradient got = solver_gradient(cpu_backend(), solver, z, lambda, clean, 2, true);
        CHECK(got.mse == exact.mse);
        CHECK(got.saved_bytes == unrolled.saved_bytes());
        CHECK(got.workspace_bytes ==
              std::max(unrolled.forward_workspace_bytes(), unrolled.backward_workspace_bytes()));
        CHECK((distance(got.d_lambda, exact.d_lambda) < 2e-6) == solver.gradient.exact(64));
    }
    solver.gradient = mode_of("truncated:65");
    CHECK_THROWS_AS(solver_gradient(cpu_backend(), solver, z, lambda, clean, 1, true), Error);
}

TEST_CASE("training in every mode: the plan holds what the mode needs, exact modes train alike") {
    using namespace tvmap::tests;
    Workshop w;
    w.config.solver.iterations = 12;
    const Outcome expected = train(w, make_backend("cpu"), Way::host);
    for (const std::string name :
         {"masks", "checkpoint", "stored", "truncated:12", "truncated:1", "truncated:4", "implicit"}) {
        CAPTURE(name);
        w.config.solver.gradient = mode_of(name);
        const Outcome outcome = train(w, make_backend("cpu"), Way::host, 4);
        const Outcome resident = train(w, make_backend("cpu"), Way::resident);
        CHECK(outcome.losses == resident.losses);
        CHECK(outcome.weights == resident.weights);
        REQUIRE(outcome.losses.size() == 9);
        CHECK(outcome.losses[0] == expected.losses[0]);
        const double off = distance(outcome.weights, expected.weights);
        // The gradient's rounding through nine steps of Adam: 2e-8 seen.
        if (w.config.solver.gradient.exact(12)) CHECK(off < 1e-6);
        if (name == "truncated:12") CHECK(off == 0);
        if (!w.config.solver.gradient.exact(12)) CHECK(off > 1e-5);

        Training training(w, make_backend("cpu"));
        const PdhgProblem problem = pdhg_problem(w.config.solver, w.config.map, 2, 16, 16);
        const UnrolledSolver unrolled(*training.backend, problem, 12, w.config.solver.gradient);
        std::size_t saved = 0, workspace = 0;
        for (const Plan::Block& block : training.plan.blocks())
            if (block.name == "denoised" && block.purpose == "saved") saved = block.bytes;
        for (const Plan::Block& block : training.plan.blocks())
            if (block.name == "denoised" && block.purpose == "workspace")
                workspace = std::max(workspace, block.bytes);
        CHECK(saved == unrolled.saved_bytes());
        CHECK(workspace == std::max(unrolled.forward_workspace_bytes(), unrolled.backward_workspace_bytes()));
    }
}
