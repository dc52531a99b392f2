// Reference for the family of problems
//     min over x, w   ½‖A x − z‖² + Σ_c m_c‖Λ_c ∘ (K (x, w))_c‖₁
// with A and K as matrices, written entry by entry from their definitions, in double. Shares nothing with the product:
// the dual of the data stays in the data's space, and K* is the transposed matrix.
//     p ← (p + σ(A x̄ − z))/(1 + σ)          v = q + σK ū,   q ← clip(v, −Λ, Λ)
//     u₊ = u − τ(Aᵀp, 0) − τKᵀ(m∘q)          ū = u₊ + θ(u₊ − u)          u = (x, w)
// started from x₀, w = 0, ū = u, p = 0, q = 0. With `huber`, Σ h(A x − z) is in the square's place, h(t) =
// t²/2δ where |t| ≤ δ, else |t| − δ/2: p is clip((p + σ(A x̄ − z))/(1 + σδ), −1, 1), and its decisions follow those
// of q. The adjoint reverses what was recorded, one line after the other. Planes are H×W, row by row. u: x, then for
// tgv the two of w (vertical, horizontal). Components of K:
//     tv   x[i+1,j] − x[i,j],  x[i,j+1] − x[i,j]
//     tv8  these, then (x[i+1,j+1] − x[i,j])/√2,  (x[i+1,j−1] − x[i,j])/√2
//     tgv  ∂ᵥx − wᵥ,  ∂ₕx − wₕ,  E = ∂′ᵥwᵥ,  ∂′ₕwₕ,  ½(∂′ₕwᵥ + ∂′ᵥwₕ), the last of which counts twice (m = 2),
//          with ∂ as for tv, and ∂′ backward differences: w[i] − w[i−1]
// Neumann: a forward difference that would leave the image is 0; of a backward one, w[i] counts as 0 in the last row (or
// column) and w[i−1] before the first.
#pragma once
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace reference {

using Values = std::vector<double>;

/// By its entries; those at one place add up.
struct Matrix {
    struct Entry {
        int row, column;
        double value;
    };
    int rows = 0, columns = 0;
    std::vector<Entry> entries{};

    void add(int row, int column, double value) { entries.push_back({row, column, value}); }
    Values apply(const Values& x) const {
        Values y(std::size_t(rows), 0.0);
        for (const Entry& e : entries) y[e.row] += e.value * x[e.column];
        return y;
    }
    Values transposed(const Values& y) const {
        Values x(std::size_t(columns), 0.0);
        for (const Entry& e : entries) x[e.column] += e.value * y[e.row];
        return x;
    }
};

enum class Kind { tv, tv8, tgv };

struct Family {
    Kind kind = Kind::tv;
    int height = 0, width = 0, iterations = 0;
    bool neumann = false, huber = false;
    double threshold = 0;  ///< δ
    double tau = 1.0 / 3, sigma = 1.0 / 3, theta = 1;
    Matrix a{};  ///< measurements × pixels

    int pixels() const { return height * width; }
    int planes() const { return kind == Kind::tgv ? 3 : 1; }
    int components() const { return kind == Kind::tv ? 2 : kind == Kind::tv8 ? 4 : 5; }
    double count(int component) const { return kind == Kind::tgv && component == 4 ? 2 : 1; }
};

/// The number of a pixel, −1 where there is none.
inline int pixel(const Family& s, int i, int j) {
    if (s.neumann && (i < 0 || i >= s.height || j < 0 || j >= s.width)) return -1;
    return (i + s.height) % s.height * s.width + (j + s.width) % s.width;
}

inline Matrix operator_k(const Family& s) {
    const int n = s.pixels();
    Matrix k{s.components() * n, s.planes() * n};
    const auto difference = [&](int row, int from, int to, double weight) {
        if (to < 0) return;
        k.add(row, to, weight);
        k.add(row, from, -weight);
    };
    // weight·(backward difference of plane `plane` in direction (di, dj))
    const auto backward = [&](int row, int plane, int i, int j, int di, int dj, double weight) {
        if (pixel(s, i + di, j + dj) >= 0) k.add(row, plane * n + pixel(s, i, j), weight);
        if (const int before = pixel(s, i - di, j - dj); before >= 0) k.add(row, plane * n + before, -weight);
    };
    for (int i = 0; i < s.height; ++i)
        for (int j = 0; j < s.width; ++j) {
            const int here = pixel(s, i, j);
            difference(here, here, pixel(s, i + 1, j), 1);
            difference(n + here, here, pixel(s, i, j + 1), 1);
            if (s.kind == Kind::tv8) {
                difference(2 * n + here, here, pixel(s, i + 1, j + 1), 1 / std::sqrt(2.0));
                difference(3 * n + here, here, pixel(s, i + 1, j - 1), 1 / std::sqrt(2.0));
            }
            if (s.kind == Kind::tgv) {
                k.add(here, n + here, -1);
                k.add(n + here, 2 * n + here, -1);
                backward(2 * n + here, 1, i, j, 1, 0, 1);
                backward(3 * n + here, 2, i, j, 0, 1, 1);
                backward(4 * n + here, 1, i, j, 0, 1, 0.5);
                backward(4 * n + here, 2, i, j, 1, 0, 0.5);
            }
        }
    return k;
}

// ---- A ----

inline Matrix diagonal(const Values& d) {
    Matrix a{int(d.size()), int(d.size())};
    for (int i = 0; i < a.rows; ++i) a.add(i, i, d[i]);
    return a;
}

/// Circular convolution: (A x)[i,j] = Σ kernel[a,b]·x[i − (a − rows/2), j − (b − columns/2)].
inline Matrix blur(int height, int width, const Values& kernel, int rows, int columns) {
    Matrix m{height * width, height * width};
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j)
            for (int a = 0; a < rows; ++a)
                for (int b = 0; b < columns; ++b) {
                    const int from_i = ((i - (a - rows / 2)) % height + height) % height;
                    const int from_j = ((j - (b - columns / 2)) % width + width) % width;
                    m.add(i * width + j, from_i * width + from_j, kernel[a * columns + b]);
                }
    return m;
}

