// Restorations that go on from a state: to the same bits, from another Λ or boundary to this problem's answer, and what
// no run can have left is refused. K is the reference's matrix (tests/reference/family.h), not the solver's.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/files/file.h"
#include "engine/files/safetensors.h"
#include "engine/solver/family_solver.h"
#include "engine/solver/solver_state.h"
#include "tests/reference/family.h"
#include "tests/support/refusal.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

constexpr int height = 10, width = 12, pixels = height * width, images = 2;
const Regulariser regularisers[] = {Regulariser::tv, Regulariser::tv8, Regulariser::tgv};
const DataTerm data_terms[] = {DataTerm::identity, DataTerm::weights, DataTerm::blur,
                               DataTerm::super_resolution, DataTerm::huber};
bool solved(Regulariser r, DataTerm data) { return r != Regulariser::tgv || data != DataTerm::huber; }
const Boundary boundaries[] = {Boundary::periodic, Boundary::neumann};

Backend& backend() {
    static const std::unique_ptr<Backend> cpu = make_backend("cpu");
    return *cpu;
}

std::vector<float> random_values(std::size_t count, unsigned seed, float from = 0, float to = 1) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(from, to);
    std::vector<float> values(count);
    for (float& value : values) value = uniform(generator);
    return values;
}

/// A problem of two images with numbers, or with maps around them, for Λ.
Restoration problem_of(Regulariser r, DataTerm data, float lambda, MapKind kind = MapKind::scalar) {
    Restoration given;
    Observation& o = given.observation;
    o.data = data;
    if (data == DataTerm::weights) {
        o.values = random_values(pixels, 9);
        for (float& weight : o.values) weight = weight < 0.4f ? 0.0f : 1.0f;
    } else if (data == DataTerm::blur) {
        o.rows = 3, o.columns = 5;
        o.values = random_values(15, 8, 0.02f, 0.1f);
    } else if (data == DataTerm::super_resolution) {
        o.factor = 2;
    }
    const int h = height / o.factor, w = width / o.factor;
    given.z = {images, h, w, random_values(std::size_t(images * h * w), 7)};
    SolverProblem sizes;
    sizes.regulariser = r;
    sizes.map = kind;
    sizes.height = height;
    sizes.width = width;
    given.lambda = {kind, random_values(std::size_t(sizes.map_size()), 3, 0.5f * lambda, 1.5f * lambda)};
    if (kind != MapKind::scalar) given.lambda.values[5] = 0;
    return given;
}

SolverConfig config(Regulariser r, Boundary boundary, int iterations) {
    SolverConfig solver;
    solver.regulariser = r;
    solver.boundary = boundary;
    solver.norm_auto = true;
    solver.iterations = iterations;
    return solver;
}

RestoreOptions with(SolverState& state, double tolerance = -1) {
    RestoreOptions options;
    options.state = &state;
    options.watch_gap = tolerance >= 0;
    options.tolerance = tolerance;
    return options;
}

reference::Family family_of(Regulariser r, Boundary boundary) {
    reference::Family s;
    s.kind = r == Regulariser::tgv   ? reference::Kind::tgv
             : r == Regulariser::tv8 ? reference::Kind::tv8
                                     : reference::Kind::tv;
    s.height = height;
    s.width = width;
    s.neumann = boundary == Boundary::neumann;
    return s;
}

/// The largest distance of x̄ from x − c·((p, 0) + Kᵀq).
double from_extrapolated(const reference::Family& s, const SolverState& state) {
    const reference::Matrix k = reference::operator_k(s);
    double most = 0;
    for (int n = 0; n < images; ++n) {
        reference::Values counted(std::size_t(k.rows));
        for (int i = 0; i < k.rows; ++i)
            counted[i] = s.count(i / pixels) * state.q[std::size_t(n) * k.rows + i];
        const reference::Values pull = k.transposed(counted);
        for (int i = 0; i < k.columns; ++i) {
            const std::size_t here = std::size_t(n) * k.columns + i;
            const double all = pull[i] + (i < pixels ? state.p[std::size_t(n) * pixels + i] : 0.0f);
            most = std::max(most, std::abs(state.x[here] - state.extrapolation * all - state.x_bar[here]));
        }
    }
    return most;
}

bool same(const SolverState& a, const SolverState& b) {
    return a.x == b.x && a.x_bar == b.x_bar && a.p == b.p && a.q == b.q &&
           a.extrapolation == b.extrapolation && a.regulariser == b.regulariser && a.data == b.data &&
           a.boundary == b.boundary;
}

}  // namespace

