// The family on the CPU: every member against the reference in double, which is itself checked by finite differences; tv
// on the identity against kernels/solver/pdhg.h; stretches, threads, gaps.
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/family/family_case.h"
#include "tests/support/run_on.h"

using namespace family_case;

namespace {

/// ∂⟨d_x, x_T⟩ by each value of `at`: x_T is affine in all data once the decisions are given, so a difference of any width
/// is the derivative.
template <class Solve>
Values differences(Values& at, const Values& d_x, const Solve& solve) {
    const auto value = [&] {
        const Values u = solve();
        double sum = 0;
        for (std::size_t i = 0; i < d_x.size(); ++i) sum += d_x[i] * u[i];
        return sum;
    };
    Values d;
    for (double& entry : at) {
        const double before = entry;
        entry = before + 0.5;
        const double above = value();
        entry = before - 0.5;
        d.push_back(above - value());
        entry = before;
    }
    return d;
}

PdhgProblem pdhg_of(const SolverProblem& s) {
    PdhgProblem p;
    p.solves = s.solves;
    p.height = s.height;
    p.width = s.width;
    p.solves_per_image = s.solves_per_image;
    p.map = s.map;
    p.boundary = s.boundary;
    p.tau = s.tau;
    p.sigma = s.sigma;
    p.theta = s.theta;
    return p;
}

/// Members that pdhg.h solves too, some with Λ = 0 here and there.
std::vector<Member> tv_members() {
    std::vector<Member> all;
    for (const MapKind map : map_kinds)
        for (const Boundary boundary : boundaries)
            for (const auto& [height, width] : {std::pair{9, 15}, {1, 7}, {6, 1}, {2, 2}, {17, 40}}) {
                SolverProblem s =
                    problem_of(Regulariser::tv, DataTerm::identity, map, boundary, height, width, 3);
                s.solves_per_image = map == MapKind::scalar ? 2 : 1;
                s.theta = map == MapKind::shared ? 0.8f : 1;
                all.push_back(member(s, unsigned(all.size())));
                Floats& lambda = all.back().lambda;
                for (std::size_t i = 0; i < lambda.size(); i += 5) lambda[i] = 0;
            }
    return all;
}

}  // namespace

TEST_CASE("the reference's adjoint is its finite difference") {
    for (Member m : members(11)) {
        SolverProblem s = m.problem;
        s.height = 6;
        s.width = 9;
        m = member(s, 12);
        CAPTURE(m.name());
        Twin twin(m, 0, 60);
        const auto e = reference::family_forward(twin.family, twin.z, twin.start, twin.lambda).e;
        const Values d_x = part(m.d_x, 0, s.pixels());
        const reference::FamilyGradient d = reference::family_adjoint(twin.family, e, d_x);
        const auto solve = [&] {
            return reference::family_forward(twin.family, twin.z, twin.start, twin.lambda, &e).u;
        };
        CHECK(distance(d.lambda, differences(twin.lambda, d_x, solve)) < 1e-6);  // 1e-12 seen
        CHECK(distance(d.z, differences(twin.z, d_x, solve)) < 1e-6);
        CHECK(distance(d.start, differences(twin.start, d_x, solve)) < 1e-6);
    }
}

