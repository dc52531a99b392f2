#include "engine/solver/solver_state.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/config/solver_words.h"
#include "engine/files/safetensors.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "kernels/family/differences.h"

namespace tvmap {
namespace {

struct Part {
    const char* name;
    std::vector<float> SolverState::*values;
    std::vector<std::int64_t> shape;
};

std::vector<Part> parts(const SolverProblem& s) {
    std::vector<std::int64_t> plane{s.solves, s.height, s.width}, fields = plane, duals = plane;
    if (s.fields() > 1) fields.insert(fields.begin() + 1, s.fields());
    duals.insert(duals.begin() + 1, s.components());
    return {{"x", &SolverState::x, fields},
            {"x_bar", &SolverState::x_bar, fields},
            {"p", &SolverState::p, plane},
            {"q", &SolverState::q, duals}};
}
constexpr const char* extrapolation = "extrapolation";
constexpr const char* give_another = "; give a state that solve --state-out has written";

SolverProblem plain_problem(int images, int height, int width) {
    SolverProblem problem;
    problem.solves = images;
    problem.height = height;
    problem.width = width;
    return problem;
}

// ---- what a state is of ----

std::string name_of(Regulariser regulariser) { return word_of(regulariser_words, regulariser); }
std::string name_of(DataTerm data) { return word_of(data_words, data); }
std::string name_of(Boundary boundary) { return word_of(boundary_words, boundary); }

void check_kind(const std::string& where, const SolverProblem& problem, const std::string& regulariser,
                const std::string& data) {
    const std::string wanted = name_of(problem.regulariser), observed = name_of(problem.data);
    if (regulariser != wanted || data != observed)
        fail(where, ": a state of regulariser ", regulariser, " and operator ", data,
             ", where this solve has ", wanted, " and ", observed, "; give a state of the same two");
}

// ---- x̄ ----

/// A sum in double with the sizes of its terms, |terms| added up, which its rounding is measured by.
struct Sized {
    double sum = 0, size = 0;

    constexpr explicit Sized(double value) : sum(value), size(value < 0 ? -value : value) {}
    constexpr Sized(double sum_of, double size_of) : sum(sum_of), size(size_of) {}
    constexpr Sized operator-() const { return {-sum, size}; }
    constexpr Sized operator+(const Sized& b) const { return {sum + b.sum, size + b.size}; }
    constexpr Sized operator-(const Sized& b) const { return {sum - b.sum, size + b.size}; }
    constexpr Sized operator*(const Sized& b) const { return {sum * b.sum, size * b.size}; }
};

/// K*q at a pixel, by field.
template <Regulariser r>
std::array<Sized, family::primal_planes(r)> adjoint_differences(const float* q, std::int64_t plane,
                                                                const family::Links& at) {
    if constexpr (r == Regulariser::tgv)
        return {family::adjoint_difference<r, 0, false, Sized>(q, plane, at),
                family::adjoint_difference<r, 1, false, Sized>(q, plane, at),
                family::adjoint_difference<r, 2, false, Sized>(q, plane, at)};
    else
        return {family::adjoint_difference<r, 0, false, Sized>(q, plane, at)};
}

/// Refuses an x̄ that is not x − c·((p, 0) + K*q) up to the rounding of the step that made it. For tv and tv8 under either
/// boundary: where Neumann has no difference, q is 0.
template <Regulariser r>
void check_extrapolated(const std::string& where, const SolverProblem& problem, const SolverState& state) {
    const double c = state.extrapolation, rounding = std::ldexp(1.0, -24);
    if (!(c >= 0 && std::isfinite(c)))
        fail(where, ": an extrapolation of ", state.extrapolation, " is impossible", give_another);
    const std::int64_t pixels = problem.pixels(), fields = problem.fields();
    const bool periodic = r != Regulariser::tgv || state.boundary == Boundary::periodic;
    for (int n = 0; n < problem.solves; ++n)
        for (int i = 0; i < problem.height; ++i)
            for (int j = 0; j < problem.width; ++j) {
                const std::int64_t pixel = std::int64_t(i) * problem.width + j;
                auto pulls =
                    adjoint_differences<r>(state.q.data() + n * problem.components() * pixels + pixel, pixels,
                                           family::links(problem.height, problem.width, periodic, i, j));
                pulls[0] = pulls[0] + Sized(state.p[std::size_t(n * pixels + pixel)]);
                for (std::int64_t field = 0; field < fields; ++field) {
                    const std::size_t here = std::size_t((n * fields + field) * pixels + pixel);
                    const Sized& pull = pulls[std::size_t(field)];
                    const double x = state.x[here], x_bar = state.x_bar[here];
                    // The step rounds no term more than ten times (tv8's diagonals), each time something no larger, or
                    // so small that floats lie evenly; one more for what is of second order.
                    const double tolerance = 11 * rounding * (std::abs(x) + std::abs(x_bar) + c * pull.size) +
                                             11 * double(std::numeric_limits<float>::denorm_min());
                    if (!(std::abs(x - c * pull.sum - x_bar) <= tolerance))
                        fail(where, ": no run can have left this: x_bar is ", x_bar, " in row ", i,
                             ", column ", j, fields > 1 ? text(" of field ", field) : "", " of image ", n,
                             ", where x, p and q make it ", x - c * pull.sum, give_another);
                }
            }
}

void check_extrapolated(const std::string& where, const SolverProblem& problem, const SolverState& state) {
    switch (problem.regulariser) {
        case Regulariser::tv:
            return check_extrapolated<Regulariser::tv>(where, problem, state);
        case Regulariser::tv8:
            return check_extrapolated<Regulariser::tv8>(where, problem, state);
        case Regulariser::tgv:
            return check_extrapolated<Regulariser::tgv>(where, problem, state);
    }
}

/// family::exists of tv8, of which tv has the first two.
bool has_forward_difference(int component, const family::Links& at) {
    constexpr Regulariser r = Regulariser::tv8;
    const bool all[] = {family::exists<r, 0>(at), family::exists<r, 1>(at), family::exists<r, 2>(at),
                        family::exists<r, 3>(at)};
    return all[component];
}

// ---- files ----

StoredTensor& find(const std::string& path, SafeTensors& file, const std::string& name) {
    const auto tensor = file.tensors.find(name);
    if (tensor == file.tensors.end()) fail(path, ": holds no tensor ", name, give_another);
    return tensor->second;
}

std::vector<float> take(const std::string& path, SafeTensors& file, const std::string& name,
                        const std::vector<std::int64_t>& shape) {
    StoredTensor& tensor = find(path, file, name);
    if (tensor.shape != shape)
        fail(path, ": ", name, " is ", shape_text(tensor.shape), " where these images need ",
             shape_text(shape), "; give the state of a solve of images of this size");
    return std::move(tensor.values);
}

std::string metadata(const SafeTensors& file, const std::string& key, const std::string& otherwise) {
    const auto entry = file.metadata.find(key);
    return entry == file.metadata.end() ? otherwise : entry->second;
}

}  // namespace

void check_solver_state(const std::string& where, const SolverProblem& problem, const SolverState& state) {
    check_kind(where, problem, name_of(state.regulariser), name_of(state.data));
    for (const Part& part : parts(problem)) {
        const std::vector<float>& given = state.*part.values;
        std::int64_t wanted = 1;
        for (const std::int64_t side : part.shape) wanted *= side;
        if (std::int64_t(given.size()) != wanted)
            fail(where, ": ", part.name, " has ", given.size(), " values where the images need ", wanted,
                 "; give the state of a solve of such images");
        check_finite(text(where, ": ", part.name), given);
    }
    check_extrapolated(where, problem, state);
}

void check_solver_state(const std::string& where, const SolverState& state, int images, int height,
                        int width) {
    check_solver_state(where, plain_problem(images, height, width), state);
}

void make_feasible(const SolverProblem& problem, const Map& lambda, SolverState& state) {
    const bool periodic = problem.boundary == Boundary::periodic;
    const bool is_tgv = problem.regulariser == Regulariser::tgv;
    const int height = problem.height, width = problem.width;
    bool changed = is_tgv && state.boundary != problem.boundary;
    state.boundary = problem.boundary;
    float* at_q = state.q.data();
    for (int plane = 0; plane < problem.solves * problem.components(); ++plane) {
        const int component = plane % problem.components();
        const int map =
            problem.map == MapKind::separate ? component : family::shared_map(problem.regulariser, component);
        const float* bounds =
            lambda.values.data() + (problem.map == MapKind::scalar ? map : map * problem.pixels());
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j) {
                const bool exists =
                    is_tgv || has_forward_difference(component, family::links(height, width, periodic, i, j));
                const float bound = exists ? *bounds : 0.0f;
                float& q = *at_q++;
                if (problem.map != MapKind::scalar) ++bounds;
                if (std::abs(q) <= bound) continue;
                q = std::clamp(q, -bound, bound);
                changed = true;
            }
    }
    if (problem.data == DataTerm::huber)
        for (float& r : state.p) {
            if (std::abs(r) <= 1) continue;
            r = std::clamp(r, -1.0f, 1.0f);
            changed = true;
        }
    if (!changed) return;
    state.x_bar = state.x;
    state.extrapolation = 0;
}

