// The total-variation solver and its adjoint against the double reference, closed forms, and themselves under
// other threads, blockings and instruction sets.
#include "kernels/pdhg.h"

#include <doctest/doctest.h>
#include <hwy/highway.h>
#include <omp.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "tests/reference/pdhg.h"

using namespace tvmap;

namespace {

using Floats = std::vector<float>;

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// A buffer on a 64-byte boundary with 64 bytes of a known pattern on either side.
class Guarded {
  public:
    explicit Guarded(std::size_t bytes) : bytes_(bytes), memory_(bytes + 192, 0xA5) {}
    void* data() {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
        return memory_.data() + ((address + 127) / 64 * 64 - address);
    }
    bool intact() {
        const auto* begin = static_cast<std::uint8_t*>(data());
        bool good = true;
        for (const auto* b = begin - 64; b < begin; ++b) good = good && *b == 0xA5;
        const auto* end = memory_.data() + memory_.size();
        for (const auto* b = begin + bytes_; b < end; ++b) good = good && *b == 0xA5;
        return good;
    }

  private:
    std::size_t bytes_;
    std::vector<std::uint8_t> memory_;
};

struct Data {
    Floats z, lambda, d_x;
};

// Image-like z in about [0, 1] (a smooth ground, blocks, noise), a map in [0.01, 0.15], any d_x.
Data make_data(const PdhgProblem& s, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> level(0.01f, 0.15f);
    const int images = (s.solves + s.solves_per_image - 1) / s.solves_per_image;
    Data data;
    for (int n = 0; n < images; ++n) {
        for (int i = 0; i < s.height; ++i) {
            for (int j = 0; j < s.width; ++j) {
                const float block = (i / 9 + j / 7 + n) % 2 == 0 ? 0.3f : 0.6f;
                data.z.push_back(block + 0.1f * std::sin(0.2f * float(i + 2 * j)) + 0.05f * normal(engine));
            }
        }
    }
    for (std::int64_t i = 0; i < s.solves * s.map_size(); ++i) data.lambda.push_back(level(engine));
    for (std::int64_t i = 0; i < s.solves * s.pixels(); ++i) data.d_x.push_back(normal(engine));
    return data;
}

struct Result {
    Floats x, d_lambda, d_z;
    std::vector<std::uint8_t> masks;
    bool intact = true;
};

// Forward with masks and adjoint, each output between sentinels.
Result solve(const PdhgProblem& s, int iterations, const Data& data) {
    const std::size_t pixels = std::size_t(s.solves) * std::size_t(s.pixels());
    const std::size_t map = std::size_t(s.solves) * std::size_t(s.map_size());
    Guarded x(pixels * 4), d_lambda(map * 4), d_z(pixels * 4), masks(cpu::pdhg_mask_bytes(s, iterations)),
        workspace(cpu::pdhg_workspace_bytes(s));
    auto* bits = static_cast<std::uint8_t*>(masks.data());
    cpu::pdhg_forward(s, iterations, data.z.data(), data.lambda.data(), static_cast<float*>(x.data()), bits,
                      nullptr, false, workspace.data());
    cpu::pdhg_adjoint(s, iterations, bits, data.d_x.data(), static_cast<float*>(d_lambda.data()),
                      static_cast<float*>(d_z.data()), Write::overwrite, workspace.data());
    const auto floats = [](Guarded& memory, std::size_t count) {
        const auto* begin = static_cast<const float*>(memory.data());
        return Floats(begin, begin + count);
    };
    Result result{floats(x, pixels), floats(d_lambda, map), floats(d_z, pixels), {}};
    result.masks.assign(bits, bits + cpu::pdhg_mask_bytes(s, iterations));
    result.intact = x.intact() && d_lambda.intact() && d_z.intact() && masks.intact() && workspace.intact();
    return result;
}

// x_T alone, without masks, optionally from and to a state.
Floats denoise(const PdhgProblem& s, int iterations, const Floats& z, const Floats& lambda,
               const PdhgState* state = nullptr, bool start_from_state = false) {
    Floats x(std::size_t(s.solves * s.pixels()), NAN);
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    cpu::pdhg_forward(s, iterations, z.data(), lambda.data(), x.data(), nullptr, state, start_from_state,
                      workspace.data());
    CHECK(workspace.intact());
    return x;
}

reference::Pdhg reference_problem(const PdhgProblem& s, int iterations) {
    return {s.height,
            s.width,
            iterations,
            s.tau,
            s.sigma,
            s.theta,
            s.boundary == Boundary::neumann,
            s.dual_start == DualStart::image};
}

// z and the two-plane map of one solve, in double.
reference::Plane image_of(const PdhgProblem& s, const Data& data, int solve) {
    const auto* z = data.z.data() + solve / s.solves_per_image * s.pixels();
    return {z, z + s.pixels()};
}
reference::Plane map_of(const PdhgProblem& s, const Data& data, int solve) {
    const auto* lambda = data.lambda.data() + solve * s.map_size();
    if (s.map == MapKind::scalar) return reference::Plane(std::size_t(2 * s.pixels()), *lambda);
    reference::Plane map(lambda, lambda + s.map_size());
    if (s.map == MapKind::shared) map.insert(map.end(), lambda, lambda + s.pixels());
    return map;
}
// The two-plane gradient, summed as the map is shared.
reference::Plane reduce_map(const PdhgProblem& s, const reference::Plane& d) {
    reference::Plane sum(std::size_t(s.map_size()), 0.0);
    for (std::size_t i = 0; i < d.size(); ++i) {
        sum[s.map == MapKind::scalar   ? 0
            : s.map == MapKind::shared ? i % std::size_t(s.pixels())
                                       : i] += d[i];
    }
    return sum;
}

std::vector<reference::Decisions> decisions_of(const PdhgProblem& s, int iterations, const Result& result,
                                               int solve) {
    const std::size_t pixels = std::size_t(s.pixels());
    std::vector<reference::Decisions> e;
    for (int k = 0; k < iterations; ++k) {
        e.emplace_back(2 * pixels);
        cpu::pdhg_unpack_mask(s, iterations, result.masks.data(), solve, k, e.back().data(),
                              e.back().data() + pixels);
    }
    return e;
}

double distance(const reference::Plane& a, const reference::Plane& b) {
    double squared = 0;
    for (std::size_t i = 0; i < b.size(); ++i) squared += (a[i] - b[i]) * (a[i] - b[i]);
    return std::sqrt(squared);
}

double largest_error(const float* a, const reference::Plane& b) {
    double largest = 0;
    for (std::size_t i = 0; i < b.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

PdhgProblem problem_of(int height, int width, MapKind map = MapKind::shared, int solves = 1) {
    PdhgProblem s;
    s.height = height;
    s.width = width;
    s.map = map;
    s.solves = solves;
    return s;
}

// Product against reference: x, the masks' sense, d_Λ and d_z with the product's masks imposed.
void compare_with_reference(const PdhgProblem& s, int iterations, unsigned seed) {
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(int(s.map));
    CAPTURE(int(s.boundary));
    CAPTURE(int(s.dual_start));
    CAPTURE(iterations);
    const Data data = make_data(s, seed);
    const Result result = solve(s, iterations, data);
    CHECK(result.intact);
    const reference::Pdhg problem = reference_problem(s, iterations);
    for (int n = 0; n < s.solves; ++n) {
        const auto z = image_of(s, data, n), map = map_of(s, data, n);
        // Values are of order 1 and each step contracts the rounding of those before: some ten units of the
        // last place (6e-8).
        const auto run = reference::pdhg_forward(problem, z, map);
        CHECK(largest_error(result.x.data() + n * s.pixels(), run.x) < 2e-6);

        const auto e = decisions_of(s, iterations, result, n);
        // The recorded decisions are the ones taken: imposed on the reference they lead to the same x.
        const auto imposed = reference::pdhg_forward(problem, z, map, &e);
        CHECK(largest_error(result.x.data() + n * s.pixels(), imposed.x) < 2e-6);

        // The adjoint is linear once e is fixed: only rounding of T additions remains (3e-7 seen). It is
        // measured against d_Λ, or where d_Λ nearly cancels (the image has merged, or a scalar map's sum over
        // all pixels) against what enters.
        const reference::Plane d_x(data.d_x.data() + n * s.pixels(), data.d_x.data() + (n + 1) * s.pixels());
        const auto d = reference::pdhg_adjoint(problem, e, d_x);
        const auto d_map = reduce_map(s, d.lambda);
        const reference::Plane zero(d_map.size(), 0.0);
        const float* d_lambda = result.d_lambda.data() + n * s.map_size();
        const double scale =
            std::max(distance(d_map, zero), 0.1 * distance(d_x, reference::Plane(d_x.size())));
        CHECK(distance(reference::Plane(d_lambda, d_lambda + s.map_size()), d_map) < 2e-6 * scale);
        const float* d_z = result.d_z.data() + n * s.pixels();
        CHECK(distance(reference::Plane(d_z, d_z + s.pixels()), d.z) <
              2e-6 * distance(d.z, reference::Plane(d.z.size())));
    }
}

}  // namespace

TEST_CASE("reference: the transposed gradient is the transpose") {
    for (const auto& [h, w] : std::vector<std::pair<int, int>>{{1, 1}, {1, 5}, {4, 1}, {2, 2}, {7, 5}}) {
        for (const bool neumann : {false, true}) {
            reference::Pdhg s;
            s.height = h, s.width = w, s.neumann = neumann;
            std::mt19937 engine(3);
            std::normal_distribution<double> normal;
            reference::Plane x(std::size_t(h) * w), q(2 * x.size());
            for (auto& v : x) v = normal(engine);
            for (auto& v : q) v = normal(engine);
            double left = 0, right = 0;
            const auto g = reference::gradient(s, x), c = reference::gradient_transposed(s, q);
            for (std::size_t i = 0; i < q.size(); ++i) left += g[i] * q[i];
            for (std::size_t i = 0; i < x.size(); ++i) right += x[i] * c[i];
            CHECK(std::abs(left - right) < 1e-12);  // sums of some 70 terms of order 1
        }
    }
}

TEST_CASE("reference: adjoint against finite differences") {
    for (const bool neumann : {false, true}) {
        for (const bool start_at_image : {false, true}) {
            const reference::Pdhg s{5, 7, 14, 0.3, 0.35, 0.9, neumann, start_at_image};
            std::mt19937 engine(5);
            std::uniform_real_distribution<double> uniform(0.0, 1.0);
            reference::Plane z(35), lambda(70), weight(35);
            for (auto& v : z) v = uniform(engine);
            for (auto& v : lambda) v = 0.02 + 0.1 * uniform(engine);
            for (auto& v : weight) v = uniform(engine) - 0.5;
            const auto run = reference::pdhg_forward(s, z, lambda);
            const auto d = reference::pdhg_adjoint(s, run.e, weight);
            const auto slope = [&](reference::Plane& where, std::size_t i) {
                const double step = 1e-6, old = where[i];
                double loss[2];
                for (int side = 0; side < 2; ++side) {
                    where[i] = old + (side ? step : -step);
                    const auto moved = reference::pdhg_forward(s, z, lambda);
                    REQUIRE(moved.e == run.e);  // no kink in between, so the loss is quadratic at most
                    loss[side] = 0;
                    for (std::size_t j = 0; j < 35; ++j) loss[side] += weight[j] * moved.x[j];
                }
                where[i] = old;
                return (loss[1] - loss[0]) / (2 * step);
            };
            // x_T is linear in z and Λ between kinks: only cancellation, 1e-16/1e-6, is left.
            for (std::size_t i = 0; i < 70; ++i) CHECK(std::abs(slope(lambda, i) - d.lambda[i]) < 1e-8);
            for (std::size_t i = 0; i < 35; ++i) CHECK(std::abs(slope(z, i) - d.z[i]) < 1e-8);
        }
    }
}

TEST_CASE("operator norm") {
    // Even periodic sizes reach √(1+4+4); 1×1 has no differences; power iteration on odd sizes.
    CHECK(pdhg_operator_norm(256, 64, Boundary::periodic) == doctest::Approx(3.0).epsilon(1e-14));
    CHECK(pdhg_operator_norm(1, 1, Boundary::periodic) == 1.0);
    CHECK(pdhg_operator_norm(1, 1, Boundary::neumann) == 1.0);
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        reference::Pdhg s;
        s.height = 5, s.width = 3, s.neumann = boundary == Boundary::neumann;
        reference::Plane x(15);
        for (std::size_t i = 0; i < 15; ++i) x[i] = std::sin(1.0 + 2.3 * double(i * i));
        double squared = 0;
        for (int k = 0; k < 3000; ++k) {
            const auto c = reference::gradient_transposed(s, reference::gradient(s, x));
            squared = 0;
            for (std::size_t i = 0; i < 15; ++i) x[i] += c[i], squared += x[i] * x[i];
            for (auto& v : x) v /= std::sqrt(squared);
        }
        // Power iteration on 1 + ∇ᵀ∇: its norm of growth is L².
        CHECK(pdhg_operator_norm(5, 3, boundary) ==
              doctest::Approx(std::sqrt(std::sqrt(squared))).epsilon(1e-9));
    }
}

TEST_CASE("forward and adjoint against the double reference") {
    const std::pair<int, int> sizes[] = {{1, 1},  {1, 2}, {1, 37}, {37, 1},  {2, 2},
                                         {2, 17}, {3, 5}, {4, 16}, {17, 31}, {32, 33}};
    for (const auto& [h, w] : sizes) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                for (const DualStart start : {DualStart::zero, DualStart::image}) {
                    PdhgProblem s = problem_of(h, w, map, 2);
                    s.boundary = boundary;
                    s.dual_start = start;
                    compare_with_reference(s, 37, unsigned(h * 100 + w));
                }
            }
        }
    }
}

