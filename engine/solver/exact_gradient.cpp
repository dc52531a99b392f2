// A step, and under each line its reverse; g_v is the gradient of the loss for v, e of the clip, m = 1 − |e|.
//     p₊ = (p + σ(x̄ − z)) / (1 + σ)       4. g_p = g_p₊ / (1 + σ)       g_x̄ += σ·g_p
//     v  = q + σ∇x̄                        3. g_q = m·g_q₊               g_x̄ += σ∇ᵀg_q       g_Λ += e·g_q₊
//     q₊ = clip(v, −Λ, Λ)
//     x₊ = x − τp₊ − τ∇ᵀq₊                2. g_x += g_x₊                g_p₊ −= τ·g_x₊       g_q₊ −= τ∇g_x₊
//     x̄₊ = x₊ + θ(x₊ − x)                 1. g_x₊ += (1 + θ)·g_x̄₊       g_x = −θ·g_x̄₊
#include "engine/solver/exact_gradient.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

using Plane = std::vector<double>;

/// The grid of the differences.
class Grid {
  public:
    explicit Grid(const PdhgProblem& problem)
        : height_(problem.height), width_(problem.width), periodic_(problem.boundary == Boundary::periodic) {}

    std::int64_t pixels() const { return std::int64_t(height_) * width_; }

    /// Calls difference(component, from, to) for every difference x[to] − x[from], one row after the other.
    template <class Difference>
    void each(const Difference& difference) const {
        for (int i = 0; i < height_; ++i)
            for (int j = 0; j < width_; ++j) {
                const std::int64_t here = std::int64_t(i) * width_ + j;
                if (periodic_ || i + 1 < height_)
                    difference(here, here, std::int64_t((i + 1) % height_) * width_ + j);
                if (periodic_ || j + 1 < width_)
                    difference(pixels() + here, here, std::int64_t(i) * width_ + (j + 1) % width_);
            }
    }

    /// q += factor·∇x
    void add_gradient(double factor, const Plane& x, Plane& q) const {
        each([&](std::int64_t k, std::int64_t from, std::int64_t to) { q[k] += factor * (x[to] - x[from]); });
    }
    /// x += factor·∇ᵀq
    void add_transposed(double factor, const Plane& q, Plane& x) const {
        each([&](std::int64_t k, std::int64_t from, std::int64_t to) {
            x[to] += factor * q[k];
            x[from] -= factor * q[k];
        });
    }

  private:
    int height_, width_;
    bool periodic_;
};

void check_single(const PdhgProblem& problem) {
    if (problem.solves != 1 || problem.map == MapKind::scalar)
        fail("exact gradient: ", problem.solves, " solves, a map of ", problem.map_size(),
             " values; give one solve with a shared map or separate ones");
}

/// The value of the map for a component.
std::int64_t map_index(const PdhgProblem& problem, std::int64_t component) {
    return component % problem.map_size();
}

}  // namespace

ClipDecisions unpack_decisions(const PdhgProblem& problem, int iterations, const std::uint8_t* masks) {
    check_single(problem);
    const std::int64_t pixels = problem.pixels();
    ClipDecisions decisions(iterations, 2 * pixels);
    std::vector<std::int8_t> e(2 * pixels);
    for (int k = 0; k < iterations; ++k) {
        cpu::pdhg_unpack_mask(problem, iterations, masks, 0, k, e.data(), e.data() + pixels);
        for (std::int64_t i = 0; i < 2 * pixels; ++i) decisions.set(k, i, e[i]);
    }
    return decisions;
}

ExactRun exact_run(const PdhgProblem& problem, int iterations, const float* z, const float* lambda) {
    check_single(problem);
    const Grid grid(problem);
    const std::int64_t n = grid.pixels();
    const double tau = problem.tau, sigma = problem.sigma, theta = problem.theta;
    ExactRun run{Plane(z, z + n), ClipDecisions(iterations, 2 * n)};
    Plane &x = run.x, x_bar = x, p = problem.dual_start == DualStart::image ? x : Plane(n), q(2 * n), next(n);
    for (int k = 0; k < iterations; ++k) {
        for (std::int64_t i = 0; i < n; ++i) p[i] = (p[i] + sigma * (x_bar[i] - z[i])) / (1 + sigma);
        grid.add_gradient(sigma, x_bar, q);
        for (std::int64_t i = 0; i < 2 * n; ++i) {
            const double bound = lambda[map_index(problem, i)];
            const int e = q[i] > bound ? 1 : q[i] < -bound ? -1 : 0;
            if (e) q[i] = e * bound;
            run.decisions.set(k, i, e);
        }
        for (std::int64_t i = 0; i < n; ++i) next[i] = x[i] - tau * p[i];
        grid.add_transposed(-tau, q, next);
        for (std::int64_t i = 0; i < n; ++i) x_bar[i] = next[i] + theta * (next[i] - x[i]);
        x.swap(next);
    }
    return run;
}

std::vector<double> exact_gradient(const PdhgProblem& problem, int iterations, const ClipDecisions& decisions,
                                   const std::vector<double>& d_x) {
    check_single(problem);
    const Grid grid(problem);
    const std::int64_t n = grid.pixels();
    const double tau = problem.tau, sigma = problem.sigma, theta = problem.theta;
    Plane g_x = d_x, g_x_bar(n), g_p(n), g_q(2 * n), g_lambda(problem.map_size()), after(n);
    for (int k = iterations - 1; k >= 0; --k) {
        for (std::int64_t i = 0; i < n; ++i) {  // 1
            after[i] = g_x[i] + (1 + theta) * g_x_bar[i];
            g_x[i] = -theta * g_x_bar[i];
        }
        for (std::int64_t i = 0; i < n; ++i) {  // 2
            g_x[i] += after[i];
            g_p[i] -= tau * after[i];
        }
        grid.add_gradient(-tau, after, g_q);
        for (std::int64_t i = 0; i < 2 * n; ++i) {  // 3
            const int e = decisions.at(k, i);
            if (e == 0) continue;
            g_lambda[map_index(problem, i)] += e * g_q[i];
            g_q[i] = 0;
        }
        std::fill(g_x_bar.begin(), g_x_bar.end(), 0.0);
        grid.add_transposed(sigma, g_q, g_x_bar);
        for (std::int64_t i = 0; i < n; ++i) {  // 4
            g_p[i] /= 1 + sigma;
            g_x_bar[i] += sigma * g_p[i];
        }
    }
    return g_lambda;
}

GradientError gradient_error(const std::vector<double>& a, const std::vector<double>& b) {
    const auto norm = [](const std::vector<double>& v) {
        double sum = 0;
        for (const double value : v) sum += value * value;
        return std::sqrt(sum);
    };
    const double of_a = norm(a), of_b = norm(b);
    if (of_a == 0 || of_b == 0)
        return {of_a == of_b ? 0.0 : of_b == 0 ? INFINITY : 1.0, of_a == of_b ? 0.0 : 90.0};
    // Of unit vectors u, v at the angle α, ‖u − v‖ is 2·sin(α/2) and ‖u + v‖ is 2·cos(α/2): good for small
    // angles too, where the cosine says nothing.
    double difference = 0, apart = 0, together = 0;
    for (std::size_t i = 0; i < b.size(); ++i) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        const double u = a[i] / of_a, v = b[i] / of_b;
        apart += (u - v) * (u - v);
        together += (u + v) * (u + v);
    }
    return {std::sqrt(difference) / of_b,
            2 * std::atan2(std::sqrt(apart), std::sqrt(together)) * 180 / std::acos(-1.0)};
}

}  // namespace tvmap
