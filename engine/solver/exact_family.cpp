// A step, and under each line its reverse; g_v is the gradient of the loss for v, e of the clip, c = 1 − |e|, and M counts
// each component as often as the norm does: K* = KᵀM.
//     r₊ = (r + σ(N x̄ − b)) / (1 + σ)     4. g_r = g_r₊ / (1 + σ)       g_x̄ += σN g_r
//     v  = q + σK ū                       3. g_q = c·g_q₊               g_ū += σKᵀg_q       g_Λ += e·g_q₊
//     q₊ = clip(v, −Λ, Λ)
// (DataTerm::huber: r₊ = clip((r + σ(x̄ − b)) / (1 + σδ), −1, 1), reversed as q₊ is.)
//     u₊ = u − τ((r₊, 0) + K*q₊)          2. g_u += g_u₊                g_r₊ −= τ·g_x₊      g_q₊ −= τMK g_u₊
//     ū₊ = u₊ + θ(u₊ − u)                 1. g_u₊ += (1 + θ)·g_ū₊       g_u = −θ·g_ū₊
#include "engine/solver/exact_family.h"

#include <algorithm>
#include <cmath>

#include "kernels/base/error.h"

namespace tvmap {

ExactDifferences::ExactDifferences(const SolverProblem& problem) {
    const int height = problem.height, width = problem.width;
    const std::int64_t n = problem.pixels();
    const bool periodic = problem.boundary == Boundary::periodic;
    // The pixel at (i, j), −1 where there is none.
    const auto pixel = [&](int i, int j) -> std::int64_t {
        if (!periodic && (i < 0 || i >= height || j < 0 || j >= width)) return -1;
        return std::int64_t((i + height) % height) * width + (j + width) % width;
    };
    const auto add = [&](std::int64_t row, std::int64_t column, double value) {
        entries_.push_back({row, column, value});
    };
    // weight·(x[to] − x[from])
    const auto difference = [&](std::int64_t row, std::int64_t from, std::int64_t to, double weight) {
        if (to < 0) return;
        add(row, to, weight);
        add(row, from, -weight);
    };
    // weight·∂′ = −weight·∂ᵀ of a plane of w: the entry of the pixel itself is missing where it has no next.
    const auto backward = [&](std::int64_t row, std::int64_t plane, int i, int j, int down, int right,
                              double weight) {
        if (pixel(i + down, j + right) >= 0) add(row, plane + pixel(i, j), weight);
        const std::int64_t previous = pixel(i - down, j - right);
        if (previous >= 0) add(row, plane + previous, -weight);
    };
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) {
            const std::int64_t here = pixel(i, j);
            difference(here, here, pixel(i + 1, j), 1);
            difference(n + here, here, pixel(i, j + 1), 1);
            if (problem.regulariser == Regulariser::tv8) {
                difference(2 * n + here, here, pixel(i + 1, j + 1), std::sqrt(0.5));
                difference(3 * n + here, here, pixel(i + 1, j - 1), std::sqrt(0.5));
            } else if (problem.regulariser == Regulariser::tgv) {
                add(here, n + here, -1);
                add(n + here, 2 * n + here, -1);
                backward(2 * n + here, n, i, j, 1, 0, 1);
                backward(3 * n + here, 2 * n, i, j, 0, 1, 1);
                backward(4 * n + here, n, i, j, 0, 1, 0.5);
                backward(4 * n + here, 2 * n, i, j, 1, 0, 0.5);
            }
        }
}

void ExactDifferences::add(double factor, const std::vector<double>& u, std::vector<double>& q) const {
    for (const Entry& e : entries_) q[e.row] += factor * e.value * u[e.column];
}

void ExactDifferences::add_transposed(double factor, const std::vector<double>& q,
                                      std::vector<double>& u) const {
    for (const Entry& e : entries_) u[e.column] += factor * e.value * q[e.row];
}