/// Means of blocks of factor×factor pixels.
inline Matrix block_means(int height, int width, int factor) {
    const int across = width / factor;
    Matrix m{height / factor * across, height * width};
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j)
            m.add(i / factor * across + j / factor, i * width + j, 1.0 / (factor * factor));
    return m;
}

// ---- the iteration ----

/// e of one step, components×H×W; with `huber` one for each measurement behind them.
using Signs = std::vector<signed char>;

struct FamilyRun {
    Values u, u_bar, p, q;
    std::vector<Signs> e;
    /// The largest ||v| − Λ| of a decision that differs from the one imposed.
    double doubt = 0;
};

/// z: measurements, start: pixels, lambda: components×H×W. With `imposed`, step k takes its decisions from there.
inline FamilyRun family_forward(const Family& s, const Values& z, const Values& start, const Values& lambda,
                                const std::vector<Signs>* imposed = nullptr) {
    const std::size_t n = std::size_t(s.pixels()), duals = n * s.components();
    const Matrix k = operator_k(s);
    FamilyRun run;
    run.u = start;
    run.u.resize(n * s.planes(), 0.0);
    run.u_bar = run.u;
    run.p.assign(z.size(), 0.0);
    run.q.assign(duals, 0.0);
    for (int step = 0; step < s.iterations; ++step) {
        const Values predicted = s.a.apply(Values(run.u_bar.begin(), run.u_bar.begin() + std::ptrdiff_t(n)));
        Signs e(duals + (s.huber ? z.size() : 0));
        for (std::size_t i = 0; i < z.size(); ++i) {
            const double moved = run.p[i] + s.sigma * (predicted[i] - z[i]),
                         v = moved / (1 + s.sigma * s.threshold);
            if (!s.huber) {
                run.p[i] = moved / (1 + s.sigma);
                continue;
            }
            const signed char own = v > 1 ? 1 : v < -1 ? -1 : 0;
            e[duals + i] = imposed ? (*imposed)[step][duals + i] : own;
            if (e[duals + i] != own) run.doubt = std::fmax(run.doubt, std::fabs(std::fabs(v) - 1));
            run.p[i] = e[duals + i] == 0 ? v : e[duals + i];
        }
        const Values differences = k.apply(run.u_bar);
        Values counted(duals);
        for (std::size_t i = 0; i < duals; ++i) {
            const double v = run.q[i] + s.sigma * differences[i];
            const signed char own = v > lambda[i] ? 1 : v < -lambda[i] ? -1 : 0;
            e[i] = imposed ? (*imposed)[step][i] : own;
            if (e[i] != own) run.doubt = std::fmax(run.doubt, std::fabs(std::fabs(v) - lambda[i]));
            run.q[i] = e[i] == 0 ? v : e[i] * lambda[i];
            counted[i] = s.count(int(i / n)) * run.q[i];
        }
        Values move = k.transposed(counted);
        const Values image = s.a.transposed(run.p);
        for (std::size_t i = 0; i < n; ++i) move[i] += image[i];
        for (std::size_t i = 0; i < run.u.size(); ++i) {
            const double next = run.u[i] - s.tau * move[i];
            run.u_bar[i] = next + s.theta * (next - run.u[i]);
            run.u[i] = next;
        }
        run.e.push_back(std::move(e));
    }
    return run;
}