TEST_CASE("other steps, and 256 iterations") {
    PdhgProblem s = problem_of(17, 31, MapKind::separate, 1);
    s.tau = 0.2f, s.sigma = 0.5f, s.theta = 0.7f;
    compare_with_reference(s, 50, 1);
    compare_with_reference(problem_of(64, 64, MapKind::shared, 1), 256, 2);
    s = problem_of(65, 41, MapKind::separate, 1);
    s.boundary = Boundary::neumann;
    compare_with_reference(s, 256, 3);
    compare_with_reference(problem_of(255, 257, MapKind::shared, 1), 11, 4);
}

TEST_CASE("no iterations") {
    const PdhgProblem s = problem_of(3, 5, MapKind::shared, 2);
    const Data data = make_data(s, 4);
    const Result result = solve(s, 0, data);
    CHECK(same_bits(result.x, data.z));
    CHECK(same_bits(result.d_z, data.d_x));
    for (const float v : result.d_lambda) CHECK(v == 0.0f);
}

TEST_CASE("the same bits for any threads, batch grouping and instruction set") {
    struct Shape {
        int height, width, solves;
    };
    for (const Shape shape :
         {Shape{64, 48, 1}, {41, 33, 1}, {37, 20, 3}, {19, 70, 7}, {3, 5, 1}, {1, 9, 2}}) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            CAPTURE(shape.height);
            CAPTURE(shape.solves);
            CAPTURE(int(map));
            PdhgProblem s = problem_of(shape.height, shape.width, map, shape.solves);
            s.boundary = shape.solves == 3 ? Boundary::neumann : Boundary::periodic;
            const Data data = make_data(s, 11);
            const int before = omp_get_max_threads(), iterations = 29;
            omp_set_num_threads(1);
            const Result alone = solve(s, iterations, data);
            for (int threads = 2; threads <= 9; ++threads) {
                CAPTURE(threads);
                omp_set_num_threads(threads);
                const Result together = solve(s, iterations, data);
                CHECK(together.intact);
                CHECK(same_bits(alone.x, together.x));
                CHECK(same_bits(alone.masks, together.masks));
                CHECK(same_bits(alone.d_lambda, together.d_lambda));
                CHECK(same_bits(alone.d_z, together.d_z));
            }
            omp_set_num_threads(before);
            for (const auto target : {HWY_AVX3, HWY_AVX2, HWY_STATIC_TARGET}) {
                if ((hwy::SupportedTargets() & target) == 0 && target != HWY_STATIC_TARGET) continue;
                CAPTURE(std::string(hwy::TargetName(target)));
                hwy::SetSupportedTargetsForTest(target);
                const Result other = solve(s, iterations, data);
                hwy::SetSupportedTargetsForTest(0);
                CHECK(other.intact);
                CHECK(same_bits(alone.x, other.x));
                CHECK(same_bits(alone.masks, other.masks));
                CHECK(same_bits(alone.d_lambda, other.d_lambda));
                CHECK(same_bits(alone.d_z, other.d_z));
            }
            for (int n = 0; n < s.solves; ++n) {  // each solve by itself
                PdhgProblem one = s;
                one.solves = 1;
                const auto z = data.z.begin() + n * s.pixels();
                const auto lambda = data.lambda.begin() + n * s.map_size();
                const Floats x =
                    denoise(one, iterations, {z, z + s.pixels()}, {lambda, lambda + s.map_size()});
                CHECK(std::memcmp(x.data(), alone.x.data() + n * s.pixels(), x.size() * sizeof(float)) == 0);
            }
        }
    }
}

