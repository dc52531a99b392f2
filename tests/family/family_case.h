// What the tests of the solver's family share: members of it with data, runs between sentinels, and the same member for
// the reference in double.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/family/family.h"
#include "tests/reference/family.h"
#include "tests/solver/pdhg_case.h"

namespace family_case {

using namespace tvmap;
using pdhg_case::Floats, pdhg_case::Guarded, pdhg_case::same_bits;
using Bytes = std::vector<std::uint8_t>;
using reference::Values;

constexpr Regulariser regularisers[] = {Regulariser::tv, Regulariser::tv8, Regulariser::tgv};
constexpr DataTerm data_terms[] = {DataTerm::identity, DataTerm::weights, DataTerm::blur,
                                   DataTerm::super_resolution, DataTerm::huber};
/// Whether there is such a problem.
inline bool solved(Regulariser r, DataTerm d) { return r != Regulariser::tgv || d != DataTerm::huber; }
constexpr MapKind map_kinds[] = {MapKind::scalar, MapKind::shared, MapKind::separate};
constexpr Boundary boundaries[] = {Boundary::periodic, Boundary::neumann};

/// A problem and its data. data: weights or kernel; gram: as in SolverInput.
struct Member {
    SolverProblem problem;
    Floats z, data, gram, b, start, lambda, d_x;

    SolverInput input() const {
        return {b.data(), problem.own_start ? start.data() : nullptr, lambda.data(),
                gram.empty() ? nullptr : gram.data()};
    }
    std::string name() const {
        const char* const r[] = {"tv", "tv8", "tgv"};
        const char* const d[] = {"identity", "weights", "blur", "super_resolution", "huber"};
        const char* const m[] = {"scalar", "shared", "separate"};
        return text(r[int(problem.regulariser)], ", ", d[int(problem.data)], ", ", m[int(problem.map)],
                    " map, ", problem.boundary == Boundary::periodic ? "periodic" : "Neumann", ", ",
                    problem.solves, " of ", problem.height, "x", problem.width);
    }

  private:
    template <class... Parts>
    static std::string text(const Parts&... parts) {
        std::ostringstream out;
        (out << ... << parts);
        return out.str();
    }
};

/// Image-like data in about [0, 1], for huber with impulses, weights in [0, 1] with missing pixels, a kernel that is
/// not symmetric; maps so weak that edges remain in a small image. Super-resolution is by 3, so the sides are
/// multiples of it. Steps: στL² = 1.
inline Member member(SolverProblem s, unsigned seed) {
    Member m;
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> unit(0.0f, 1.0f);
    if (s.data == DataTerm::blur) s.kernel_height = 3, s.kernel_width = 5;
    if (s.data == DataTerm::super_resolution) s.factor = 3;
    if (s.data == DataTerm::huber) s.threshold = 0.05f;
    const int height = s.height / s.factor, width = s.width / s.factor;
    const auto image = [&](int h, int w, int n, int scale) {
        Floats values;
        for (int i = 0; i < h; ++i)
            for (int j = 0; j < w; ++j) {
                const float block = (i * scale / 5 + j * scale / 6 + n) % 2 == 0 ? 0.3f : 0.6f;
                values.push_back(block + 0.1f * std::sin(0.2f * float(scale * (i + 2 * j))) +
                                 0.05f * normal(engine));
            }
        return values;
    };
    for (int n = 0; n < s.images(); ++n) {
        const Floats z = image(height, width, n, s.factor), start = image(s.height, s.width, n, 1);
        m.z.insert(m.z.end(), z.begin(), z.end());
        m.start.insert(m.start.end(), start.begin(), start.end());
    }
    if (s.data == DataTerm::huber)
        for (float& value : m.z)
            if (unit(engine) < 0.2f) value = unit(engine) < 0.5f ? 0.0f : 1.0f;
    if (s.data == DataTerm::weights) {
        for (std::int64_t i = 0; i < s.images() * s.pixels(); ++i)
            m.data.push_back(unit(engine) < 0.2f ? 0.0f : unit(engine));
        m.gram = m.data;
    }
    if (s.data == DataTerm::blur) {
        float sum = 0;
        for (int i = 0; i < s.kernel_height * s.kernel_width; ++i) {
            m.data.push_back(unit(engine));
            sum += m.data.back();
        }
        for (float& tap : m.data) tap /= sum;
        m.gram.resize(std::size_t(s.gram_size()));
        blur_gram(s, m.data.data(), m.gram.data());
    }
    s.gram_norm = gram_norm(s, m.data.data());
    s.tau = s.sigma = float(1 / std::sqrt(solver_norm_squared(s)));
    m.problem = s;
    m.b.resize(std::size_t(s.images() * s.pixels()));
    cpu::data_to_image(s, m.data.data(), m.z.data(), m.b.data());
    for (std::int64_t i = 0; i < s.solves * s.map_size(); ++i) {
        m.lambda.push_back(0.003f + 0.03f * unit(engine));
        // Weak ones clip q from the first steps on, strong ones drive r to its bounds.
        if (s.data == DataTerm::huber)
            m.lambda.back() *= s.map == MapKind::scalar ? 3.0f : i % 3 == 0 ? 2.0f : 20.0f;
    }
    for (std::int64_t i = 0; i < s.solves * s.pixels(); ++i) m.d_x.push_back(normal(engine));
    return m;
}

inline SolverProblem problem_of(Regulariser regulariser, DataTerm data, MapKind map, Boundary boundary,
                                int height, int width, int solves = 1) {
    SolverProblem s;
    s.regulariser = regulariser;
    s.data = data;
    s.map = map;
    s.boundary = boundary;
    s.height = height;
    s.width = width;
    s.solves = solves;
    return s;
}

/// Every regulariser with every data term, each with another map, boundary, batch and start; sides are odd and differ.
inline std::vector<Member> members(unsigned seed) {
    std::vector<Member> all;
    int n = 0;
    const auto add = [&](Regulariser r, DataTerm d) {
        SolverProblem s = problem_of(r, d, map_kinds[n % 3], boundaries[(n / 2) % 2], 9, 15, 1 + n % 3);
        s.own_start = n % 2 == 1;
        s.solves_per_image = 1 + n % 2;
        s.theta = n % 4 == 3 ? 0.7f : 1.0f;
        all.push_back(member(s, seed + unsigned(n)));
        ++n;
    };
    for (const Regulariser r : regularisers)
        for (const DataTerm d : data_terms)
            if (d != DataTerm::huber) add(r, d);
    for (const Regulariser r : {Regulariser::tv, Regulariser::tv8, Regulariser::tv, Regulariser::tv8})
        add(r, DataTerm::huber);
    return all;
}

// ---- the CPU, between sentinels ----

struct State {
    Floats x, x_bar, p, q;

