#include "engine/solver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/aligned_buffer.h"
#include "engine/stopwatch.h"
#include "kernels/error.h"
#include "kernels/loss.h"

namespace tvmap {
namespace {

/// Steps × pixels of one uninterrupted piece of long work: a tenth of a second or so.
constexpr double piece_of_work = 3e8;
/// A piece has so many steps at least, since the solver carries several through the memory at once.
constexpr int least_piece = 64;

/// Λ of every solve, one after the other, as the kernel reads it; a single solve reads it where it stands.
class Maps {
  public:
    Maps(const PdhgProblem& problem, const Regularisation& lambda) : data_(lambda.values.data()) {
        if (problem.solves == 1) return;
        for (int n = 0; n < problem.solves; ++n)
            repeated_.insert(repeated_.end(), lambda.values.begin(), lambda.values.end());
        data_ = repeated_.data();
    }
    Maps(const Maps&) = delete;
    Maps& operator=(const Maps&) = delete;

    const float* data() const { return data_; }
    std::size_t bytes() const { return repeated_.size() * sizeof(float); }

  private:
    std::vector<float> repeated_;
    const float* data_;
};

/// Runs in pieces that carry the iterates on, to look at the gap or to be stopped in between.
class PiecewiseSolve {
  public:
    PiecewiseSolve(const PdhgProblem& problem, const ImageStack& z, const Maps& lambda, SolverState& state)
        : problem_(problem), z_(z), lambda_(lambda), state_(state) {}

    Solution run(int iterations, const SolveOptions& options, void* workspace) {
        bool go_on = !state_.empty();
        if (!go_on) state_ = SolverState(z_.values.size());
        const PdhgState iterates{state_.x.data(), state_.x_bar.data(), state_.p.data(), state_.q.data()};
        const double pixels = double(problem_.solves) * double(problem_.pixels());
        const int piece = options.watch_gap
                              ? options.check_every
                              : std::max(least_piece, int(std::min(1e9, piece_of_work / pixels)));
        Solution solution;
        solution.x.resize(z_.values.size());
        while (solution.steps < iterations && !solution.stopped && !solution.reached) {
            const int steps = std::min(piece, iterations - solution.steps);
            const Stopwatch watch;
            cpu::pdhg_forward(problem_, steps, z_.values.data(), lambda_.data(), solution.x.data(), nullptr,
                              &iterates, go_on, workspace);
            solution.seconds += watch.seconds();
            solution.steps += steps;
            go_on = true;
            if (options.watch_gap) {
                keep_best(solution, options);
                solution.reached =
                    std::all_of(solution.gaps.begin(), solution.gaps.end(),
                                [&](const cpu::PdhgGap& gap) { return gap.relative() <= options.tolerance; });
            }
            if (options.proceed && !options.proceed(solution.steps)) solution.stopped = true;
        }
        if (options.watch_gap) solution.x = std::move(best_);
        return solution;
    }

  private:
    void keep_best(Solution& solution, const SolveOptions& options) {
        const std::int64_t pixels = problem_.pixels();
        const bool first = solution.gaps.empty();
        solution.gaps.resize(problem_.solves);
        best_.resize(solution.x.size());
        for (int n = 0; n < problem_.solves; ++n) {
            const float* x = solution.x.data() + n * pixels;
            const cpu::PdhgGap gap =
                cpu::pdhg_gap(problem_, z_.values.data() + n * pixels,
                              lambda_.data() + n * problem_.map_size(), x, state_.q.data() + 2 * n * pixels);
            if (options.trace) options.trace(solution.steps, n, gap);
            if (!first && !(gap.relative() < solution.gaps[n].relative())) continue;
            solution.gaps[n] = gap;
            std::copy(x, x + pixels, best_.begin() + n * pixels);
        }
    }

    const PdhgProblem& problem_;
    const ImageStack& z_;
    const Maps& lambda_;
    SolverState& state_;
    std::vector<float> best_;
};

void check_state(const SolverState& state, std::size_t values) {
    const std::pair<const char*, const std::vector<float>*> parts[] = {
        {"x", &state.x}, {"x_bar", &state.x_bar}, {"p", &state.p}, {"q", &state.q}};
    for (const auto& [name, part] : parts) {
        const std::size_t wanted = part == &state.q ? 2 * values : values;
        if (part->size() != wanted)
            fail("state: ", name, " has ", part->size(), " values where the images need ", wanted,
                 "; give the state of a solve of such images");
        check_finite(text("state: ", name), *part);
    }
}

}  // namespace

void check_finite(const std::string& name, const std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values[i]))
            fail(name, ": value number ", i, " is ", values[i], "; give finite numbers alone");
}