TEST_CASE("40 steps, saved, and 30 more have the bits of 70") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.safetensors";
    for (const Regulariser r : regularisers)
        for (const DataTerm data : data_terms)
            for (const Boundary boundary : boundaries)
                for (const MapKind kind : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
                    if (!solved(r, data)) continue;
                    CAPTURE(int(r));
                    CAPTURE(int(data));
                    CAPTURE(int(boundary));
                    CAPTURE(int(kind));
                    const Restoration given = problem_of(r, data, 0.05f, kind);
                    const SolverProblem problem = restoration_problem(config(r, boundary, 70), given);
                    SolverState whole, part;
                    const Restored at_once = restore(backend(), config(r, boundary, 70), given, with(whole));
                    CHECK(at_once.x == restore(backend(), config(r, boundary, 70), given, {}).x);
                    const Restored begun = restore(backend(), config(r, boundary, 40), given, with(part));
                    CHECK(begun.x != at_once.x);
                    write_solver_state(path, problem, part);
                    SolverState joined = read_solver_state(path, problem);
                    if (r == Regulariser::tv && data == DataTerm::identity)
                        part.boundary = Boundary::periodic;  // which such a file does not say
                    CHECK(same(joined, part));
                    RestoreOptions options = with(joined);
                    options.watch_gap = true;  // and never reached: looking changes nothing
                    options.check_every = 7;
                    const Restored rest = restore(backend(), config(r, boundary, 30), given, options);
                    CHECK(rest.steps == 30);
                    CHECK(rest.x == at_once.x);
                    CHECK(same(joined, whole));
                    // x̄ is that of the formula. Ten roundings of values up to some 2 come to 10⁻⁶.
                    CHECK(from_extrapolated(family_of(r, boundary), whole) < 2e-6);
                }
}

TEST_CASE("what a run leaves is accepted, whatever its steps, its image's size and scale, and Λ before") {
    for (const Regulariser r : regularisers)
        for (const Boundary boundary : boundaries)
            for (const auto& [h, w] : {std::pair{1, 9}, {9, 1}, {1, 2}, {2, 3}, {33, 20}})
                for (const float scale : {1.0f, 1e-3f, 1e-42f, 1e4f})
                    for (const double theta : {1.0, 0.6, 0.0}) {
                        SolverConfig solver = config(r, boundary, 1);
                        solver.theta = theta;
                        Restoration given;
                        given.z = {1, h, w, random_values(std::size_t(h * w), 2, -scale, scale)};
                        given.observation.data = DataTerm::weights;
                        given.observation.values = random_values(std::size_t(h * w), 9);
                        given.observation.values[0] = 0;
                        SolverState state;
                        for (const float lambda : {0.5f, 0.5f, 0.02f, 0.02f, 0.0f}) {
                            given.lambda.values.assign(r == Regulariser::tgv ? 2 : 1, lambda * scale);
                            for (solver.iterations = 1; solver.iterations < 400; solver.iterations *= 19)
                                CHECK(refusal([&] { restore(backend(), solver, given, with(state)); }) ==
                                      "accepted");
                        }
                    }
}

TEST_CASE("of tv and identity a state and its file are those of solve()") {
    const TemporaryFolder folder;
    for (const Boundary boundary : boundaries) {
        const SolverConfig solver = config(Regulariser::tv, boundary, 50);
        const Restoration given = problem_of(Regulariser::tv, DataTerm::identity, 0.1f, MapKind::shared);
        SolverState fused, composed;
        SolveOptions options;
        options.state = &fused;
        solve(backend(), solver, given.z, given.lambda, options);
        restore(backend(), solver, given, with(composed));
        write_solver_state(folder / "fused", fused, images, height, width);
        write_solver_state(folder / "composed", restoration_problem(solver, given), composed);
        CHECK(read_file(folder / "fused") == read_file(folder / "composed"));
        CHECK(read_safetensors(folder / "fused").metadata.empty());
        CHECK(read_safetensors(folder / "fused").tensors.size() == 5);
        // And each goes on from the other's.
        SolverState state = fused;
        options.state = &composed;
        CHECK(restore(backend(), solver, given, with(state)).x ==
              solve(backend(), solver, given.z, given.lambda, options).x);
    }
}