struct FamilyGradient {
    Values lambda, z, start;
};

/// From d_x = ∂loss/∂x_T and the decisions of the steps `from` … T−1 (the earlier ones left out, as if what they reached
/// were given: then `start` is the gradient for that x).
inline FamilyGradient family_adjoint(const Family& s, const std::vector<Signs>& e, const Values& d_x,
                                     int from = 0) {
    const std::size_t n = std::size_t(s.pixels()), duals = n * s.components(), all = n * s.planes();
    const Matrix k = operator_k(s);
    Values g_u = d_x, g_u_bar(all, 0.0), g_p(std::size_t(s.a.rows), 0.0), g_q(duals, 0.0);
    g_u.resize(all, 0.0);
    FamilyGradient d{Values(duals, 0.0), Values(std::size_t(s.a.rows), 0.0), {}};
    for (int step = int(e.size()) - 1; step >= from; --step) {
        Values g_next(all), g_old(all);
        for (std::size_t i = 0; i < all; ++i) {  // ū = u₊ + θ(u₊ − u)
            g_next[i] = g_u[i] + (1 + s.theta) * g_u_bar[i];
            g_old[i] = -s.theta * g_u_bar[i];
        }
        for (std::size_t i = 0; i < all; ++i) g_old[i] += g_next[i];  // u₊ = u − τ(Aᵀp, 0) − τKᵀ(m∘q)
        const Values g_image = s.a.apply(Values(g_next.begin(), g_next.begin() + std::ptrdiff_t(n)));
        for (std::size_t i = 0; i < g_p.size(); ++i) g_p[i] -= s.tau * g_image[i];
        const Values g_k = k.apply(g_next);
        for (std::size_t i = 0; i < duals; ++i) g_q[i] -= s.tau * s.count(int(i / n)) * g_k[i];
        for (std::size_t i = 0; i < duals; ++i) {  // q = v, or eΛ
            if (e[step][i] == 0) continue;
            d.lambda[i] += e[step][i] * g_q[i];
            g_q[i] = 0;
        }
        g_u_bar = k.transposed(g_q);  // v = q + σK ū
        for (double& g : g_u_bar) g *= s.sigma;
        for (std::size_t i = 0; i < g_p.size(); ++i) {  // p = (p + σ(A x̄ − z))/(1 + σ), or clipped
            if (s.huber)
                g_p[i] = e[step][duals + i] == 0 ? g_p[i] / (1 + s.sigma * s.threshold) : 0;
            else
                g_p[i] /= 1 + s.sigma;
            d.z[i] -= s.sigma * g_p[i];
        }
        const Values g_predicted = s.a.transposed(g_p);
        for (std::size_t i = 0; i < n; ++i) g_u_bar[i] += s.sigma * g_predicted[i];
        g_u = g_old;
    }
    for (std::size_t i = 0; i < n; ++i) d.start.push_back(g_u[i] + g_u_bar[i]);
    return d;
}