PdhgProblem solver_problem(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
                           const KeyPlace& where) {
    MapConfig map;
    map.separate = lambda.kind == MapKind::separate;
    PdhgProblem problem = pdhg_problem(solver, map, z.images, z.height, z.width, where);
    problem.map = lambda.kind;
    if (std::int64_t(z.values.size()) != z.images * problem.pixels())
        fail("images: ", z.values.size(), " values do not make ", z.images, "×", z.height, "×", z.width);
    if (std::int64_t(lambda.values.size()) != problem.map_size())
        fail("lambda: ", lambda.values.size(), " values where images of ", z.height, "×", z.width, " need ",
             problem.map_size(), "; give a number or a map of the images' size");
    check_finite("images", z.values);
    check_finite("lambda", lambda.values);
    for (std::size_t i = 0; i < lambda.values.size(); ++i)
        if (lambda.values[i] < 0)
            fail("lambda: value number ", i, " is ", lambda.values[i], "; give 0 or more everywhere");
    return problem;
}

void check_target(const ImageStack& z, const ImageStack& target) {
    if (target.images != z.images || target.height != z.height || target.width != z.width)
        fail("target: ", target.images, "×", target.height, "×", target.width, " does not fit images of ",
             z.images, "×", z.height, "×", z.width, "; give a clean image for each");
    check_finite("target", target.values);
}

Solution solve(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
               const SolveOptions& options) {
    const PdhgProblem problem = solver_problem(solver, z, lambda);
    if (options.repeat < 1) fail("solver: ", options.repeat, " runs; give 1 or more");
    if (options.watch_gap && options.check_every < 1)
        fail("solver: the gap every ", options.check_every, " steps; give 1 or more");
    if (options.state && !options.state->empty()) check_state(*options.state, z.values.size());
    const Maps maps(problem, lambda);
    const AlignedBuffer<std::byte> workspace(cpu::pdhg_workspace_bytes(problem));
    const double work = double(z.values.size()) * solver.iterations;
    if (options.repeat == 1 &&
        (options.state || options.watch_gap || (options.proceed && work > 2 * piece_of_work))) {
        SolverState own;
        return PiecewiseSolve(problem, z, maps, options.state ? *options.state : own)
            .run(solver.iterations, options, workspace.data());
    }

    Solution solution;
    solution.x.resize(z.values.size());
    std::vector<double> seconds;
    for (int run = 0; run < options.repeat && !solution.stopped; ++run) {
        const Stopwatch watch;
        cpu::pdhg_forward(problem, solver.iterations, z.values.data(), maps.data(), solution.x.data(),
                          nullptr, nullptr, false, workspace.data());
        seconds.push_back(watch.seconds());
        solution.stopped = options.proceed && run + 1 < options.repeat && !options.proceed(solver.iterations);
    }
    solution.steps = solver.iterations;
    solution.seconds = median(seconds);
    return solution;
}

SolverGradient solver_gradient(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
                               const ImageStack& target, int repeat, bool with_d_z) {
    const PdhgProblem problem = solver_problem(solver, z, lambda);
    if (repeat < 1) fail("solver: ", repeat, " runs; give 1 or more");
    check_target(z, target);

    const Maps maps(problem, lambda);
    const AlignedBuffer<std::byte> workspace(cpu::pdhg_workspace_bytes(problem));
    const AlignedBuffer<std::uint8_t> masks(cpu::pdhg_mask_bytes(problem, solver.iterations));
    std::vector<float> x(z.values.size());  // then ∂mse/∂x
    std::vector<double> image_mse(z.images);
    const Features shape = dense_features(z.images, 1, z.height, z.width, 1);

    SolverGradient gradient;
    gradient.d_lambda.resize(problem.solves * lambda.values.size());
    if (with_d_z) gradient.d_z.resize(z.values.size());
    gradient.bytes = masks.size() + workspace.size() + maps.bytes() +
                     sizeof(float) * (x.size() + gradient.d_lambda.size() + gradient.d_z.size());
    std::vector<double> seconds;
    for (int run = 0; run < repeat; ++run) {
        const Stopwatch watch;
        cpu::pdhg_forward(problem, solver.iterations, z.values.data(), maps.data(), x.data(), masks.data(),
                          nullptr, false, workspace.data());
        const ConstView result{x.data(), shape}, clean{target.values.data(), shape};
        gradient.mse = cpu::loss_forward(LossKind::mse, result, clean, image_mse.data());
        cpu::loss_backward(LossKind::mse, result, clean, image_mse.data(), {x.data(), shape},
                           Write::overwrite);
        cpu::pdhg_adjoint(problem, solver.iterations, masks.data(), x.data(), gradient.d_lambda.data(),
                          with_d_z ? gradient.d_z.data() : nullptr, Write::overwrite, workspace.data());
        seconds.push_back(watch.seconds());
    }
    gradient.seconds = median(seconds);

    // The images share one map: its gradient is the sum over them.
    const std::size_t map_size = lambda.values.size();
    for (std::size_t i = 0; i < map_size; ++i) {
        double sum = 0;
        for (std::size_t at = i; at < gradient.d_lambda.size(); at += map_size) sum += gradient.d_lambda[at];
        gradient.d_lambda[i] = float(sum);
    }
    gradient.d_lambda.resize(map_size);
    return gradient;
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

}  // namespace tvmap