TEST_CASE("many maps for one image") {
    PdhgProblem s = problem_of(12, 21, MapKind::scalar, 7);
    s.solves_per_image = 3;  // images 0, 1, 2; the last has one solve
    const Data data = make_data(s, 21);
    CHECK(data.z.size() == std::size_t(3 * s.pixels()));
    const Floats x = denoise(s, 30, data.z, data.lambda);
    PdhgProblem one = problem_of(12, 21, MapKind::scalar);
    for (int n = 0; n < s.solves; ++n) {
        const auto z = data.z.begin() + n / 3 * s.pixels();
        const Floats alone = denoise(one, 30, {z, z + s.pixels()}, {data.lambda[std::size_t(n)]});
        CHECK(std::memcmp(alone.data(), x.data() + n * s.pixels(), alone.size() * sizeof(float)) == 0);
    }
}

TEST_CASE("masks are optional, d_lambda and d_z too, and gradients accumulate") {
    const PdhgProblem s = problem_of(13, 18, MapKind::separate, 2);
    const Data data = make_data(s, 31);
    const Result full = solve(s, 20, data);
    CHECK(same_bits(denoise(s, 20, data.z, data.lambda), full.x));
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    Floats d_lambda(full.d_lambda.size(), 2.0f), d_z(full.d_z.size(), 3.0f);
    cpu::pdhg_adjoint(s, 20, full.masks.data(), data.d_x.data(), d_lambda.data(), nullptr, Write::accumulate,
                      workspace.data());
    cpu::pdhg_adjoint(s, 20, full.masks.data(), data.d_x.data(), nullptr, d_z.data(), Write::accumulate,
                      workspace.data());
    for (std::size_t i = 0; i < d_lambda.size(); ++i) CHECK(d_lambda[i] == 2.0f + full.d_lambda[i]);
    for (std::size_t i = 0; i < d_z.size(); ++i) CHECK(d_z[i] == 3.0f + full.d_z[i]);
    CHECK(workspace.intact());
}

