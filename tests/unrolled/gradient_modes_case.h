// The solver unrolled in one gradient mode on the CPU, every piece of memory of the promised size between
// sentinels; and its gradient by finite differences in double.
#pragma once
#include <doctest/doctest.h>

#include <string>

#include "engine/unrolled/unrolled_solver.h"
#include "tests/reference/pdhg.h"
#include "tests/solver/pdhg_case.h"

namespace gradient_modes_case {

using namespace tvmap;
using pdhg_case::Data, pdhg_case::Floats, pdhg_case::Guarded, pdhg_case::problem_of;

/// Image-like, with a map so weak that edges remain in a small image too: else its gradient is rounding
/// alone.
inline Data make_data(const PdhgProblem& s, unsigned seed) {
    Data data = pdhg_case::make_data(s, seed);
    for (float& value : data.lambda) value *= 0.25f;
    return data;
}

inline GradientMode mode_of(const std::string& name) {
    const auto mode = gradient_mode(name);
    REQUIRE(mode.has_value());
    return *mode;
}

inline Backend& cpu_backend() {
    static const std::unique_ptr<Backend> backend = make_backend("cpu");
    return *backend;
}

struct Gradient {
    Floats x, d_lambda, d_z;
    int adjoint_steps = 0;
};

/// Twice backward after one forward, with different scratch memory, to the same bits. The gradients start
/// from `before`.
inline Gradient run_mode(const PdhgProblem& s, int iterations, const GradientMode& mode, const Data& data,
                         Write write = Write::overwrite, float before = NAN, bool want_lambda = true,
                         bool want_z = true) {
    UnrolledSolver solver(cpu_backend(), s, iterations, mode);
    const std::size_t pixels = std::size_t(s.solves * s.pixels()), map = std::size_t(s.solves * s.map_size());
    Guarded saved(solver.saved_bytes()), x(4 * pixels), d_lambda(4 * map), d_z(4 * pixels),
        forward(solver.forward_workspace_bytes()), backward(solver.backward_workspace_bytes());
    const auto floats = [](Guarded& memory, std::size_t count) {
        const auto* begin = static_cast<const float*>(memory.data());
        return Floats(begin, begin + count);
    };
    const SolverInput input{.b = data.z.data(), .lambda = data.lambda.data()};
    solver.forward(input, static_cast<float*>(x.data()), solver.saved_bytes() ? saved.data() : nullptr,
                   forward.data());
    Gradient result;
    for (const int scratch : {0xff, 0x3e}) {  // NaN, 0.19
        std::memset(backward.data(), scratch, solver.backward_workspace_bytes());
        std::fill_n(static_cast<float*>(d_lambda.data()), map, before);
        std::fill_n(static_cast<float*>(d_z.data()), pixels, before);
        solver.backward(saved.data(), input, data.d_x.data(),
                        {.d_lambda = want_lambda ? static_cast<float*>(d_lambda.data()) : nullptr,
                         .d_b = want_z ? static_cast<float*>(d_z.data()) : nullptr,
                         .write = write},
                        backward.data());
        const Gradient once{floats(x, pixels), floats(d_lambda, map), floats(d_z, pixels),
                            solver.adjoint_steps()};
        if (scratch == 0x3e) {
            CHECK(pdhg_case::same_bits(once.d_lambda, result.d_lambda));
            CHECK(pdhg_case::same_bits(once.d_z, result.d_z));
        }
        result = once;
    }
    CHECK(saved.intact());
    CHECK(x.intact());
    CHECK(d_lambda.intact());
    CHECK(d_z.intact());
    CHECK(forward.intact());
    CHECK(backward.intact());
    return result;
}

/// ‖a − b‖₂ / ‖b‖₂; infinite for anything that is not a number, or nothing.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
    double difference = 0, norm = 0;
    if (a.size() != b.size()) return INFINITY;
    for (std::size_t i = 0; i < b.size(); ++i) {
        difference += (double(a[i]) - double(b[i])) * (double(a[i]) - double(b[i]));
        norm += double(b[i]) * double(b[i]);
    }
    const double ratio = std::sqrt(difference / norm);
    return std::isnan(ratio) ? INFINITY : ratio;
}

