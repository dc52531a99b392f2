// Iterates that decay for hundreds of steps end at zero and not among the subnormal numbers, for which a processor
// may take thirty times as long; and calculations after a solve have subnormal numbers as before.
#include <doctest/doctest.h>

#include <cfloat>
#include <cmath>
#include <initializer_list>
#include <string>

#include "kernels/base/simd.h"
#include "tests/family/family_case.h"
#include "tests/solver/pdhg_stretches.h"
#include "tests/support/run_on.h"

using namespace pdhg_case;

namespace {

int subnormal_numbers(std::initializer_list<const Floats*> planes) {
    int count = 0;
    for (const Floats* values : planes)
        for (const float value : *values) count += std::fpclassify(value) == FP_SUBNORMAL;
    return count;
}

// Those of the adjoint shrink to a third in some four steps, and fp32 ends at 1e-38.
constexpr int steps = 700;

/// Halves the smallest normal number on every thread, and counts where nothing is left of it.
int threads_without_subnormals() {
    int without = 0;
#pragma omp parallel num_threads(3) reduction(+ : without)
    {
        volatile float number = FLT_MIN;
        number = number / 2;
        without += !(number > 0);
    }
    return without;
}

}  // namespace

TEST_CASE("the adjoint's iterates end at zero") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        CAPTURE(int(map));
        const PdhgProblem s = problem_of(40, 33, map, 2);
        const Data data = make_data(s, 5);
        Floats first;
        for (const std::string& set : cpu::instruction_sets()) {
            CAPTURE(set);
            for (const int threads : {1, 3}) {
                const RunOn on(threads, set);
                Guarded masks(cpu::pdhg_mask_bytes(s, steps)), workspace(cpu::pdhg_workspace_bytes(s));
                auto* bits = static_cast<std::uint8_t*>(masks.data());
                Floats x(data.d_x.size()), d_lambda(data.lambda.size());
                cpu::pdhg_forward(s, steps, {data.z.data(), data.lambda.data()},
                                  {.x = x.data(), .masks = bits}, workspace);
                AdjointIterates at(s);
                const PdhgAdjointState state = at.pointers();
                cpu::pdhg_adjoint(s, steps, {.masks = bits, .d_x = data.d_x.data(), .state = &state},
                                  {.d_lambda = d_lambda.data()}, workspace);
                CHECK(subnormal_numbers({&at.y, &at.y_bar, &at.p, &at.q}) == 0);
                CHECK(threads_without_subnormals() == 0);
                if (first.empty()) first = d_lambda;
                CHECK(same_bits(first, d_lambda));
            }
        }
    }
}

TEST_CASE("an image without noise: p decays to zero") {
    PdhgProblem s = problem_of(20, 33);
    s.dual_start = DualStart::image;
    const Floats z(std::size_t(s.pixels()), 0.5f), lambda(z.size(), 0.1f);
    Iterates at(s);
    const PdhgState state = at.pointers();
    denoise(s, steps, z, lambda, &state);
    CHECK(subnormal_numbers({&at.x, &at.x_bar, &at.p, &at.q}) == 0);
}

TEST_CASE("the family's iterates end at zero") {
    using namespace family_case;
    for (const Regulariser r : regularisers)
        for (const DataTerm d : {DataTerm::identity, DataTerm::weights}) {
            const Member m =
                member(family_case::problem_of(r, d, MapKind::shared, Boundary::periodic, 12, 15), 3);
            CAPTURE(m.name());
            const SolverProblem& s = m.problem;
            const int many = 3000;  // some shrink slowly
            Guarded masks(solver_mask_bytes(s, many)), workspace(solver_workspace_bytes(s));
            auto* bits = static_cast<std::uint8_t*>(masks.data());
            Floats x(m.d_x.size()), d_lambda(m.lambda.size()), sum(m.d_x.size());
            cpu::solver_forward(s, many, m.input(), {.x = x.data(), .masks = bits}, workspace);
            State at(s);
            const PdhgAdjointState state{at.x.data(), at.x_bar.data(), at.p.data(), at.q.data(), sum.data()};
            cpu::solver_adjoint(s, many, m.input().gram,
                                {.masks = bits, .d_x = m.d_x.data(), .state = &state},
                                {.d_lambda = d_lambda.data()}, workspace);
            CHECK(subnormal_numbers({&at.x, &at.x_bar, &at.p, &at.q}) == 0);
            CHECK(threads_without_subnormals() == 0);
        }
}
