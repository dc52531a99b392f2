#include "engine/solver/solver_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/files/safetensors.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"

namespace tvmap {
namespace {

struct Part {
    const char* name;
    std::vector<float> SolverState::*values;
    std::vector<std::int64_t> shape;
};

std::vector<Part> parts(int images, int height, int width) {
    return {{"x", &SolverState::x, {images, height, width}},
            {"x_bar", &SolverState::x_bar, {images, height, width}},
            {"p", &SolverState::p, {images, height, width}},
            {"q", &SolverState::q, {images, 2, height, width}}};
}
constexpr const char* extrapolation = "extrapolation";

StoredTensor& find(const std::string& path, SafeTensors& file, const std::string& name,
                   const std::vector<std::int64_t>& shape) {
    const auto tensor = file.tensors.find(name);
    if (tensor == file.tensors.end())
        fail(path, ": holds no tensor ", name, "; give a state that solve --state-out has written");
    if (tensor->second.shape != shape)
        fail(path, ": ", name, " is ", shape_text(tensor->second.shape), " where these images need ",
             shape_text(shape), "; give the state of a solve of images of this size");
    return tensor->second;
}

/// Refuses an x̄ that is not x − c·(p + ∇ᵀq) up to the rounding of the step that made it. Under either boundary: where
/// Neumann has no difference, q is 0.
void check_extrapolated(const std::string& where, const SolverState& state, int images, int height,
                        int width) {
    const double c = state.extrapolation, rounding = std::ldexp(1.0, -24);
    if (!(c >= 0 && std::isfinite(c)))
        fail(where, ": an extrapolation of ", state.extrapolation,
             " is impossible; give a state that solve "
             "--state-out has written");
    const std::int64_t pixels = std::int64_t(height) * width;
    for (int n = 0; n < images; ++n)
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j) {
                const std::int64_t pixel = std::int64_t(i) * width + j, here = n * pixels + pixel;
                const float* q = state.q.data() + 2 * n * pixels;
                const double x = state.x[here], x_bar = state.x_bar[here];
                const double terms[] = {state.p[here],
                                        q[(i > 0 ? i - 1 : height - 1) * std::int64_t(width) + j],
                                        -double(q[pixel]), q[pixels + pixel + (j > 0 ? -1 : width - 1)],
                                        -double(q[pixels + pixel])};
                double sum = 0, size = 0;
                for (const double term : terms) {
                    sum += term;
                    size += std::abs(term);
                }
                // The step rounds fewer than ten times, each time something no larger.
                const double tolerance = 10 * rounding * (std::abs(x) + std::abs(x_bar) + c * size);
                if (!(std::abs(x - c * sum - x_bar) <= tolerance))
                    fail(where, ": no run can have left this: x_bar is ", x_bar, " in row ", i, ", column ",
                         j, " of image ", n, ", where x, p and q make it ", x - c * sum,
                         "; give a state that solve --state-out has written");
            }
}

}  // namespace

void check_solver_state(const std::string& where, const SolverState& state, int images, int height,
                        int width) {
    const std::size_t values = std::size_t(images) * std::size_t(height) * std::size_t(width);
    for (const Part& part : parts(images, height, width)) {
        const std::vector<float>& given = state.*part.values;
        const std::size_t wanted = part.values == &SolverState::q ? 2 * values : values;
        if (given.size() != wanted)
            fail(where, ": ", part.name, " has ", given.size(), " values where the images need ", wanted,
                 "; give the state of a solve of such images");
        check_finite(text(where, ": ", part.name), given);
    }
    check_extrapolated(where, state, images, height, width);
}

void make_feasible(const PdhgProblem& problem, const Regularisation& lambda, SolverState& state) {
    const bool neumann = problem.boundary == Boundary::neumann;
    const std::int64_t pixels = problem.pixels();
    bool changed = false;
    for (std::int64_t k = 0; k < std::int64_t(state.q.size()); ++k) {
        const std::int64_t component = k / pixels % 2, pixel = k % pixels;
        const bool across = neumann && (component == 0 ? pixel / problem.width + 1 == problem.height
                                                       : pixel % problem.width + 1 == problem.width);
        const std::int64_t at = problem.map == MapKind::scalar   ? 0
                                : problem.map == MapKind::shared ? pixel
                                                                 : component * pixels + pixel;
        const float bound = across ? 0.0f : lambda.values[std::size_t(at)];
        float& q = state.q[std::size_t(k)];
        if (std::abs(q) <= bound) continue;
        q = std::clamp(q, -bound, bound);
        changed = true;
    }
    if (!changed) return;
    state.x_bar = state.x;
    state.extrapolation = 0;
}

SolverState read_solver_state(const std::string& path, int images, int height, int width) {
    SafeTensors file = read_safetensors(path);
    SolverState state;
    for (const Part& part : parts(images, height, width)) {
        state.*part.values = std::move(find(path, file, part.name, part.shape).values);
        check_finite(text(path, ": ", part.name), state.*part.values);
    }
    state.extrapolation = find(path, file, extrapolation, {1}).values[0];
    check_solver_state(path, state, images, height, width);
    return state;
}

void write_solver_state(const std::string& path, SolverState state, int images, int height, int width) {
    SafeTensors file;
    for (const Part& part : parts(images, height, width))
        file.tensors[part.name] = {part.shape, std::move(state.*part.values)};
    file.tensors[extrapolation] = {{1}, {state.extrapolation}};
    write_safetensors(path, file);
}

}  // namespace tvmap