TEST_CASE(
    "a state that has reached the gap needs no step; of another Λ or boundary it goes on to this problem's") {
    for (const Regulariser r : regularisers)
        for (const DataTerm data : data_terms)
            for (const Boundary before : boundaries)
                for (const Boundary after : boundaries)
                    for (const float second : {0.02f, 0.1f}) {
                        if (!solved(r, data)) continue;
                        CAPTURE(int(r));
                        CAPTURE(int(data));
                        CAPTURE(int(before));
                        CAPTURE(int(after));
                        CAPTURE(second);
                        const int most = 50000;
                        const Restoration first = problem_of(r, data, 0.05f),
                                          given = problem_of(r, data, second, MapKind::shared);
                        SolverState state, cold;
                        REQUIRE(
                            restore(backend(), config(r, before, most), first, with(state, 1e-3)).reached);
                        const SolverState kept = state;
                        const Restored none =
                            restore(backend(), config(r, before, most), first, with(state, 1e-3));
                        CHECK(none.steps == 0);
                        CHECK(none.reached);
                        CHECK(none.gaps.size() == images);
                        CHECK(same(state, kept));
                        for (int n = 0; n < images; ++n)
                            CHECK(std::equal(none.x.begin() + n * pixels, none.x.begin() + (n + 1) * pixels,
                                             kept.x.begin() + std::ptrdiff_t(kept.x.size()) / images * n));

                        const Restored warm =
                            restore(backend(), config(r, after, most), given, with(state, 1e-3));
                        REQUIRE(warm.reached);
                        CHECK(warm.steps > 0);
                        const Restored anew =
                            restore(backend(), config(r, after, most), given, with(cold, 1e-3));
                        REQUIRE(anew.reached);
                        // P is convex, and K*q an ε-subgradient of ‖Λ∘K u‖₁ where ε is the complementarity: for any
                        // two points P(u) − P(v) ≤ ε_u + ‖residual_u‖·‖u − v‖.
                        const std::size_t values = state.x.size() / images;
                        for (int n = 0; n < images; ++n) {
                            double distance = 0;
                            for (std::size_t i = values * n; i < values * (n + 1); ++i)
                                distance += std::pow(double(state.x[i]) - cold.x[i], 2);
                            const auto least_above = [&](const cpu::SolverGap& u, const cpu::SolverGap& v) {
                                const double residual = std::hypot(u.image_residual, u.field_residual);
                                CHECK(u.primal - v.primal <=
                                      u.complementarity + residual * std::sqrt(distance) + 1e-9);
                            };
                            least_above(warm.gaps[n], anew.gaps[n]);
                            least_above(anew.gaps[n], warm.gaps[n]);
                            CHECK(warm.gaps[n].primal == doctest::Approx(anew.gaps[n].primal).epsilon(0.02));
                        }
                    }
}

TEST_CASE(
    "made feasible: within every component's bound, 0 where there is no difference, and then a new start") {
    for (const Regulariser r : regularisers)
        for (const MapKind kind : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            CAPTURE(int(r));
            CAPTURE(int(kind));
            const SolverConfig solver = config(r, Boundary::neumann, 1);
            const Restoration given = problem_of(r, DataTerm::blur, 0.05f, kind);
            const SolverProblem problem = restoration_problem(solver, given);
            const int components = problem.components();
            SolverState state;
            state.x.assign(std::size_t(images * problem.fields() * pixels), 0.25f);
            state.x_bar.assign(state.x.size(), 0.5f);
            state.p.assign(images * pixels, 0.125f);
            state.q = random_values(std::size_t(images * components * pixels), 4, -0.2f, 0.2f);
            state.extrapolation = 0.3f;
            const std::vector<float> q = state.q;
            make_feasible(problem, given.lambda, state);
            const reference::Matrix k = reference::operator_k(family_of(r, Boundary::neumann));
            std::vector<bool> has_row(std::size_t(k.rows));
            for (const reference::Matrix::Entry& entry : k.entries) has_row[entry.row] = true;
            int cut = 0;
            for (std::size_t i = 0; i < q.size(); ++i) {
                const int row = int(i) % k.rows, component = row / pixels, pixel = row % pixels;
                const int map = kind == MapKind::separate ? component
                                : r == Regulariser::tgv   ? component / 2 > 0
                                                          : 0;
                const float bound = given.lambda.values[kind == MapKind::scalar ? map : map * pixels + pixel];
                const float expected =
                    !has_row[row] && r != Regulariser::tgv ? 0.0f : std::max(-bound, std::min(q[i], bound));
                CHECK(state.q[i] == expected);
                cut += expected != q[i];
            }
            CHECK(cut > 100);
            CHECK(state.x_bar == state.x);
            CHECK(state.extrapolation == 0);
            CHECK(state.boundary == Boundary::neumann);
            CHECK(state.p == std::vector<float>(images * pixels, 0.125f));

            // What is within stays as it is.
            state.x_bar.assign(state.x.size(), 0.5f);
            make_feasible(problem, given.lambda, state);
            CHECK(state.x_bar[0] == 0.5f);
            // But tgv at another boundary has another K*, so that x̄ is none of its steps'.
            SolverProblem periodic = problem;
            periodic.boundary = Boundary::periodic;
            make_feasible(periodic, given.lambda, state);
            CHECK(state.x_bar[0] == (r == Regulariser::tgv ? 0.25f : 0.5f));
        }
}