TEST_CASE("every member is the reference's, with the same decisions, at T = 256") {
    // Roundings are relative to what is rounded: q moves by differences of ū, whose roundings are those of u; where
    // the start is forgotten, what is left of d_x₀ is rounding of the d_x that it began with.
    double rounding = 0, worst = 0, doubt = 0;
    const auto close = [&](const auto& actual, const Values& expected, double scale) {
        const double apart = distance(actual, expected, scale);
        worst = std::max(worst, apart);
        CHECK(apart < rounding);
    };
    for (const Member& m : members(21)) {
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        rounding = rounding_of(s);
        State state(s);
        const Result got = solve(m, 256, &state);
        for (const std::uint8_t code : got.masks) CHECK(code < std::pow(3, s.decisions()));
        Floats d_z(std::size_t(s.solves * s.data_size()), NAN);
        cpu::image_to_data(s, m.data.data(), got.d_b.data(), d_z.data(), Write::overwrite);
        for (int n = 0; n < s.solves; ++n) {
            const Twin twin(m, n, 256);
            const auto e = twin.decisions(got.masks);
            const reference::FamilyRun run =
                reference::family_forward(twin.family, twin.z, twin.start, twin.lambda, &e);
            doubt = std::max(doubt, run.doubt);
            CHECK(run.doubt < 2e-6);  // a decision is another's only where |v| is Λ but for rounding
            const double size = norm(run.u);
            close(part(state.x, n, s.fields() * s.pixels()), run.u, size);
            close(part(state.x_bar, n, s.fields() * s.pixels()), run.u_bar, size);
            close(part(state.q, n, s.components() * s.pixels()), run.q, size);
            close(part(state.p, n, s.pixels()), twin.family.a.transposed(run.p), size);
            CHECK(part(got.x, n, s.pixels()) == part(state.x, n * s.fields(), s.pixels()));

            const Twin::Gradient d = twin.gradient(e);
            close(part(got.d_lambda, n, s.map_size()), d.lambda, d.lambda_scale);
            close(part(d_z, n, s.data_size()), d.z, norm(d.z));
            if (s.own_start)
                close(part(got.d_start, n, s.pixels()), d.start, norm(part(m.d_x, n, s.pixels())));
        }
    }
    MESSAGE("largest relative difference " << worst << ", largest doubt of a decision " << doubt);
}

TEST_CASE("tv on the identity is pdhg.h, to the bit") {
    for (const Member& m : tv_members())
        for (const int iterations : {1, 2, 37}) {
            CAPTURE(m.name());
            CAPTURE(iterations);
            const SolverProblem& s = m.problem;
            const PdhgProblem p = pdhg_of(s);
            State state(s), expected_state(s);
            const Result got = solve(m, iterations, &state);
            const pdhg_case::Data data{m.z, m.lambda, m.d_x};
            const pdhg_case::Result expected = pdhg_case::solve(p, iterations, data);
            const PdhgState pointers = expected_state.pointers();
            pdhg_case::denoise(p, iterations, m.z, m.lambda, &pointers);
            CHECK(same_bits(got.x, expected.x));
            CHECK(state.same(expected_state));
            CHECK(same_bits(got.d_lambda, expected.d_lambda));
            CHECK(same_bits(got.d_b, expected.d_z));
            for (int n = 0; n < s.solves; ++n)
                for (int k = 0; k < iterations; ++k) {
                    std::vector<std::int8_t> e(std::size_t(2 * s.pixels())), expected_e(e.size());
                    cpu::solver_unpack_mask(s, iterations, got.masks.data(), n, k, e.data());
                    cpu::pdhg_unpack_mask(p, iterations, expected.masks.data(), n, k, expected_e.data(),
                                          expected_e.data() + s.pixels());
                    CHECK(e == expected_e);
                }

            // Going on from a state, that under Neumann has rubbish where there is no difference.
            for (State* start : {&state, &expected_state})
                for (std::int64_t i = 0; i < s.solves * 2 * s.pixels(); ++i)
                    start->q[std::size_t(i)] += 0.001f;
            Floats x(got.x.size(), NAN);
            Guarded workspace(solver_workspace_bytes(s));
            const PdhgState own = state.pointers();
            cpu::solver_forward(s, iterations, m.input(),
                                {.x = x.data(), .state = &own, .start_from_state = true}, workspace);
            CHECK(same_bits(x, pdhg_case::denoise(p, iterations, m.z, m.lambda, &pointers, true)));
            CHECK(state.same(expected_state));
        }
}