    explicit State(const SolverProblem& s)
        : x(std::size_t(s.solves * s.fields() * s.pixels()), -7.0f),
          x_bar(x),
          p(std::size_t(s.solves * s.pixels()), -7.0f),
          q(std::size_t(s.solves * s.components() * s.pixels()), -7.0f) {}
    PdhgState pointers() { return {x.data(), x_bar.data(), p.data(), q.data()}; }
    bool same(const State& other) const {
        return same_bits(x, other.x) && same_bits(x_bar, other.x_bar) && same_bits(p, other.p) &&
               same_bits(q, other.q);
    }
};

struct Result {
    Floats x, d_lambda, d_b, d_start;
    Bytes masks;
};

inline Result solve(const Member& m, int iterations, State* state = nullptr) {
    const SolverProblem& s = m.problem;
    const std::size_t pixels = std::size_t(s.solves * s.pixels()), map = std::size_t(s.solves * s.map_size()),
                      mask_bytes = solver_mask_bytes(s, iterations);
    Guarded x(4 * pixels), d_lambda(4 * map), d_b(4 * pixels), d_start(4 * pixels), masks(mask_bytes),
        workspace(solver_workspace_bytes(s));
    auto* bits = static_cast<std::uint8_t*>(masks.data());
    const PdhgState pointers = state != nullptr ? state->pointers() : PdhgState{};
    const auto at = [](Guarded& memory) { return static_cast<float*>(memory.data()); };
    cpu::solver_forward(s, iterations, m.input(),
                        {.x = at(x), .masks = bits, .state = state != nullptr ? &pointers : nullptr},
                        workspace);
    cpu::solver_adjoint(s, iterations, m.input().gram, {.masks = bits, .d_x = m.d_x.data()},
                        {.d_lambda = at(d_lambda), .d_b = at(d_b), .d_start = at(d_start)}, workspace);
    for (Guarded* memory : {&x, &d_lambda, &d_b, &d_start, &masks, &workspace}) CHECK(memory->intact());
    const auto floats = [&](Guarded& memory, std::size_t count) {
        return Floats(at(memory), at(memory) + count);
    };
    return {floats(x, pixels), floats(d_lambda, map), floats(d_b, pixels),
            floats(d_start, s.own_start ? pixels : 0), Bytes(bits, bits + mask_bytes)};
}

// ---- comparisons ----

/// How far some hundred steps in single precision may be from those in double: roundings of 6e-8 add up like a random walk.
/// A step forgets 1 − 1/(1 + σ) of what r was, a quarter; of Huber's, 1 − 1/(1 + σδ), a sixtieth: √15 times as much
/// is left.
inline double rounding_of(const SolverProblem& s) { return s.data == DataTerm::huber ? 8e-6 : 2e-6; }

template <class A>
double norm(const std::vector<A>& a) {
    double sum = 0;
    for (const A value : a) sum += double(value) * double(value);
    return std::sqrt(sum);
}

/// ‖a − b‖₂ / scale; infinite for anything that is not a number, for lengths that differ, or for nothing.
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b, double scale) {
    if (a.size() != b.size()) return INFINITY;
    std::vector<double> difference;
    for (std::size_t i = 0; i < b.size(); ++i) difference.push_back(double(a[i]) - double(b[i]));
    const double ratio = norm(difference) / scale;
    return std::isnan(ratio) ? INFINITY : ratio;
}
template <class A, class B>
double distance(const std::vector<A>& a, const std::vector<B>& b) {
    return distance(a, b, norm(b));
}

