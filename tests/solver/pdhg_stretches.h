// The solver and its adjoint on the CPU in stretches of steps, as gradient modes go about it.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "tests/solver/pdhg_case.h"

namespace pdhg_case {

inline std::size_t pixels_of(const PdhgProblem& s) { return std::size_t(s.solves * s.pixels()); }

// The iterates of a batch, in host memory.
struct Iterates {
    Floats x, x_bar, p, q;

    explicit Iterates(const PdhgProblem& s)
        : x(pixels_of(s), NAN), x_bar(x), p(x), q(2 * pixels_of(s), NAN) {}
    PdhgState pointers() { return {x.data(), x_bar.data(), p.data(), q.data()}; }
};
struct AdjointIterates {
    Floats y, y_bar, p, q, sum_p;

    explicit AdjointIterates(const PdhgProblem& s)
        : y(pixels_of(s), NAN), y_bar(y), p(y), q(2 * pixels_of(s), NAN), sum_p(y) {}
    PdhgAdjointState pointers() { return {y.data(), y_bar.data(), p.data(), q.data(), sum_p.data()}; }
};
inline bool same_bits(const AdjointIterates& a, const AdjointIterates& b) {
    return same_bits(a.y, b.y) && same_bits(a.y_bar, b.y_bar) && same_bits(a.p, b.p) && same_bits(a.q, b.q) &&
           same_bits(a.sum_p, b.sum_p);
}

struct Stretches {
    Floats x, d_lambda, d_z;
    std::vector<std::vector<std::uint8_t>> masks;  // of each stretch
    AdjointIterates last;                          // of the adjoint, as the first step left them
};

// Stretches of so many steps, the first steps first. The adjoint writes d_lambda in every call, d_z in the
// last, adding to zeros.
inline Stretches solve_in_stretches(const PdhgProblem& s, const std::vector<int>& lengths, const Data& data) {
    Stretches result{Floats(pixels_of(s), NAN),
                     Floats(std::size_t(s.solves * s.map_size()), NAN),
                     Floats(pixels_of(s), 0.0f),
                     {},
                     AdjointIterates(s)};
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    Iterates iterates(s);
    const PdhgState state = iterates.pointers();
    for (const int length : lengths) {
        Guarded masks(cpu::pdhg_mask_bytes(s, length));
        auto* bits = static_cast<std::uint8_t*>(masks.data());
        cpu::pdhg_forward(
            s, length, {data.z.data(), data.lambda.data()},
            {.x = result.x.data(), .masks = bits, .state = &state, .start_from_state = !result.masks.empty()},
            workspace);
        CHECK(masks.intact());
        result.masks.emplace_back(bits, bits + cpu::pdhg_mask_bytes(s, length));
    }
    const PdhgAdjointState adjoint = result.last.pointers();
    for (std::size_t n = lengths.size(); n-- > 0;) {
        const bool starts = n + 1 == lengths.size();
        Guarded masks(result.masks[n].size());  // aligned
        std::copy(result.masks[n].begin(), result.masks[n].end(), static_cast<std::uint8_t*>(masks.data()));
        cpu::pdhg_adjoint(s, lengths[n],
                          {.masks = static_cast<const std::uint8_t*>(masks.data()),
                           .d_x = starts ? data.d_x.data() : nullptr,
                           .state = &adjoint,
                           .start_from_state = !starts},
                          {.d_lambda = result.d_lambda.data(),
                           .d_z = n == 0 ? result.d_z.data() : nullptr,
                           .write = starts ? Write::overwrite : Write::accumulate},
                          workspace);
        if (n == 0) CHECK(workspace.intact());
    }
    return result;
}

}  // namespace pdhg_case
