// The family's problem, whoever solves it: sizes, operator norm and steps, checks, workspace, masks.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/sizes.h"
#include "kernels/family/family_step.h"
#include "kernels/solver/pdhg_problem.h"

namespace tvmap {
namespace {

// D₈: the diagonals' differences included; the least cosine of a side's frequencies is the worst. Without a border there
// are more differences, and so a larger norm, than with one.
double eight_neighbours(const SolverProblem& s) {
    const auto least_cosine = [&](int n) {
        if (s.boundary == Boundary::neumann && n > 1) return -1.0;
        const int half = n / 2;  // rounded down: the highest frequency of an odd side
        return std::cos(2 * std::numbers::pi * half / n);
    };
    const double v = least_cosine(s.height), h = least_cosine(s.width);
    return 6 - 2 * v - 2 * h - 2 * v * h;
}

}  // namespace

int SolverProblem::fields() const { return family::primal_planes(regulariser); }
int SolverProblem::components() const { return family::components(regulariser); }
int SolverProblem::decisions() const { return components() + (data == DataTerm::huber ? 1 : 0); }
int SolverProblem::maps() const {
    if (map == MapKind::separate) return components();
    return regulariser == Regulariser::tgv ? 2 : 1;
}
std::int64_t SolverProblem::gram_size() const {
    if (data == DataTerm::weights) return images() * pixels();
    if (data == DataTerm::blur) return std::int64_t(2 * kernel_height - 1) * (2 * kernel_width - 1);
    return 0;
}

double solver_norm_squared(const SolverProblem& problem) {
    const double a = problem.gram_norm;
    if (problem.regulariser == Regulariser::tv8) return a + eight_neighbours(problem);
    const double norm = pdhg_operator_norm(problem.height, problem.width, problem.boundary);
    const double differences = norm * norm - 1;
    if (problem.regulariser == Regulariser::tv) return a + differences;
    return differences + (1 + a + std::sqrt((1 - a) * (1 - a) + 4 * differences)) / 2;
}

double solver_step_bound(double theta) { return theta >= 0.5 && theta <= 1 ? 4 / (1 + 2 * theta) : 1; }

std::string solver_step_warning(const SolverProblem& problem) {
    const double product = double(problem.tau) * problem.sigma * solver_norm_squared(problem);
    if (product <= 1 + 1e-5) return {};  // τ and σ are rounded to float
    return text("steps: tau*sigma*L^2 is ", product,
                ", above the classical bound of 1; proven to converge up to ",
                solver_step_bound(problem.theta), " for theta ", problem.theta);
}

void check_solver(const char* where, const SolverProblem& problem, int iterations) {
    const SolverProblem& s = problem;
    if (s.solves < 1 || s.height < 1 || s.width < 1 || s.solves_per_image < 1 || iterations < 0)
        fail(where, ": impossible problem: ", s.solves, " solves (", s.solves_per_image, " per image) of ",
             s.height, "x", s.width, ", ", iterations, " iterations; sizes must be at least 1");
    checked_product("the solver's images, bytes", s.solves, s.height, s.width, 128);
    const bool blurs = s.data == DataTerm::blur, shrinks = s.data == DataTerm::super_resolution;
    const auto fits = [](int size, int image) { return size >= 1 && size % 2 == 1 && size <= image; };
    if (blurs ? !fits(s.kernel_height, s.height) || !fits(s.kernel_width, s.width)
              : s.kernel_height != 1 || s.kernel_width != 1)
        fail(where, ": a kernel of ", s.kernel_height, "x", s.kernel_width, " for an image of ", s.height,
             "x", s.width,
             blurs ? "; give odd sizes, no larger than the image" : " without blur; leave it at 1x1");
    if (shrinks ? s.factor < 1 || s.height % s.factor != 0 || s.width % s.factor != 0 : s.factor != 1)
        fail(where, ": a factor of ", s.factor, " for an image of ", s.height, "x", s.width,
             shrinks ? "; give one that divides both sides" : " without super_resolution; leave it at 1");
    if (s.data == DataTerm::huber && s.regulariser == Regulariser::tgv)
        fail(where,
             ": tgv with Huber's data term has six decisions a pixel, more than a byte holds; take tv or "
             "tv8");
    if (!(s.threshold >= 0) || !std::isfinite(s.threshold) || (s.data != DataTerm::huber && s.threshold != 0))
        fail(where, ": a threshold of ", s.threshold,
             s.data == DataTerm::huber ? "; give 0 or more" : " without Huber's data term; leave it at 0");
    if (!(s.gram_norm >= 0) || !std::isfinite(s.gram_norm))
        fail(where, ": gram_norm is ", s.gram_norm, "; take it from gram_norm()");
    const double squared = solver_norm_squared(s), bound = solver_step_bound(s.theta);
    if (!(s.tau > 0) || !(s.sigma > 0) || !(s.theta >= 0) ||
        double(s.tau) * s.sigma * squared > bound * (1 + 1e-5))  // 1e-5: τ and σ are rounded to float
        fail(where, ": steps tau ", s.tau, " and sigma ", s.sigma, " (theta ", s.theta,
             ") are not proven to converge on ", s.height, "x", s.width,
             "; keep both positive and tau*sigma at most ", bound / squared, " (", 1 / squared,
             " for the classical bound)");
}

std::size_t solver_mask_bytes(const SolverProblem& problem, int iterations) {
    const std::int64_t bytes = checked_product("masks of the solver, bytes", problem.solves, iterations,
                                               problem.height, problem.width);
    return aligned(std::size_t(bytes));
}

std::size_t solver_workspace_bytes(const SolverProblem& problem) {
    check_solver("solver_workspace_bytes", problem, 0);
    return family::Workspace(problem).bytes;
}

namespace family {

Workspace::Workspace(const SolverProblem& problem, void* memory) {
    BumpAllocator pieces(memory);
    const auto take = [&]<class T>(T*& part, std::int64_t planes, std::int64_t of) {
        const std::int64_t size =
            checked_product("workspace of the solver, bytes", problem.solves, planes, of, sizeof(T));
        part = pieces.take<T>(std::size_t(size) / sizeof(T));
        bytes = pieces.bytes();
    };
    const std::int64_t pixels = problem.pixels();
    take(state.x, problem.fields(), pixels);
    take(state.x_bar, problem.fields(), pixels);
    take(state.p, 1, pixels);
    take(state.q, problem.components(), pixels);
    if (!problem.observes_image()) take(gram_plane, 1, pixels);
    take(sum_r, 1, pixels);
    take(d_maps, problem.maps(), pixels);
    if (problem.map == MapKind::scalar) take(row_sums, problem.maps(), problem.height);
}

namespace {

Task task_of(const char* where, const SolverProblem& problem, int iterations, const float* gram,
             bool start_from_state, bool has_state, const PdhgWorkspace& workspace, bool adjoint) {
    check_solver(where, problem, iterations);
    if (start_from_state && !has_state)
        fail(where, ": told to start from a state but given none; pass the state or start afresh");
    if (problem.gram_size() > 0 && gram == nullptr)
        fail(where,
             ": no array for the data term; pass the weights, or what blur_gram() makes of the kernel");
    check_pdhg_workspace(where, workspace, Workspace(problem).bytes);
    const Workspace space(problem, workspace.memory);
    Task t;
    t.solves = problem.solves;
    t.height = problem.height;
    t.width = problem.width;
    t.solves_per_image = problem.solves_per_image;
    t.fields = problem.fields();
    t.components = problem.components();
    t.maps = problem.maps();
    t.periodic = problem.boundary == Boundary::periodic;
    t.adjoint = adjoint;
    t.scalar_map = problem.map == MapKind::scalar;
    t.a = adjoint ? problem.tau : problem.sigma;
    t.b = adjoint ? problem.sigma : problem.tau;
    t.huber = problem.data == DataTerm::huber;
    t.s = 1.0f / (1.0f + (t.huber ? problem.sigma * problem.threshold : problem.sigma));
    t.theta = problem.theta;
    t.sigma = problem.sigma;
    t.gram = gram_operator(problem, gram);
    t.at = space.state;
    t.gram_plane = space.gram_plane;
    t.start_from_state = start_from_state;
    t.steps_of_masks = iterations;
    return t;
}

}  // namespace

Task forward_task(const char* where, const SolverProblem& problem, int iterations, const SolverInput& input,
                  const PdhgOutput& output, const PdhgWorkspace& workspace) {
    Task t = task_of(where, problem, iterations, input.gram, output.start_from_state, output.state != nullptr,
                     workspace, false);
    if (problem.own_start && input.start == nullptr && !output.start_from_state)
        fail(where, ": own_start, but no image to start from; pass it, or start from b");
    if (output.state != nullptr) t.at = *output.state;
    t.image = input.b;
    t.first = problem.own_start ? input.start : input.b;
    t.lambda = input.lambda;
    t.masks = output.masks;
    t.x = output.x;
    return t;
}

Task adjoint_task(const char* where, const SolverProblem& problem, int iterations, const float* gram,
                  const PdhgAdjoint& adjoint, const SolverDerivatives& derivatives,
                  const PdhgWorkspace& workspace) {
    Task t = task_of(where, problem, iterations, gram, adjoint.start_from_state, adjoint.state != nullptr,
                     workspace, true);
    if (adjoint.masks == nullptr && iterations > 0)
        fail(where, ": no masks; run solver_forward with masks and pass them on");
    const Workspace space(problem, workspace.memory);
    t.sum_r = space.sum_r;
    t.d_maps = space.d_maps;
    if (adjoint.state != nullptr) {
        t.at = {adjoint.state->y, adjoint.state->y_bar, adjoint.state->p, adjoint.state->q};
        if (adjoint.state->sum_p != nullptr) t.sum_r = adjoint.state->sum_p;
    }
    t.clear_sum = !adjoint.start_from_state || adjoint.state->sum_p == nullptr;
    t.first = adjoint.d_x;
    t.masks = const_cast<std::uint8_t*>(adjoint.masks);  // only read
    if (adjoint.one_mask) t.steps_of_masks = 1;
    t.out = derivatives;
    t.first_in_b = adjoint.from_image && !problem.own_start;
    t.first_in_start = adjoint.from_image && problem.own_start;
    t.accumulate = derivatives.write == Write::accumulate;
    t.settling = adjoint.settling;
    return t;
}

}  // namespace family

namespace cpu {

void solver_unpack_mask(const SolverProblem& problem, int iterations, const std::uint8_t* masks, int solve,
                        int iteration, std::int8_t* e) {
    if (solve < 0 || solve >= problem.solves || iteration < 0 || iteration >= iterations)
        fail("solver_unpack_mask: solve ", solve, " of ", problem.solves, ", iteration ", iteration, " of ",
             iterations, ": count both from 0");
    const std::int64_t pixels = problem.pixels();
    const std::uint8_t* step = masks + (std::int64_t(solve) * iterations + iteration) * pixels;
    for (std::int64_t i = 0; i < pixels; ++i) {
        unsigned code = step[i];
        for (int c = 0; c < problem.decisions(); ++c, code /= 3)
            e[c * pixels + i] = std::int8_t(family::digit<0>(code));
    }
}

}  // namespace cpu
}  // namespace tvmap