ExactFamily::ExactFamily(const SolverProblem& problem, const float* data)
    : problem_(problem), pixels_(problem.pixels()), differences_(problem) {
    if (problem.solves != 1 || problem.map == MapKind::scalar)
        fail("exact gradient: ", problem.solves, " solves, a map of ", problem.map_size(),
             " values; give one solve with a shared map or separate ones");
    if (problem.data == DataTerm::weights) data_.assign(data, data + pixels_);
    if (problem.data == DataTerm::blur)
        data_.assign(data, data + std::ptrdiff_t(problem.kernel_height) * problem.kernel_width);
}

/// The value of the map for a component of a pixel.
std::int64_t ExactFamily::map_index(std::int64_t component) const {
    if (problem_.map == MapKind::separate) return component;
    const bool of_field = problem_.regulariser == Regulariser::tgv && component >= 2 * pixels_;
    return component % pixels_ + (of_field ? pixels_ : 0);
}

double ExactFamily::multiplicity(std::int64_t component) const {
    return problem_.regulariser == Regulariser::tgv && component >= 4 * pixels_ ? 2 : 1;
}

/// Σ kernel[a, b]·x[i + sign·(a − rows/2), j + sign·(b − columns/2)], around the image.
ExactFamily::Plane ExactFamily::shifted_sum(const Plane& x, int sign) const {
    const int height = problem_.height, width = problem_.width, rows = problem_.kernel_height,
              columns = problem_.kernel_width;
    Plane sum(x.size());
    for (int a = 0; a < rows; ++a)
        for (int b = 0; b < columns; ++b) {
            const double tap = data_[std::size_t(a) * columns + b];
            const int down = sign * (a - rows / 2) + height, right = sign * (b - columns / 2) + width;
            for (int i = 0; i < height; ++i)
                for (int j = 0; j < width; ++j)
                    sum[std::size_t(i) * width + j] +=
                        tap * x[std::size_t((i + down) % height) * width + (j + right) % width];
        }
    return sum;
}

/// b = Aᴴz.
ExactFamily::Plane ExactFamily::observed_back(const float* z) const {
    Plane b(z, z + pixels_);
    const double share = 1 / (double(problem_.factor) * problem_.factor);
    switch (problem_.data) {
        case DataTerm::identity:
        case DataTerm::huber:
            break;
        case DataTerm::weights:
            for (std::int64_t i = 0; i < pixels_; ++i) b[i] *= data_[i];
            break;
        case DataTerm::blur:
            return shifted_sum(b, 1);
        case DataTerm::super_resolution:
            for (double& value : b) value *= share;
            break;
    }
    return b;
}

/// N x = AᴴA x.
ExactFamily::Plane ExactFamily::normal(const Plane& x) const {
    const int width = problem_.width, factor = problem_.factor;
    Plane n(x.begin(), x.begin() + pixels_);
    switch (problem_.data) {
        case DataTerm::identity:
        case DataTerm::huber:
            break;
        case DataTerm::weights:
            for (std::int64_t i = 0; i < pixels_; ++i) n[i] *= data_[i];
            break;
        case DataTerm::blur:
            return shifted_sum(shifted_sum(n, -1), 1);
        case DataTerm::super_resolution: {
            Plane total(n.size());  // of a block, at its first pixel
            const auto block = [&](std::int64_t at) {
                return at / width / factor * factor * width + at % width / factor * factor;
            };
            for (std::int64_t i = 0; i < pixels_; ++i) total[block(i)] += n[i];
            const double mean = 1 / (double(factor) * factor);
            for (std::int64_t i = 0; i < pixels_; ++i) n[i] = mean * mean * total[block(i)];
            break;
        }
    }
    return n;
}