void make_feasible(const PdhgProblem& problem, const Map& lambda, SolverState& state) {
    SolverProblem plain = plain_problem(problem.solves, problem.height, problem.width);
    plain.map = problem.map;
    plain.boundary = problem.boundary;
    make_feasible(plain, lambda, state);
}

SolverState read_solver_state(const std::string& path, const SolverProblem& problem) {
    SafeTensors file = read_safetensors(path);
    const std::vector<Part> all = parts(problem);
    for (const Part& part : all) find(path, file, part.name);
    check_kind(path, problem, metadata(file, "regulariser", "tv"), metadata(file, "operator", "identity"));
    SolverState state;
    state.regulariser = problem.regulariser;
    state.data = problem.data;
    const std::string boundary = metadata(file, "boundary", "periodic");
    state.boundary = boundary == "neumann" ? Boundary::neumann : Boundary::periodic;
    if (boundary != name_of(state.boundary)) fail(path, ": '", boundary, "' is no boundary", give_another);
    for (const Part& part : all) {
        state.*part.values = take(path, file, part.name, part.shape);
        check_finite(text(path, ": ", part.name), state.*part.values);
    }
    state.extrapolation = take(path, file, extrapolation, {1})[0];
    check_solver_state(path, problem, state);
    return state;
}

SolverState read_solver_state(const std::string& path, int images, int height, int width) {
    return read_solver_state(path, plain_problem(images, height, width));
}

void write_solver_state(const std::string& path, const SolverProblem& problem, SolverState state) {
    SafeTensors file;
    for (const Part& part : parts(problem))
        file.tensors[part.name] = {part.shape, std::move(state.*part.values)};
    file.tensors[extrapolation] = {{1}, {state.extrapolation}};
    if (problem.regulariser != Regulariser::tv || problem.data != DataTerm::identity)
        file.metadata = {{"regulariser", name_of(problem.regulariser)},
                         {"operator", name_of(problem.data)},
                         {"boundary", name_of(state.boundary)}};
    write_safetensors(path, file);
}

void write_solver_state(const std::string& path, SolverState state, int images, int height, int width) {
    write_solver_state(path, plain_problem(images, height, width), std::move(state));
}

}  // namespace tvmap