// ---- one solve, for the reference ----

inline Values part(const Floats& values, std::int64_t number, std::int64_t size) {
    return Values(values.begin() + number * size, values.begin() + (number + 1) * size);
}

/// Solve `solve` of a member.
struct Twin {
    reference::Family family;
    Values z, start, lambda, root;  ///< root: √W, with which A and z are multiplied
    const Member& member;
    int solve;

    Twin(const Member& m, int solve_number, int iterations) : member(m), solve(solve_number) {
        const SolverProblem& s = m.problem;
        const std::int64_t image = solve / s.solves_per_image, n = s.pixels();
        family.kind = s.regulariser == Regulariser::tv    ? reference::Kind::tv
                      : s.regulariser == Regulariser::tv8 ? reference::Kind::tv8
                                                          : reference::Kind::tgv;
        family.height = s.height;
        family.width = s.width;
        family.iterations = iterations;
        family.neumann = s.boundary == Boundary::neumann;
        family.tau = s.tau;
        family.sigma = s.sigma;
        family.theta = s.theta;
        family.huber = s.data == DataTerm::huber;
        family.threshold = s.threshold;
        z = part(m.z, image, s.data_size());
        root.assign(z.size(), 1.0);
        if (s.data == DataTerm::weights) {
            root = part(m.data, image, n);
            for (double& w : root) w = std::sqrt(w);
        }
        for (std::size_t i = 0; i < z.size(); ++i) z[i] *= root[i];
        family.a = s.data == DataTerm::blur
                       ? reference::blur(s.height, s.width, Values(m.data.begin(), m.data.end()),
                                         s.kernel_height, s.kernel_width)
                   : s.data == DataTerm::super_resolution
                       ? reference::block_means(s.height, s.width, s.factor)
                       : reference::diagonal(root);
        start = s.own_start ? part(m.start, image, n) : family.a.transposed(z);
        const Values map = part(m.lambda, solve, s.map_size());
        for (int c = 0; c < s.components(); ++c)
            for (std::int64_t i = 0; i < n; ++i) lambda.push_back(map[map_index(c, i)]);
    }

    /// Where the map has the value for a component.
    std::size_t map_index(int component, std::int64_t i) const {
        const SolverProblem& s = member.problem;
        const int plane = s.map == MapKind::separate                            ? component
                          : s.regulariser == Regulariser::tgv && component >= 2 ? 1
                                                                                : 0;
        return std::size_t(s.map == MapKind::scalar ? plane : plane * s.pixels() + i);
    }

    std::vector<reference::Signs> decisions(const Bytes& masks) const {
        const SolverProblem& s = member.problem;
        std::vector<reference::Signs> all;
        for (int k = 0; k < family.iterations; ++k) {
            std::vector<std::int8_t> e(std::size_t(s.decisions() * s.pixels()));
            cpu::solver_unpack_mask(s, family.iterations, masks.data(), solve, k, e.data());
            all.emplace_back(e.begin(), e.end());
        }
        return all;
    }

    struct Gradient {
        Values lambda, z, start;  ///< start: empty where x₀ is b
        /// What roundings in d_Λ are relative to: its norm; of a scalar map, the sum of what cancels in its sum.
        double lambda_scale = 0;
    };
    /// The reference's gradient in the member's shapes: of the map, of z itself, of x₀.
    Gradient gradient(const std::vector<reference::Signs>& e, int from = 0) const {
        const SolverProblem& s = member.problem;
        const reference::FamilyGradient d =
            reference::family_adjoint(family, e, part(member.d_x, solve, s.pixels()), from);
        Gradient result{Values(std::size_t(s.map_size()), 0.0), d.z, {}, 0};
        for (std::size_t i = 0; i < d.lambda.size(); ++i)
            result.lambda[map_index(int(i / s.pixels()), std::int64_t(i) % s.pixels())] += d.lambda[i];
        result.lambda_scale = norm(result.lambda);
        if (s.map == MapKind::scalar) {
            result.lambda_scale = 0;
            for (const double value : d.lambda) result.lambda_scale += std::abs(value);
        }
        if (s.own_start) {
            result.start = d.start;
        } else if (from == 0) {
            const Values of_start = family.a.apply(d.start);
            for (std::size_t i = 0; i < z.size(); ++i) result.z[i] += of_start[i];
        }
        for (std::size_t i = 0; i < z.size(); ++i) result.z[i] *= root[i];
        return result;
    }
};

}  // namespace family_case