TEST_CASE("Neumann is periodic with the map zero across the border, bit for bit") {
    PdhgProblem s = problem_of(23, 35, MapKind::separate, 1);
    Data data = make_data(s, 41);
    s.boundary = Boundary::neumann;
    const Result neumann = solve(s, 60, data);
    for (int j = 0; j < s.width; ++j) data.lambda[std::size_t((s.height - 1) * s.width + j)] = 0;
    for (int i = 0; i < s.height; ++i) data.lambda[std::size_t(s.pixels() + i * s.width + s.width - 1)] = 0;
    s.boundary = Boundary::periodic;
    const Result periodic = solve(s, 60, data);
    CHECK(same_bits(neumann.x, periodic.x));
    CHECK(same_bits(neumann.d_z, periodic.d_z));
    for (std::size_t i = 0; i < data.lambda.size(); ++i) {
        CHECK(neumann.d_lambda[i] == (data.lambda[i] == 0 ? 0 : periodic.d_lambda[i]));
    }
}

TEST_CASE("a state in the middle changes nothing") {
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        PdhgProblem s = problem_of(21, 30, MapKind::shared, 3);
        s.boundary = boundary;
        const Data data = make_data(s, 51);
        const std::size_t pixels = std::size_t(s.solves * s.pixels());
        Floats x(pixels, NAN), x_bar(pixels, NAN), p(pixels, NAN), q(2 * pixels, NAN);
        const PdhgState state{x.data(), x_bar.data(), p.data(), q.data()};
        const Floats straight = denoise(s, 256, data.z, data.lambda, &state, false);
        CHECK(same_bits(x, straight));
        const Floats end_bar = x_bar, end_p = p, end_q = q;
        const Floats middle = denoise(s, 100, data.z, data.lambda, &state, false);
        CHECK(!same_bits(middle, straight));
        CHECK(same_bits(denoise(s, 156, data.z, data.lambda, &state, true), straight));
        CHECK(same_bits(x_bar, end_bar));
        CHECK(same_bits(p, end_p));
        CHECK(same_bits(q, end_q));
    }
}