/// The clip's decisions of every step of one solve, as the kernel in single precision took them.
inline std::vector<reference::Decisions> decisions(const PdhgProblem& s, int iterations, const Data& data) {
    const auto masks = pdhg_case::solve(s, iterations, data).masks;
    const std::size_t n = std::size_t(s.pixels());
    std::vector<reference::Decisions> all;
    for (int k = 0; k < iterations; ++k) {
        std::vector<std::int8_t> e(2 * n);
        cpu::pdhg_unpack_mask(s, iterations, masks.data(), 0, k, e.data(), e.data() + n);
        all.emplace_back(e.begin(), e.end());
    }
    return all;
}

/// One solve in double with decisions given. What follows from it is affine in z and Λ.
struct Twin {
    reference::Pdhg s;
    MapKind kind;

    explicit Twin(const PdhgProblem& p) : kind(p.map) {
        s.height = p.height;
        s.width = p.width;
        s.tau = p.tau;
        s.sigma = p.sigma;
        s.theta = p.theta;
        s.neumann = p.boundary == Boundary::neumann;
        s.start_at_image = p.dual_start == DualStart::image;
    }
    struct State {
        reference::Plane x, x_bar, p, q;
    };
    State start(const reference::Plane& z) const {
        const reference::Plane zero(z.size(), 0.0);
        return {z, z, s.start_at_image ? z : zero, reference::Plane(2 * z.size(), 0.0)};
    }
    double bound(const reference::Plane& lambda, std::size_t i, std::size_t n) const {
        return lambda[kind == MapKind::scalar ? 0 : kind == MapKind::shared ? i % n : i];
    }
    void step(State& at, const reference::Plane& z, const reference::Plane& lambda,
              const reference::Decisions& e) const {
        const std::size_t n = z.size();
        for (std::size_t i = 0; i < n; ++i)
            at.p[i] = (at.p[i] + s.sigma * (at.x_bar[i] - z[i])) / (1 + s.sigma);
        const reference::Plane g = reference::gradient(s, at.x_bar);
        for (std::size_t i = 0; i < 2 * n; ++i)
            at.q[i] = e[i] == 0 ? at.q[i] + s.sigma * g[i] : e[i] * bound(lambda, i, n);
        const reference::Plane c = reference::gradient_transposed(s, at.q);
        for (std::size_t i = 0; i < n; ++i) {
            const double next = at.x[i] - s.tau * at.p[i] - s.tau * c[i];
            at.x_bar[i] = next + s.theta * (next - at.x[i]);
            at.x[i] = next;
        }
    }
};

/// ∂⟨d_x, x⟩/∂(Λ, z) entry by entry: x(z, Λ) is affine, so a difference of any width is the derivative.
template <class Solve>
std::pair<reference::Plane, reference::Plane> finite_differences(const Data& data, const Solve& solve) {
    reference::Plane z(data.z.begin(), data.z.end()), lambda(data.lambda.begin(), data.lambda.end());
    const auto value = [&] {
        const reference::Plane x = solve(z, lambda);
        double sum = 0;
        for (std::size_t i = 0; i < x.size(); ++i) sum += double(data.d_x[i]) * x[i];
        return sum;
    };
    const auto differences = [&](reference::Plane& at) {
        reference::Plane d;
        for (double& entry : at) {
            const double before = entry;
            entry = before + 0.5;
            const double above = value();
            entry = before - 0.5;
            d.push_back(above - value());
            entry = before;
        }
        return d;
    };
    const reference::Plane d_lambda = differences(lambda);
    return {d_lambda, differences(z)};
}

}  // namespace gradient_modes_case