TEST_CASE("every instruction set and number of threads has the same bits, at every width") {
    for (const Regulariser r : regularisers)
        for (const MapKind map : map_kinds)
            for (const Boundary boundary : boundaries)
                // Around whole vectors, where an end is a lane of its own; and rows that have no inside.
                for (const int width : {1, 2, 3, 15, 16, 17, 33, 64, -17, -64}) {  // below 0: of huber
                    const DataTerm data =
                        width < 0 && r != Regulariser::tgv ? DataTerm::huber : DataTerm::identity;
                    const Member m = member(problem_of(r, data, map, boundary, 5, std::abs(width), 3), 31);
                    CAPTURE(m.name());
                    const Result one = [&] {
                        const RunOn on(1, cpu::instruction_sets().back());
                        return solve(m, 9);
                    }();
                    for (const std::string& set : cpu::instruction_sets()) {
                        CAPTURE(set);
                        const RunOn on(3, set);
                        const Result other = solve(m, 9);
                        CHECK(same_bits(other.x, one.x));
                        CHECK(same_bits(other.masks, one.masks));
                        CHECK(same_bits(other.d_lambda, one.d_lambda));
                        CHECK(same_bits(other.d_b, one.d_b));
                    }
                }
}

TEST_CASE("the adjoint's ways of pdhg.h: stretches, one mask, accumulation, to the bit") {
    for (const Member& m : tv_members()) {
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        const PdhgProblem p = pdhg_of(s);
        const Bytes masks = solve(m, 1).masks;
        Guarded bits(cpu::pdhg_mask_bytes(p, 1)), pdhg_workspace(cpu::pdhg_workspace_bytes(p)),
            workspace(solver_workspace_bytes(s));
        Floats x(m.d_x.size());
        auto* pdhg_masks = static_cast<std::uint8_t*>(bits.data());
        cpu::pdhg_forward(p, 1, {m.z.data(), m.lambda.data()}, {.x = x.data(), .masks = pdhg_masks},
                          pdhg_workspace);
        for (const bool with_sum : {false, true}) {
            Floats d_lambda(m.lambda.size(), 0.5f), d_z(x.size(), 0.25f), expected_lambda = d_lambda,
                                                                          expected_z = d_z;
            State state(s), expected_state(s);
            Floats sum(x.size()), expected_sum(x.size());
            const auto adjoint_state = [&](State& of, Floats& sum_p) {
                return PdhgAdjointState{of.x.data(), of.x_bar.data(), of.p.data(), of.q.data(),
                                        with_sum ? sum_p.data() : nullptr};
            };
            const PdhgAdjointState a = adjoint_state(state, sum),
                                   b = adjoint_state(expected_state, expected_sum);
            for (int stretch = 0; stretch < 3; ++stretch) {
                const auto how = [&](const PdhgAdjointState& of, const std::uint8_t* decisions) {
                    return PdhgAdjoint{.masks = decisions,
                                       .d_x = m.d_x.data(),
                                       .state = &of,
                                       .start_from_state = stretch > 0,
                                       .one_mask = true,
                                       .from_image = stretch == 2};
                };
                float* const to = !with_sum || stretch == 2 ? d_z.data() : nullptr;
                float* const expected_to = to != nullptr ? expected_z.data() : nullptr;
                cpu::solver_adjoint(s, 4, nullptr, how(a, masks.data()),
                                    {.d_lambda = d_lambda.data(), .d_b = to, .write = Write::accumulate},
                                    workspace);
                cpu::pdhg_adjoint(
                    p, 4, how(b, pdhg_masks),
                    {.d_lambda = expected_lambda.data(), .d_z = expected_to, .write = Write::accumulate},
                    pdhg_workspace);
                CHECK(same_bits(d_lambda, expected_lambda));
                CHECK(same_bits(d_z, expected_z));
                CHECK(state.same(expected_state));
                CHECK(same_bits(sum, expected_sum));
            }
        }
        CHECK(workspace.intact());
    }
}

TEST_CASE("any number of threads gives the same bits") {
    for (const Regulariser r : regularisers)
        for (const DataTerm data : data_terms) {
            if (!solved(r, data)) continue;
            SolverProblem s =
                problem_of(r, data, map_kinds[int(data) % 3], boundaries[int(data) % 2], 63, 99, 2);
            const Member m = member(s, 31);
            CAPTURE(m.name());
            set_threads(1);
            const Result expected = solve(m, 5);
            for (const int threads : {2, 3, 7}) {
                set_threads(threads);
                const Result got = solve(m, 5);
                CHECK(same_bits(got.x, expected.x));
                CHECK(same_bits(got.masks, expected.masks));
                CHECK(same_bits(got.d_lambda, expected.d_lambda));
                CHECK(same_bits(got.d_b, expected.d_b));
            }
            set_threads(0);
        }
}