TEST_CASE("closed forms: constant image, no regularisation, much of it") {
    PdhgProblem s = problem_of(9, 21, MapKind::scalar);
    const Data data = make_data(s, 61);
    const std::size_t pixels = std::size_t(s.pixels());
    const Floats constant(pixels, 0.37f);
    CHECK(same_bits(denoise(s, 100, constant, {0.1f}), constant));
    CHECK(same_bits(denoise(s, 100, data.z, {0.0f}), data.z));
    double mean = 0;
    for (const float v : data.z) mean += v / double(pixels);
    // Converged to rounding after 4000 steps; x then moves by units of the last place, 6e-8.
    for (const float v : denoise(s, 4000, data.z, {100.0f})) CHECK(std::abs(v - mean) < 2e-6);
}

TEST_CASE("closed form: a step in one dimension") {
    // n pixels at 0.2, then n at 0.8. Each level moves towards the other by λ/n for every jump that it has:
    // two under periodic boundaries, one under Neumann.
    const int n = 20;
    const float lambda = 0.5f;
    for (const bool across : {false, true}) {
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            PdhgProblem s = problem_of(across ? 2 * n : 1, across ? 1 : 2 * n, MapKind::scalar);
            s.boundary = boundary;
            Floats z(std::size_t(2 * n), 0.2f);
            std::fill(z.begin() + n, z.end(), 0.8f);
            const Floats x = denoise(s, 4000, z, {lambda});
            const double shift = (boundary == Boundary::periodic ? 2 : 1) * lambda / n;
            // Converged to rounding, as above.
            for (int j = 0; j < n; ++j) CHECK(std::abs(x[std::size_t(j)] - (0.2 + shift)) < 2e-6);
            for (int j = n; j < 2 * n; ++j) CHECK(std::abs(x[std::size_t(j)] - (0.8 - shift)) < 2e-6);
        }
    }
}