ExactRun ExactFamily::run(int iterations, const float* z, const float* lambda) const {
    const std::int64_t n = pixels_, duals = problem_.components() * n;
    const double tau = problem_.tau, sigma = problem_.sigma, theta = problem_.theta;
    const Plane b = observed_back(z);
    Plane u = problem_.own_start ? Plane(z, z + n) : b;
    u.resize(std::size_t(problem_.fields() * n));
    Plane u_bar = u, r(n), q(duals), counted(duals), next;
    ClipDecisions decisions(iterations, problem_.decisions() * n);
    const bool huber = problem_.data == DataTerm::huber;
    const double step = huber ? sigma * problem_.threshold : sigma;
    for (int k = 0; k < iterations; ++k) {
        const Plane predicted = normal(u_bar);
        for (std::int64_t i = 0; i < n; ++i) {
            r[i] = (r[i] + sigma * (predicted[i] - b[i])) / (1 + step);
            if (huber) {
                const int e = r[i] > 1 ? 1 : r[i] < -1 ? -1 : 0;
                if (e) r[i] = e;
                decisions.set(k, duals + i, e);
            }
        }
        differences_.add(sigma, u_bar, q);
        for (std::int64_t i = 0; i < duals; ++i) {
            const double bound = lambda[map_index(i)];
            const int e = q[i] > bound ? 1 : q[i] < -bound ? -1 : 0;
            if (e) q[i] = e * bound;
            decisions.set(k, i, e);
            counted[i] = multiplicity(i) * q[i];
        }
        next = u;
        for (std::int64_t i = 0; i < n; ++i) next[i] -= tau * r[i];
        differences_.add_transposed(-tau, counted, next);
        for (std::size_t i = 0; i < u.size(); ++i) u_bar[i] = next[i] + theta * (next[i] - u[i]);
        u.swap(next);
    }
    u.resize(std::size_t(n));
    return {std::move(u), std::move(decisions)};
}

std::vector<double> ExactFamily::gradient(int iterations, const ClipDecisions& decisions,
                                          const std::vector<double>& d_x) const {
    const std::int64_t n = pixels_, duals = problem_.components() * n, all = problem_.fields() * n;
    const double tau = problem_.tau, sigma = problem_.sigma, theta = problem_.theta;
    const bool huber = problem_.data == DataTerm::huber;
    const double step = huber ? sigma * problem_.threshold : sigma;
    Plane g_u = d_x, g_u_bar(all), g_r(n), g_q(duals), g_lambda(problem_.map_size()), after(all),
          moved(duals);
    g_u.resize(std::size_t(all));
    for (int k = iterations - 1; k >= 0; --k) {
        for (std::int64_t i = 0; i < all; ++i) {  // 1
            after[i] = g_u[i] + (1 + theta) * g_u_bar[i];
            g_u[i] = -theta * g_u_bar[i];
        }
        for (std::int64_t i = 0; i < all; ++i) g_u[i] += after[i];  // 2
        for (std::int64_t i = 0; i < n; ++i) g_r[i] -= tau * after[i];
        std::fill(moved.begin(), moved.end(), 0.0);
        differences_.add(-tau, after, moved);
        for (std::int64_t i = 0; i < duals; ++i) {
            g_q[i] += multiplicity(i) * moved[i];
            const int e = decisions.at(k, i);  // 3
            if (e == 0) continue;
            g_lambda[map_index(i)] += e * g_q[i];
            g_q[i] = 0;
        }
        std::fill(g_u_bar.begin(), g_u_bar.end(), 0.0);
        differences_.add_transposed(sigma, g_q, g_u_bar);
        for (std::int64_t i = 0; i < n; ++i)  // 4
            g_r[i] = huber && decisions.at(k, duals + i) != 0 ? 0 : g_r[i] / (1 + step);
        const Plane back = normal(g_r);
        for (std::int64_t i = 0; i < n; ++i) g_u_bar[i] += sigma * back[i];
    }
    return g_lambda;
}

ClipDecisions ExactFamily::unpack(int iterations, const std::uint8_t* masks) const {
    const std::int64_t count = problem_.decisions() * pixels_;
    ClipDecisions decisions(iterations, count);
    std::vector<std::int8_t> e(count);
    for (int k = 0; k < iterations; ++k) {
        cpu::solver_unpack_mask(problem_, iterations, masks, 0, k, e.data());
        for (std::int64_t i = 0; i < count; ++i) decisions.set(k, i, e[i]);
    }
    return decisions;
}

}  // namespace tvmap