TEST_CASE("stretches of any member: what one call does") {
    for (const Member& m : members(41)) {
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        const Result expected = solve(m, 12);
        State state(s), adjoint(s);
        const PdhgState at = state.pointers();
        const SolverInput input = m.input();
        Guarded workspace(solver_workspace_bytes(s));
        std::vector<Bytes> masks;
        Floats x(expected.x.size(), NAN);
        for (const int steps : {5, 1, 6}) {
            masks.emplace_back(solver_mask_bytes(s, steps));
            cpu::solver_forward(s, steps, input,
                                {.x = x.data(),
                                 .masks = masks.back().data(),
                                 .state = &at,
                                 .start_from_state = masks.size() > 1},
                                workspace);
        }
        CHECK(same_bits(x, expected.x));
        Floats sum(x.size()), d_lambda(expected.d_lambda.size(), 0.0f), d_b(x.size(), NAN), d_start = d_b;
        const PdhgAdjointState a{adjoint.x.data(), adjoint.x_bar.data(), adjoint.p.data(), adjoint.q.data(),
                                 sum.data()};
        const int steps[] = {5, 1, 6};
        for (int k = 2; k >= 0; --k)
            cpu::solver_adjoint(s, steps[k], input.gram,
                                {.masks = masks[std::size_t(k)].data(),
                                 .d_x = k == 2 ? m.d_x.data() : nullptr,
                                 .state = &a,
                                 .start_from_state = k < 2,
                                 .from_image = k == 0},
                                {.d_lambda = d_lambda.data(),
                                 .d_b = k == 0 ? d_b.data() : nullptr,
                                 .d_start = d_start.data(),
                                 .write = k == 0 ? Write::overwrite : Write::accumulate},
                                workspace);
        CHECK(same_bits(d_b, expected.d_b));
        if (s.own_start) CHECK(same_bits(d_start, expected.d_start));
    }
}

TEST_CASE("an adjoint that has settled leaves everything as it is") {
    const Member m = members(51)[9];
    const Bytes masks = solve(m, 2).masks;
    Guarded workspace(solver_workspace_bytes(m.problem));
    Floats d_lambda(m.lambda.size(), 0.5f), d_b(m.d_x.size(), 0.25f);
    const Floats lambda_before = d_lambda, b_before = d_b;
    for (const int settled : {1, 0}) {
        const PdhgSettling settling{4, settled};
        cpu::solver_adjoint(
            m.problem, 2, m.input().gram, {.masks = masks.data(), .d_x = m.d_x.data(), .settling = &settling},
            {.d_lambda = d_lambda.data(), .d_b = d_b.data(), .write = Write::accumulate}, workspace);
        CHECK(same_bits(d_lambda, lambda_before) == bool(settled));
        CHECK(same_bits(d_b, b_before) == bool(settled));
    }
}