// ---- what a solution satisfies ----

/// With `huber` (A is the identity there), and p the number of [−1, 1] that is nearest to −(Kᵀ(m∘q))ₓ: Σ h(x − z) in the
/// first, h(x − z) + ½δp² − p·(x − z) added up in the second, and ‖p + (Kᵀ(m∘q))ₓ‖ for the third.
struct Optimality {
    double primal = 0;           ///< ½‖A x − z‖² + Σ m‖Λ∘K u‖₁
    double complementarity = 0;  ///< Σ m(Λ|K u| − q·K u), not negative
    double image = 0;            ///< ‖Aᵀ(A x − z) + (Kᵀ(m∘q))ₓ‖
    double field = 0;            ///< ‖(Kᵀ(m∘q))_w‖
};

inline double huber(const Family& s, double t) {
    return std::fabs(t) < s.threshold ? t * t / (2 * s.threshold) : std::fabs(t) - s.threshold / 2;
}

inline Optimality optimality(const Family& s, const Values& z, const Values& lambda, const Values& u,
                             const Values& q) {
    const std::size_t n = std::size_t(s.pixels());
    const Matrix k = operator_k(s);
    Optimality o;
    Values rest = s.a.apply(Values(u.begin(), u.begin() + std::ptrdiff_t(n)));
    for (std::size_t i = 0; i < z.size(); ++i) {
        rest[i] -= z[i];
        o.primal += s.huber ? huber(s, rest[i]) : 0.5 * rest[i] * rest[i];
    }
    const Values ku = k.apply(u);
    Values counted(q.size());
    for (std::size_t i = 0; i < q.size(); ++i) {
        const double m = s.count(int(i / n));
        counted[i] = m * q[i];
        o.primal += m * lambda[i] * std::fabs(ku[i]);
        o.complementarity += m * (lambda[i] * std::fabs(ku[i]) - q[i] * ku[i]);
    }
    const Values kq = k.transposed(counted), back = s.a.transposed(rest);
    for (std::size_t i = 0; i < kq.size(); ++i) {
        double part = kq[i] + (i < n ? back[i] : 0);
        if (s.huber && i < n) {
            const double p = std::fmin(1.0, std::fmax(-1.0, -kq[i]));
            o.complementarity += huber(s, rest[i]) + 0.5 * s.threshold * p * p - p * rest[i];
            part = p + kq[i];
        }
        (i < n ? o.image : o.field) += part * part;
    }
    o.image = std::sqrt(o.image);
    o.field = std::sqrt(o.field);
    return o;
}

/// ‖[A; K]‖² by power iteration, from below.
inline double norm_squared(const Family& s, int steps) {
    const std::size_t n = std::size_t(s.pixels());
    const Matrix k = operator_k(s);
    Values u(n * s.planes());
    for (std::size_t i = 0; i < u.size(); ++i) u[i] = std::sin(1.0 + 37.0 * double(i) * double(i % 13));
    double eigenvalue = 0;
    for (int step = 0; step < steps; ++step) {
        double norm = 0;
        for (const double v : u) norm += v * v;
        for (double& v : u) v /= std::sqrt(norm);
        Values ku = k.apply(u);
        for (std::size_t i = 0; i < ku.size(); ++i) ku[i] *= s.count(int(i / n));
        Values next = k.transposed(ku);
        const Values ata = s.a.transposed(s.a.apply(Values(u.begin(), u.begin() + std::ptrdiff_t(n))));
        for (std::size_t i = 0; i < n; ++i) next[i] += ata[i];
        eigenvalue = 0;
        for (std::size_t i = 0; i < u.size(); ++i) eigenvalue += u[i] * next[i];
        u = next;
    }
    return eigenvalue;
}

}  // namespace reference
