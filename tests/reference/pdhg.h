// Reference for the total-variation solver: the iteration and its adjoint written down term by term, in
// double, one plane after the other. Shares nothing with the product.
//     p ← (p + σ(x̄ − z))/(1 + σ)    v = q + σ∇x̄,  q ← clip(v, −Λ, Λ)
//     x₊ = x − τp − τ∇ᵀq    x̄ = x₊ + θ(x₊ − x)
// Adjoint, with X, X̄, P, Q the gradients for x, x̄, p, q, from X = ∂loss/∂x_T and zeros, for k = T−1 … 0:
//     g = X + (1+θ)X̄    P ← (P − τg)/(1+σ)    Q′ = Q − τ∇g    d_Λ += e·Q′    Q = Q′ where e = 0, else 0
//     X ← X + X̄         X̄ ← σ(P + ∇ᵀQ)        d_z −= σP       at the end d_z += X + X̄ (+ P where p₀ = z)
// Steps may differ from one k to the next. Their gradients, with g, X̄ as above and the new P, Q:
//     d_τ = (1/τ)⟨g, x₊ − x⟩    d_σ = ⟨P, x̄ − z − p₊⟩ + ⟨Q, ∇x̄⟩    d_θ = ⟨X̄, x₊ − x⟩
// Planes are H×W, row by row; q and Λ are vertical plane then horizontal plane.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

namespace reference {

struct PdhgSteps {
    double tau = 1.0 / 3, sigma = 1.0 / 3, theta = 1;
};

struct Pdhg {
    int height = 0, width = 0, iterations = 0;
    double tau = 1.0 / 3, sigma = 1.0 / 3, theta = 1;
    bool neumann = false;                // else periodic
    bool start_at_image = false;         // p₀ = z, else 0
    std::vector<PdhgSteps> own_steps{};  // of step k, where they differ