TEST_CASE("the gap is the reference's, and goes to zero") {
    for (const Member& m : members(61)) {
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        State state(s);
        solve(m, 40, &state);
        for (int n = 0; n < s.solves; ++n) {
            const Twin twin(m, n, 0);
            const std::int64_t image = n / s.solves_per_image, n_u = s.fields() * s.pixels(),
                               n_q = s.components() * s.pixels();
            const float* data =
                s.data == DataTerm::weights ? m.data.data() + image * s.pixels() : m.data.data();
            const cpu::SolverGap gap = cpu::solver_gap(s, data, m.z.data() + image * s.data_size(),
                                                       m.lambda.data() + n * s.map_size(),
                                                       state.x.data() + n * n_u, state.q.data() + n * n_q);
            const reference::Optimality expected = reference::optimality(
                twin.family, twin.z, twin.lambda, part(state.x, n, n_u), part(state.q, n, n_q));
            CHECK(gap.primal == doctest::Approx(expected.primal).epsilon(1e-12));
            CHECK(gap.complementarity == doctest::Approx(expected.complementarity).epsilon(1e-10));
            CHECK(gap.image_residual == doctest::Approx(expected.image).epsilon(1e-10));
            CHECK(gap.field_residual == doctest::Approx(expected.field).epsilon(1e-10));
        }
    }
    for (const Boundary boundary : boundaries)
        for (const Regulariser r : regularisers) {
            const Member m = member(problem_of(r, DataTerm::identity, MapKind::shared, boundary, 12, 15), 62);
            CAPTURE(m.name());
            State state(m.problem);
            solve(m, 6000, &state);
            cpu::SolverGap gap = cpu::solver_gap(m.problem, nullptr, m.z.data(), m.lambda.data(),
                                                 state.x.data(), state.q.data());
            MESSAGE(m.name() << ": gap " << gap.relative() << ", residuals " << gap.image_residual << ", "
                             << gap.field_residual);
            CHECK(gap.relative() < 1e-6);
            CHECK(gap.complementarity > -1e-12);
            // Roundings of 6e-8 in some hundred values of q of 0.03, summed.
            CHECK(gap.field_residual < 1e-5);
            if (r == Regulariser::tv) {
                const cpu::PdhgGap expected = cpu::pdhg_gap(pdhg_of(m.problem), m.z.data(), m.lambda.data(),
                                                            state.x.data(), state.q.data());
                CHECK(gap.primal == doctest::Approx(expected.primal).epsilon(1e-12));
                CHECK(gap.gap() == doctest::Approx(expected.gap).epsilon(1e-6));
            }
            state.q[3] = 1;
            CHECK_THROWS_WITH_AS(cpu::solver_gap(m.problem, nullptr, m.z.data(), m.lambda.data(),
                                                 state.x.data(), state.q.data()),
                                 doctest::Contains("outside its bound"), Error);
        }
}

TEST_CASE("the gap is no less than how far the objective is from its least") {
    for (const DataTerm data :
         {DataTerm::identity, DataTerm::weights, DataTerm::blur, DataTerm::super_resolution, DataTerm::huber})
        for (const Regulariser r : {Regulariser::tv, Regulariser::tv8}) {
            Member m = member(problem_of(r, data, MapKind::scalar, Boundary::neumann, 18, 21), 67);
            CAPTURE(m.name());
            // Little smoothing, and most pixels missing: what is known little of has far to go.
            for (float& value : m.lambda) value = 0.005f;
            if (data == DataTerm::weights) {
                const float most =
                    *std::max_element(m.data.begin(), m.data.end());  // which the steps are for
                for (std::size_t i = 0; i < m.data.size(); ++i) m.data[i] = i * 7 % 10 < 3 ? most : 0.0f;
                m.gram = m.data;
                for (std::size_t i = 0; i < m.b.size(); ++i) m.b[i] = m.data[i] * m.z[i];
            }
            const float* values = m.data.empty() ? nullptr : m.data.data();
            const auto gap_after = [&](int steps) {
                State state(m.problem);
                solve(m, steps, &state);
                return cpu::solver_gap(m.problem, values, m.z.data(), m.lambda.data(), state.x.data(),
                                       state.q.data());
            };
            const double least = gap_after(40000).primal;
            double largest = 0;  // share of the gap that is true
            for (const int steps : {4, 16, 64, 256, 1024}) {
                CAPTURE(steps);
                const cpu::SolverGap gap = gap_after(steps);
                CHECK(gap.primal - least <= gap.gap() * (1 + 1e-6) + 1e-9);
                largest = std::max(largest, (gap.primal - least) / gap.gap());
            }
            CHECK(largest > 1e-3);  // nor is it out of all proportion
        }
}