TEST_CASE("the primal-dual gap") {
    for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            PdhgProblem s = problem_of(17, 31, map);
            s.boundary = boundary;
            const Data data = make_data(s, 71);
            const std::size_t pixels = std::size_t(s.pixels());
            Floats x(pixels), x_bar(pixels), p(pixels), q(2 * pixels);
            const PdhgState state{x.data(), x_bar.data(), p.data(), q.data()};
            // By definition, from the reference's operators.
            denoise(s, 10, data.z, data.lambda, &state);
            const reference::Pdhg r = reference_problem(s, 0);
            const reference::Plane z(data.z.begin(), data.z.end()), lambda = map_of(s, data, 0);
            const auto g = reference::gradient(r, {x.begin(), x.end()});
            const auto c = reference::gradient_transposed(r, {q.begin(), q.end()});
            double primal = 0, dual = 0;
            for (std::size_t i = 0; i < pixels; ++i) {
                primal += 0.5 * (x[i] - z[i]) * (x[i] - z[i]);
                dual += 0.5 * z[i] * z[i] - 0.5 * (z[i] - c[i]) * (z[i] - c[i]);
            }
            for (std::size_t i = 0; i < 2 * pixels; ++i) primal += lambda[i] * std::abs(g[i]);
            const cpu::PdhgGap early =
                cpu::pdhg_gap(s, data.z.data(), data.lambda.data(), x.data(), q.data());
            CHECK(early.primal == doctest::Approx(primal).epsilon(1e-12));  // both sums are in double
            CHECK(early.gap == doctest::Approx(primal - dual).epsilon(1e-10));
            CHECK(early.gap > 0);
            // It closes: what is left is the rounding of x and q (6e-8 relative) against jumps and Λ.
            denoise(s, 8000, data.z, data.lambda, &state);
            const cpu::PdhgGap late = cpu::pdhg_gap(s, data.z.data(), data.lambda.data(), x.data(), q.data());
            CHECK(late.relative() < 1e-5);
            CHECK(late.relative() > -1e-6);
        }
    }
}

TEST_CASE("impossible problems are refused") {
    PdhgProblem s = problem_of(4, 4);
    const Data data = make_data(s, 81);
    s.tau = 0.5f;  // τσL² = 1.5
    CHECK_THROWS_AS(denoise(s, 1, data.z, data.lambda), Error);
    s = problem_of(4, 4);
    s.sigma = NAN;
    CHECK_THROWS_AS(denoise(s, 1, data.z, data.lambda), Error);
    s = problem_of(4, 4);
    CHECK_THROWS_AS(denoise(s, -1, data.z, data.lambda), Error);
}