TEST_CASE("what is no state of this problem, or of none, is refused, in memory and in a file") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.safetensors";
    for (const Regulariser r : regularisers)
        for (const Boundary boundary : boundaries) {
            CAPTURE(int(r));
            CAPTURE(int(boundary));
            const SolverConfig solver = config(r, boundary, 50);
            const Restoration given = problem_of(r, DataTerm::weights, 0.05f);
            const SolverProblem problem = restoration_problem(solver, given);
            SolverState good;
            restore(backend(), solver, given, with(good));
            const auto said = [&](const auto& change) {
                SolverState state = good;
                change(state);
                write_solver_state(path, problem, state);
                const std::string file = refusal([&] { read_solver_state(path, problem); }),
                                  memory = refusal([&] { restore(backend(), solver, given, with(state)); });
                INFO(file);
                CHECK((file == "accepted") == (memory == "accepted"));
                CHECK((file == "accepted" || file.find(path) == 0));
                CHECK(memory.find('\n') == std::string::npos);
                return memory;
            };
            const float nan = std::numeric_limits<float>::quiet_NaN();
            CHECK(said([](SolverState&) {}) == "accepted");
            CHECK(has(said([&](SolverState& s) { s.p[3] = nan; }), "p: value number 3 is nan"));
            CHECK(has(said([&](SolverState& s) { s.q.back() = nan; }), "q: value number"));
            const std::string left = "no run can have left this";
            CHECK(has(said([](SolverState& s) { s.x_bar[17] += 1e-4f; }), left + ": x_bar is"));
            CHECK(has(said([](SolverState& s) { s.p[17] += 1e-4f; }), "row 1, column 5"));
            CHECK(has(said([](SolverState& s) { s.x.back() += 1e-4f; }), "of image 1"));
            for (int component = 0; component < problem.components(); ++component)
                CHECK(has(said([&](SolverState& s) { s.q[component * pixels + 17] += 1e-4f; }), left));
            CHECK(has(said([](SolverState& s) { s.extrapolation *= 2; }), left));
            CHECK(has(said([](SolverState& s) { s.extrapolation = -1; }), "an extrapolation of -1"));

            // Of another problem.
            for (const Regulariser other : regularisers)
                for (const DataTerm data : data_terms) {
                    if ((other == r && data == DataTerm::weights) || !solved(other, data)) continue;
                    const SolverConfig its = config(other, boundary, 5);
                    const Restoration another = problem_of(other, data, 0.05f);
                    const std::string name = other == Regulariser::tgv   ? "tgv"
                                             : other == Regulariser::tv8 ? "tv8"
                                                                         : "tv";
                    const std::string what = "a state of regulariser " + name + " and operator " +
                                             (data == DataTerm::identity  ? "identity"
                                              : data == DataTerm::weights ? "mask"
                                              : data == DataTerm::blur    ? "blur"
                                              : data == DataTerm::huber   ? "impulses"
                                                                          : "downsample");
                    SolverState state;
                    restore(backend(), its, another, with(state));
                    CHECK(has(refusal([&] { restore(backend(), solver, given, with(state)); }),
                              "state: " + what));
                    write_solver_state(path, restoration_problem(its, another), state);
                    CHECK(has(refusal([&] { read_solver_state(path, problem); }), path + ": " + what));
                    if (other == Regulariser::tv && data == DataTerm::identity) continue;
                    CHECK(has(refusal([&] { read_solver_state(path, images, height, width); }), what));
                    SolveOptions plain;
                    plain.state = &state;
                    CHECK(has(refusal([&] {
                                  solve(backend(), config(Regulariser::tv, boundary, 5),
                                        problem_of(r, DataTerm::identity, 0.1f).z, {MapKind::scalar, {0.1f}},
                                        plain);
                              }),
                              what));
                }

            // Of another size, and files that others have changed.
            write_solver_state(path, problem, good);
            SolverProblem turned = problem;
            std::swap(turned.height, turned.width);
            CHECK(has(refusal([&] { read_solver_state(path, turned); }),
                      "give the state of a solve of images"));
            SolverState fewer = good;
            fewer.p.pop_back();
            CHECK(has(refusal([&] { restore(backend(), solver, given, with(fewer)); }),
                      "p has 239 values where the images need 240"));
            SafeTensors file = read_safetensors(path);
            file.metadata["boundary"] = "reflecting";
            write_safetensors(path, file);
            CHECK(has(refusal([&] { read_solver_state(path, problem); }), "'reflecting' is no boundary"));
            file.tensors.erase("p");
            write_safetensors(path, file);
            CHECK(has(refusal([&] { read_solver_state(path, problem); }), "holds no tensor p"));
        }
}
