// The family's operators in double: K, A and N against their matrices and their adjoints, norms, and what is said of steps.
#include "kernels/base/error.h"
#include "kernels/family/data_term.h"
#include "kernels/family/differences.h"
#include "tests/family/family_case.h"

using namespace family_case;

namespace {

Floats random_floats(std::int64_t count, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    Floats values;
    for (std::int64_t i = 0; i < count; ++i) values.push_back(normal(engine));
    return values;
}

Values in_double(const Floats& values) { return Values(values.begin(), values.end()); }

double inner(const Values& a, const Values& b) {
    REQUIRE(a.size() == b.size());
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

/// K u and K*q as the product has them, in double.
template <Regulariser r, int component>
void apply_component(const SolverProblem& s, const Floats& u, Values& ku) {
    for (int i = 0; i < s.height; ++i)
        for (int j = 0; j < s.width; ++j)
            ku.push_back(family::difference<r, component, false, double>(
                u.data() + i * s.width + j, s.pixels(),
                family::links(s.height, s.width, s.boundary == Boundary::periodic, i, j)));
}
template <Regulariser r, int field>
void adjoint_field(const SolverProblem& s, const Floats& q, Values& kq) {
    for (int i = 0; i < s.height; ++i)
        for (int j = 0; j < s.width; ++j)
            kq.push_back(family::adjoint_difference<r, field, false, double>(
                q.data() + i * s.width + j, s.pixels(),
                family::links(s.height, s.width, s.boundary == Boundary::periodic, i, j)));
}
template <Regulariser r>
void check_differences(Boundary boundary, int height, int width) {
    const SolverProblem s = problem_of(r, DataTerm::identity, MapKind::shared, boundary, height, width);
    const Floats u = random_floats(s.fields() * s.pixels(), 1),
                 q = random_floats(s.components() * s.pixels(), 2);
    Values ku, kq;
    apply_component<r, 0>(s, u, ku);
    apply_component<r, 1>(s, u, ku);
    if constexpr (family::components(r) > 2) {
        apply_component<r, 2>(s, u, ku);
        apply_component<r, 3>(s, u, ku);
    }
    if constexpr (family::components(r) > 4) apply_component<r, 4>(s, u, ku);
    adjoint_field<r, 0>(s, q, kq);
    if constexpr (family::primal_planes(r) > 1) {
        adjoint_field<r, 1>(s, q, kq);
        adjoint_field<r, 2>(s, q, kq);
    }

    const Member m = member(s, 3);
    const Twin twin(m, 0, 0);
    const reference::Matrix k = reference::operator_k(twin.family);
    Values counted = in_double(q);
    for (std::size_t i = 0; i < counted.size(); ++i)
        counted[i] *= twin.family.count(int(i / std::size_t(s.pixels())));
    const double scale = std::sqrt(inner(counted, counted) * inner(in_double(u), in_double(u)));
    CHECK(std::abs(inner(ku, counted) - inner(in_double(u), kq)) <= 1e-12 * scale);
    if (height * width == 1 && (r != Regulariser::tgv)) return;  // all zeros
    CHECK(distance(ku, k.apply(in_double(u))) < 1e-15);          // the same sums, the weights to the last bit
    CHECK(distance(kq, k.transposed(counted)) < 1e-15);
}

}  // namespace

TEST_CASE("K and K* are the matrix and its transposed one, each component as often as it counts") {
    for (const Boundary boundary : boundaries)
        for (const auto& [height, width] : {std::pair{7, 5}, {1, 9}, {9, 1}, {2, 2}, {3, 8}, {1, 1}}) {
            CAPTURE(height);
            CAPTURE(width);
            check_differences<Regulariser::tv>(boundary, height, width);
            check_differences<Regulariser::tv8>(boundary, height, width);
            check_differences<Regulariser::tgv>(boundary, height, width);
        }
}

TEST_CASE("A and its adjoint in double, N = AᴴA") {
    for (const DataTerm data : data_terms) {
        const Member m =
            member(problem_of(Regulariser::tv, data, MapKind::shared, Boundary::neumann, 9, 15), 4);
        CAPTURE(m.name());
        const SolverProblem& s = m.problem;
        const family::DataOperator a = family::data_operator(s, m.data.data()),
                                   n = family::gram_operator(s, m.gram.data());
        const Floats x = random_floats(s.pixels(), 5), y = random_floats(s.data_size(), 6);
        Values ax, ahy, nx;
        for (int i = 0; i < s.height / s.factor; ++i)
            for (int j = 0; j < s.width / s.factor; ++j)
                ax.push_back(family::data_at<double>(a, m.data.data(), x.data(), i, j));
        for (int i = 0; i < s.height; ++i)
            for (int j = 0; j < s.width; ++j) {
                ahy.push_back(family::image_at<double>(a, m.data.data(), y.data(), i, j));
                nx.push_back(family::gram_at<double>(n, m.gram.data(), x.data(), i, j));
            }
        const double scale = std::sqrt(inner(in_double(x), in_double(x)) * inner(in_double(y), in_double(y)));
        CHECK(std::abs(inner(ax, in_double(y)) - inner(in_double(x), ahy)) <= 1e-12 * scale);

        // For weights, where A = √W, these are W itself.
        const Twin twin(m, 0, 0);
        const bool weights = data == DataTerm::weights;
        const reference::Matrix& matrix = twin.family.a;
        CHECK(distance(ax, weights ? matrix.apply(matrix.apply(in_double(x))) : matrix.apply(in_double(x))) <
              1e-14);
        CHECK(distance(ahy, weights ? matrix.apply(matrix.apply(in_double(y)))
                                    : matrix.transposed(in_double(y))) < 1e-14);
        // The autocorrelation is rounded to single precision.
        CHECK(distance(nx, matrix.transposed(matrix.apply(in_double(x)))) <
              (data == DataTerm::blur ? 1e-7 : 1e-14));

        // In single precision, solve by solve, added to what is there.
        Floats b(std::size_t(s.pixels()), NAN), d_z(std::size_t(s.data_size()), 0.5f);
        cpu::data_to_image(s, m.data.data(), y.data(), b.data());
        cpu::image_to_data(s, m.data.data(), x.data(), d_z.data(), Write::accumulate);
        for (double& value : ax) value += 0.5;
        CHECK(distance(b, ahy) < 1e-6);
        CHECK(distance(d_z, ax) < 1e-6);
    }
}

TEST_CASE("the norm is no less than a power iteration says, and no more than it should be") {
    // 400 steps from below come within 2 % on these sizes.
    for (const Boundary boundary : boundaries)
        for (const Regulariser r : regularisers)
            for (const DataTerm data : data_terms)
                for (const auto& [height, width] : {std::pair{12, 18}, {9, 15}, {15, 3}}) {
                    SolverProblem s = problem_of(r, data, MapKind::shared, boundary, height, width);
                    if (!solved(r, data) || (data == DataTerm::blur && width < 5)) continue;
                    const Member m = member(s, 7);
                    CAPTURE(m.name());
                    const double power = reference::norm_squared(Twin(m, 0, 0).family, 400);
                    const double closed = solver_norm_squared(m.problem);
                    CHECK(closed >= power * (1 - 1e-12));
                    const bool even = height % 2 == 0 && width % 2 == 0,
                               periodic = boundary == Boundary::periodic;
                    if (data == DataTerm::identity && (r == Regulariser::tv || (even && periodic)))
                        CHECK(closed == doctest::Approx(power).epsilon(0.01));
                    CHECK(closed < 1.6 * power);
                }
    SolverProblem s =
        problem_of(Regulariser::tgv, DataTerm::identity, MapKind::shared, Boundary::periodic, 64, 64);
    CHECK(solver_norm_squared(s) == doctest::Approx(9 + 2 * std::sqrt(2.0)).epsilon(1e-12));
    s.regulariser = Regulariser::tv8;
    CHECK(solver_norm_squared(s) == doctest::Approx(9).epsilon(1e-12));
    s.regulariser = Regulariser::tv;
    const double tv = pdhg_operator_norm(64, 64, Boundary::periodic);
    CHECK(solver_norm_squared(s) == doctest::Approx(tv * tv).epsilon(1e-14));
}

TEST_CASE("the blur's norm is that of its matrix") {
    for (const unsigned seed : {1u, 2u, 3u}) {
        Member m = member(
            problem_of(Regulariser::tv, DataTerm::blur, MapKind::shared, Boundary::periodic, 8, 11), seed);
        if (seed > 1) m.data = random_floats(15, seed);  // of any sign: its norm is not at frequency 0
        reference::Family only_a;
        only_a.height = 8;
        only_a.width = 11;
        const reference::Matrix a = reference::blur(8, 11, in_double(m.data), 3, 5);
        Values x = in_double(random_floats(88, 9));
        double eigenvalue = 0;
        for (int step = 0; step < 2000; ++step) {
            const double norm = std::sqrt(inner(x, x));
            for (double& value : x) value /= norm;
            const Values next = a.transposed(a.apply(x));
            eigenvalue = inner(x, next);
            x = next;
        }
        CHECK(gram_norm(m.problem, m.data.data()) == doctest::Approx(eigenvalue).epsilon(1e-6));
    }
}

TEST_CASE("steps: refused above the proven bound, warned of above the classical one") {
    CHECK(solver_step_bound(1) == doctest::Approx(4.0 / 3));
    CHECK(solver_step_bound(0.5) == doctest::Approx(2));
    CHECK(solver_step_bound(0.4) == 1);
    CHECK(solver_step_bound(1.1) == 1);
    SolverProblem s =
        problem_of(Regulariser::tgv, DataTerm::identity, MapKind::shared, Boundary::neumann, 256, 256);
    s.tau = s.sigma = float(1 / std::sqrt(solver_norm_squared(s)));
    CHECK(solver_step_warning(s).empty());
    s.tau = s.sigma = 1.0f / 3;  // as published: 1.314
    check_solver("test", s, 1);
    CHECK(solver_step_warning(s).find("above the classical bound of 1") != std::string::npos);
    s.tau = s.sigma = 1 / 2.9f;  // 1.406
    CHECK_THROWS_WITH_AS(check_solver("test", s, 1), doctest::Contains("not proven to converge on 256x256"),
                         Error);
    s.tau = s.sigma = 1.0f / 3;
    s.theta = 0.4f;
    CHECK_THROWS_WITH_AS(check_solver("test", s, 1), doctest::Contains("not proven to converge"), Error);
    s.theta = 1;
    s.regulariser = Regulariser::tv;
    CHECK(solver_step_warning(s).empty());
    for (const float bad : {0.0f, -0.1f, NAN}) {
        s.tau = bad;
        CHECK_THROWS_AS(check_solver("test", s, 1), Error);
    }
}

TEST_CASE("what does not fit is refused in one line") {
    const auto refused = [](SolverProblem s, const char* why) {
        CAPTURE(why);
        CHECK_THROWS_WITH_AS(check_solver("here", s, 1), doctest::Contains(why), Error);
    };
    SolverProblem s =
        problem_of(Regulariser::tv, DataTerm::identity, MapKind::shared, Boundary::periodic, 9, 15);
    check_solver("here", s, 0);
    SolverProblem bad = s;
    bad.height = 0;
    refused(bad, "here: impossible problem");
    bad = s;
    bad.factor = 3;
    refused(bad, "a factor of 3 for an image of 9x15 without super_resolution");
    bad.data = DataTerm::super_resolution;
    check_solver("here", bad, 1);
    bad.factor = 2;
    refused(bad, "give one that divides both sides");
    bad = s;
    bad.kernel_width = 3;
    refused(bad, "a kernel of 1x3 for an image of 9x15 without blur");
    bad.data = DataTerm::blur;
    check_solver("here", bad, 1);
    for (const int size : {2, 17, 0, -1}) {
        bad.kernel_width = size;
        refused(bad, "give odd sizes, no larger than the image");
    }
    bad = s;
    bad.gram_norm = -1;
    refused(bad, "gram_norm is -1");
    bad.width = bad.height = 1 << 30;
    refused(bad, "more than any memory holds");

    s.data = DataTerm::weights;
    Floats weights(std::size_t(s.pixels()), 1.0f);
    weights[3] = 2;
    CHECK(gram_norm(s, weights.data()) == 2);
    weights[7] = -1;
    CHECK_THROWS_WITH_AS(gram_norm(s, weights.data()), doctest::Contains("weights: number 7 is -1"), Error);
}