TEST_CASE("impulses go, and a solution is reached and known as one") {
    for (const Regulariser r : {Regulariser::tv, Regulariser::tv8})
        for (const Boundary boundary : boundaries) {
            // Stripes of 9 pixels, single pixels hit. To give one back its value costs the data as much as it was moved,
            // and saves Λ times as much at each neighbour: ‖·‖₁ does so from some Λ on, and leaves the stripes, whose sides
            // it would cost more to move, to the number.
            Member m = member(problem_of(r, DataTerm::huber, MapKind::scalar, boundary, 24, 18), 66);
            CAPTURE(m.name());
            Values clean;
            for (int i = 0; i < 24; ++i)
                for (int j = 0; j < 18; ++j) {
                    clean.push_back(j < 9 ? 0.25 : 0.75);
                    const bool hit = i % 3 == 1 && j % 4 == 2;
                    m.z[clean.size() - 1] = hit ? float((i + j) % 2) : float(clean.back());
                }
            m.b = m.z;
            m.problem.threshold = 0;
            m.lambda = {r == Regulariser::tv ? 0.5f : 0.3f};
            State state(m.problem);
            const Result got = solve(m, 8000, &state);
            CHECK(distance(got.x, clean) < 1e-4);
            const cpu::SolverGap gap = cpu::solver_gap(m.problem, nullptr, m.z.data(), m.lambda.data(),
                                                       state.x.data(), state.q.data());
            CHECK(gap.relative() < 1e-4);
            CHECK(gap.image_residual < 1e-4);
            CHECK(gap.complementarity > -1e-9);
        }
}

TEST_CASE("what is known of solutions") {
    // tgv with Λ₀ = 0 takes w = ∂x for nothing: x = z. With Λ₁ = Λ₀ = 0, and for the others Λ = 0, so too.
    for (const Regulariser r : regularisers)
        for (const Boundary boundary : boundaries) {
            Member m = member(problem_of(r, DataTerm::identity, MapKind::scalar, boundary, 11, 14), 71);
            m.lambda = r == Regulariser::tgv ? Floats{0.02f, 0.0f} : Floats{0.0f};
            CHECK(distance(solve(m, 3000).x, m.z) < 1e-5);
        }
    // A constant image is a fixed point of every denoiser; of a blur that keeps constants, too.
    for (const Member& of : members(72)) {
        Member m = of;
        std::fill(m.z.begin(), m.z.end(), 0.5f);
        std::fill(m.start.begin(), m.start.end(), 0.5f);
        m.problem.own_start = true;
        cpu::data_to_image(m.problem, m.data.data(), m.z.data(), m.b.data());
        for (const float x : solve(m, 100).x) CHECK(x == doctest::Approx(0.5).epsilon(1e-6));
    }
}

TEST_CASE("wrong calls are refused") {
    const Member m = members(81)[6];
    const SolverProblem& s = m.problem;
    REQUIRE(s.data == DataTerm::blur);
    Guarded workspace(solver_workspace_bytes(s));
    Floats x(m.d_x.size());
    const SolverInput input = m.input();
    SolverInput no_gram = input;
    no_gram.gram = nullptr;
    const PdhgWorkspace enough = workspace, little{enough.memory, enough.bytes - 64};
    const auto forward = [&](const SolverInput& from, bool go_on, const PdhgWorkspace& space) {
        cpu::solver_forward(s, 1, from, {.x = x.data(), .start_from_state = go_on}, space);
    };
    CHECK_THROWS_WITH_AS(forward(input, true, enough), doctest::Contains("told to start from a state"),
                         Error);
    CHECK_THROWS_WITH_AS(forward(no_gram, false, enough), doctest::Contains("no array for the data term"),
                         Error);
    CHECK_THROWS_WITH_AS(forward(input, false, little), doctest::Contains("a workspace of"), Error);
    CHECK_THROWS_WITH_AS(cpu::solver_adjoint(s, 1, input.gram, {.d_x = m.d_x.data()}, {}, enough),
                         doctest::Contains("no masks"), Error);
    SolverProblem own = s;
    own.own_start = true;
    SolverInput no_start = input;
    no_start.start = nullptr;
    CHECK_THROWS_WITH_AS(cpu::solver_forward(own, 1, no_start, {.x = x.data()}, enough),
                         doctest::Contains("no image to start from"), Error);
    SolverProblem six = m.problem;
    six.data = DataTerm::huber;
    six.kernel_height = six.kernel_width = 1;
    six.regulariser = Regulariser::tgv;
    CHECK_THROWS_WITH_AS(check_solver("here", six, 1), doctest::Contains("more than a byte holds"), Error);
    std::int8_t e = 0;
    CHECK_THROWS_AS(cpu::solver_unpack_mask(s, 1, nullptr, 0, 1, &e), Error);
}