    PdhgSteps steps(int k) const {
        return own_steps.empty() ? PdhgSteps{tau, sigma, theta} : own_steps[std::size_t(k)];
    }
};

using Plane = std::vector<double>;
/// e of one step for both components, 2·H·W.
using Decisions = std::vector<signed char>;

/// ∇x, 2·H·W: x[i+1,j] − x[i,j], then x[i,j+1] − x[i,j].
inline Plane gradient(const Pdhg& s, const Plane& x) {
    const int h = s.height, w = s.width;
    Plane g(std::size_t(2) * h * w);
    for (int i = 0; i < h; ++i) {
        for (int j = 0; j < w; ++j) {
            const bool below = !s.neumann || i + 1 < h, right = !s.neumann || j + 1 < w;
            g[i * w + j] = below ? x[(i + 1) % h * w + j] - x[i * w + j] : 0;
            g[(h + i) * w + j] = right ? x[i * w + (j + 1) % w] - x[i * w + j] : 0;
        }
    }
    return g;
}

/// ∇ᵀq, scattered: every difference gives its q to its two pixels.
inline Plane gradient_transposed(const Pdhg& s, const Plane& q) {
    const int h = s.height, w = s.width;
    Plane x(std::size_t(h) * w, 0.0);
    for (int i = 0; i < h; ++i) {
        for (int j = 0; j < w; ++j) {
            if (!s.neumann || i + 1 < h) {
                x[(i + 1) % h * w + j] += q[i * w + j];
                x[i * w + j] -= q[i * w + j];
            }
            if (!s.neumann || j + 1 < w) {
                x[i * w + (j + 1) % w] += q[(h + i) * w + j];
                x[i * w + j] -= q[(h + i) * w + j];
            }
        }
    }
    return x;
}

struct PdhgRun {
    Plane x, x_bar, p, q;
    std::vector<Decisions> e;  // one per step
};

/// z: H·W, lambda: 2·H·W. With `imposed`, step k takes its decisions from there: v where e = 0, else e·Λ.
inline PdhgRun pdhg_forward(const Pdhg& s, const Plane& z, const Plane& lambda,
                            const std::vector<Decisions>* imposed = nullptr) {
    const std::size_t n = std::size_t(s.height) * s.width;
    PdhgRun run{z, z, s.start_at_image ? z : Plane(n, 0.0), Plane(2 * n, 0.0), {}};
    for (int k = 0; k < s.iterations; ++k) {
        const auto [tau, sigma, theta] = s.steps(k);
        for (std::size_t i = 0; i < n; ++i) {
            run.p[i] = (run.p[i] + sigma * (run.x_bar[i] - z[i])) / (1 + sigma);
        }
        const Plane g = gradient(s, run.x_bar);
        Decisions e(2 * n);
        for (std::size_t i = 0; i < 2 * n; ++i) {
            const double v = run.q[i] + sigma * g[i];
            e[i] = imposed ? (*imposed)[k][i] : v > lambda[i] ? 1 : v < -lambda[i] ? -1 : 0;
            run.q[i] = e[i] == 0 ? v : e[i] * lambda[i];
        }
        const Plane c = gradient_transposed(s, run.q);
        for (std::size_t i = 0; i < n; ++i) {
            const double next = run.x[i] - tau * run.p[i] - tau * c[i];
            run.x_bar[i] = next + theta * (next - run.x[i]);
            run.x[i] = next;
        }
        run.e.push_back(std::move(e));
    }
    return run;
}

struct PdhgGradient {
    Plane lambda, z;  // ∂loss/∂Λ (2·H·W) and ∂loss/∂z
};

/// The gradients that step k of the adjoint sees: g for x₊, X̄ for x̄₊, the new P and Q.
struct PdhgAdjointStep {
    Plane g, x_bar, p, q;
};

/// Adjoint with the decisions e of the steps 0 … T−1; d_x = ∂loss/∂x_T. Step k is kept in (*steps)[k].
inline PdhgGradient pdhg_adjoint(const Pdhg& s, const std::vector<Decisions>& e, const Plane& d_x,
                                 std::vector<PdhgAdjointStep>* steps = nullptr) {
    const std::size_t n = std::size_t(s.height) * s.width;
    Plane x = d_x, x_bar(n, 0.0), p(n, 0.0), q(2 * n, 0.0);
    PdhgGradient d{Plane(2 * n, 0.0), Plane(n, 0.0)};
    if (steps) steps->resize(std::size_t(s.iterations));
    for (int k = s.iterations - 1; k >= 0; --k) {
        const auto [tau, sigma, theta] = s.steps(k);
        Plane g(n);
        for (std::size_t i = 0; i < n; ++i) {
            g[i] = x[i] + (1 + theta) * x_bar[i];
            p[i] = (p[i] - tau * g[i]) / (1 + sigma);
        }
        const Plane grad = gradient(s, g);
        for (std::size_t i = 0; i < 2 * n; ++i) {
            const double v = q[i] - tau * grad[i];
            d.lambda[i] += e[k][i] * v;
            q[i] = e[k][i] == 0 ? v : 0;
        }
        if (steps) (*steps)[std::size_t(k)] = {g, x_bar, p, q};
        const Plane c = gradient_transposed(s, q);
        for (std::size_t i = 0; i < n; ++i) {
            x[i] += x_bar[i];  // x_k acts through x_{k+1} (g) and, by −θ, through x̄_{k+1}
            x_bar[i] = sigma * (p[i] + c[i]);
            d.z[i] -= sigma * p[i];
        }
    }
    for (std::size_t i = 0; i < n; ++i) d.z[i] += x[i] + x_bar[i] + (s.start_at_image ? p[i] : 0);
    return d;
}

/// ∂loss/∂(τ, σ, θ) of every step, with the decisions e imposed.
inline std::vector<PdhgSteps> pdhg_step_gradients(const Pdhg& s, const Plane& z, const Plane& lambda,
                                                  const std::vector<Decisions>& e, const Plane& d_x) {
    const auto inner = [](const Plane& a, const auto& b) {
        double sum = 0;
        for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b(i);
        return sum;
    };
    std::vector<PdhgAdjointStep> adjoint;
    pdhg_adjoint(s, e, d_x, &adjoint);
    std::vector<PdhgSteps> d;
    Pdhg first = s;  // the steps before k
    first.iterations = 0;
    for (PdhgRun run = pdhg_forward(first, z, lambda, &e); first.iterations < s.iterations;) {
        const PdhgAdjointStep& a = adjoint[std::size_t(first.iterations)];
        const double tau = s.steps(first.iterations).tau;
        ++first.iterations;
        const PdhgRun next = pdhg_forward(first, z, lambda, &e);
        const Plane grad = gradient(s, run.x_bar);
        const auto moved = [&](std::size_t i) { return next.x[i] - run.x[i]; };
        d.push_back({inner(a.g, moved) / tau,
                     inner(a.p, [&](std::size_t i) { return run.x_bar[i] - z[i] - next.p[i]; }) +
                         inner(a.q, [&](std::size_t i) { return grad[i]; }),
                     inner(a.x_bar, moved)});
        run = next;
    }
    return d;
}

}  // namespace reference
