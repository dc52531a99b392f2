// The gradient modes of every member of the family: exact ones against each other, truncated and implicit against the
// reference's adjoint of the steps that they see; and memory.
#include "tests/family/family_modes_case.h"

using namespace family_case;

namespace {

Backend& cpu_backend() {
    static const std::unique_ptr<Backend> backend = make_backend("cpu");
    return *backend;
}

/// ∂loss/∂z of one solve, from d_b.
Floats d_z_of(const Member& m, const Floats& d_b) {
    Floats d_z(std::size_t(m.problem.solves * m.problem.data_size()));
    cpu::image_to_data(m.problem, m.data.data(), d_b.data(), d_z.data(), Write::overwrite);
    return d_z;
}

}  // namespace

TEST_CASE("the exact modes agree: x, d_b and d_x₀ to the bit, d_Λ to the rounding of its sum") {
    for (const Member& m : members(101))
        for (const int iterations : {1, 2, 7, 300}) {
            CAPTURE(m.name());
            CAPTURE(iterations);
            const Result expected = solve(m, iterations);
            std::vector<double> scales;
            for (int n = 0; n < m.problem.solves; ++n) {
                const Twin twin(m, n, iterations);
                scales.push_back(twin.gradient(twin.decisions(expected.masks)).lambda_scale);
            }
            const std::string all = "truncated:" + std::to_string(iterations);
            for (const std::string& name :
                 {std::string("masks"), std::string("checkpoint"), std::string("stored"), all}) {
                CAPTURE(name);
                const Gradient got = run_mode(cpu_backend(), m, iterations, mode_of(name));
                CHECK(same_bits(got.x, expected.x));
                CHECK(got.d_b == expected.d_b);
                CHECK(got.d_start == expected.d_start);
                for (int n = 0; n < m.problem.solves; ++n) {  // sums of one step each, or of segments
                    const std::int64_t size = m.problem.map_size();
                    CHECK(distance(part(got.d_lambda, n, size), part(expected.d_lambda, n, size),
                                   scales[std::size_t(n)]) < rounding_of(m.problem));
                }
                CHECK(got.adjoint_steps == iterations);
            }
        }
}

TEST_CASE("truncated and implicit are the reference's adjoint of the steps that they see") {
    for (const Member& m : members(111)) {
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        const int iterations = 50;
        const Bytes masks = solve(m, iterations).masks;
        GradientMode implicit = mode_of("implicit");
        implicit.cap = 70;  // two stretches and a part of one
        implicit.tolerance = 0;
        for (const GradientMode& mode : {mode_of("truncated:1"), mode_of("truncated:9"), implicit}) {
            CAPTURE(mode.name());
            const Gradient got = run_mode(cpu_backend(), m, iterations, mode);
            const Floats d_z = d_z_of(m, got.d_b);
            CHECK(got.adjoint_steps == (mode == implicit ? 70 : mode.steps));
            for (const float value : got.d_start) CHECK(value == 0);
            for (int n = 0; n < s.solves; ++n) {
                const Twin twin(m, n, iterations);
                std::vector<reference::Signs> e = twin.decisions(masks);
                // Of a whole run without the start: as if one more step came before.
                int from = iterations - mode.steps;
                if (mode == implicit) {
                    e = std::vector<reference::Signs>(71, e.back());
                    from = 1;
                }
                const Twin::Gradient d = twin.gradient(e, from);
                CHECK(distance(part(got.d_lambda, n, s.map_size()), d.lambda, d.lambda_scale) <
                      rounding_of(s));
                CHECK(distance(part(d_z, n, s.data_size()), d.z) < rounding_of(s));
            }
        }
    }
}

TEST_CASE("implicit settles, near what it tends to") {
    for (const Member& m : members(121)) {
        if (m.problem.data != DataTerm::identity) continue;  // others take thousands of steps
        CAPTURE(m.name());
        GradientMode mode = mode_of("implicit");
        mode.cap = 6000;
        mode.tolerance = 0;
        const Gradient all = run_mode(cpu_backend(), m, 400, mode);
        mode.tolerance = 1e-4;
        const Gradient got = run_mode(cpu_backend(), m, 400, mode);
        MESSAGE(m.name() << ": " << got.adjoint_steps << " adjoint steps, error "
                         << distance(got.d_lambda, all.d_lambda));
        CHECK(got.adjoint_steps < 6000);
        CHECK(distance(got.d_lambda, all.d_lambda) < 1e-2);  // what a slow geometric series leaves out
    }
}

TEST_CASE("gradients are added to what is there") {
    for (const Member& m : members(131))
        for (const std::string name : {"masks", "checkpoint", "stored", "truncated:3", "implicit"}) {
            CAPTURE(m.name());
            CAPTURE(name);
            const GradientMode mode = mode_of(name);
            const Gradient fresh = run_mode(cpu_backend(), m, 8, mode),
                           added = run_mode(cpu_backend(), m, 8, mode, Write::accumulate);
            // The order of the sums differs where parts are added one by one.
            const auto shifted = [](Floats values) {
                for (float& value : values) value += 0.5f;
                return values;
            };
            CHECK(distance(added.d_lambda, shifted(fresh.d_lambda)) < 1e-6);
            CHECK(distance(added.d_b, shifted(fresh.d_b)) < 1e-6);
            if (m.problem.own_start) CHECK(distance(added.d_start, shifted(fresh.d_start)) < 1e-6);
        }
}

TEST_CASE("memory: a byte of decisions a pixel and step, and checkpoints where they need less") {
    for (const Regulariser r : regularisers) {
        const SolverProblem s =
            problem_of(r, DataTerm::identity, MapKind::shared, Boundary::neumann, 256, 256);
        SolverProblem steps = s;
        steps.tau = steps.sigma = float(1 / std::sqrt(solver_norm_squared(s)));
        const auto solver = [&](const std::string& mode) {
            return UnrolledSolver(cpu_backend(), steps, 1024, mode_of(mode));
        };
        const std::size_t pixels = 256 * 256,
                          state = 4 * pixels * std::size_t(2 * s.fields() + 1 + s.components());
        CHECK(solver("masks").saved_bytes() == 1024 * pixels);
        CHECK(solver("truncated:8").saved_bytes() == 8 * pixels);
        CHECK(solver("implicit").saved_bytes() == pixels);
        CHECK(solver("stored").saved_bytes() == 1023 * state);
        const UnrolledSolver checkpoint = solver("checkpoint");
        CHECK(checkpoint.saved_bytes() + checkpoint.backward_workspace_bytes() <
              solver("masks").saved_bytes() + solver("masks").backward_workspace_bytes());
    }
}
