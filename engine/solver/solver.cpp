#include "engine/solver/solver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/config/solver_problem.h"
#include "engine/files/stopwatch.h"
#include "engine/graph/solver_mapping.h"
#include "engine/solver/solver_state.h"
#include "engine/solver/whole_arrays.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"

namespace tvmap {
namespace {

/// Steps × pixels of one uninterrupted piece of long work: a tenth of a second or so.
double piece_of_work(const Backend& backend) { return backend.separate_memory() ? 1e10 : 3e8; }
/// A piece has so many steps at least, since the solver carries several through the memory at once.
constexpr int least_piece = 64;

/// Λ of every solve, one after the other, as the kernel reads it; a single solve reads it where it stands.
class Maps {
  public:
    Maps(Backend& backend, const PdhgProblem& problem, const Map& lambda)
        : repeated_(problem.solves > 1 ? repeated(lambda.values, problem.solves) : std::vector<float>()),
          maps_(backend, repeated_.empty() ? lambda.values.data() : repeated_.data(),
                std::size_t(problem.solves * problem.map_size())) {}

    const float* data() const { return maps_.data(); }
    std::size_t bytes() const { return repeated_.size() * sizeof(float); }

  private:
    std::vector<float> repeated_;
    DeviceInput<float> maps_;
};

/// The iterates where the kernel works on them.
class DeviceState {
  public:
    DeviceState(Backend& backend, SolverState& host)
        : x_(backend, host.x.data(), host.x.size()),
          x_bar_(backend, host.x_bar.data(), host.x_bar.size()),
          p_(backend, host.p.data(), host.p.size()),
          q_(backend, host.q.data(), host.q.size()) {}

    PdhgState iterates() const { return {x_.data(), x_bar_.data(), p_.data(), q_.data()}; }
    void upload() {
        for (DeviceMirror<float>* part : {&x_, &x_bar_, &p_, &q_}) part->upload();
    }
    void download() const {
        for (const DeviceMirror<float>* part : {&x_, &x_bar_, &p_, &q_}) part->download();
    }
    void download_q() const { q_.download(); }

  private:
    DeviceMirror<float> x_, x_bar_, p_, q_;
};

/// Runs in pieces that carry the iterates on, to look at the gap or to be stopped in between.
class PiecewiseSolve {
  public:
    PiecewiseSolve(Backend& backend, const PdhgProblem& problem, const ImageStack& z, const Map& lambda,
                   SolverState& state)
        : backend_(backend), problem_(problem), z_(z), lambda_(lambda), state_(state) {}

    Solution run(int iterations, const SolveOptions& options, const float* z, const float* lambda,
                 const PdhgWorkspace& workspace) {
        const bool warm = !state_.empty();
        bool go_on = warm;
        if (!warm) state_ = options.residuals ? first_iterates() : SolverState(z_.values.size());
        DeviceState state(backend_, state_);
        if (go_on || options.residuals) {
            state.upload();
            go_on = true;
        }
        const PdhgState iterates = state.iterates();
        const double pixels = double(problem_.solves) * double(problem_.pixels());
        const int piece = options.watch_gap
                              ? options.check_every
                              : std::max(least_piece, int(std::min(1e9, piece_of_work(backend_) / pixels)));
        Solution solution;
        solution.x.resize(z_.values.size());
        const DeviceMirror<float> x(backend_, solution.x.data(), solution.x.size());
        const auto advance = [&](int steps) {
            if (steps == 0) return;
            solution.seconds += seconds_of(backend_, [&] {
                backend_.pdhg_forward(problem_, steps, {z, lambda},
                                      {.x = x.data(), .state = &iterates, .start_from_state = go_on},
                                      workspace);
            });
            solution.steps += steps;
            go_on = true;
        };
        if (warm && options.watch_gap && options.tolerance >= 0) {  // perhaps there is nothing left to do
            std::copy(state_.x.begin(), state_.x.end(), solution.x.begin());
            keep_best(solution, {});
            solution.reached = within(solution.gaps, options.tolerance);
            // An image that needs no step goes on with the others, and its start is then no result of this run.
            if (!solution.reached) solution.gaps.clear();
        }
        while (solution.steps < iterations && !solution.stopped && !solution.reached) {
            const int steps = std::min(piece, iterations - solution.steps);
            if (options.residuals) {  // which need the iterates on both sides of the last step
                advance(steps - 1);
                state.download();
                before_ = state_;
                advance(1);
                state.download();
            } else {
                advance(steps);
            }
            if (options.watch_gap) {
                x.download();
                if (!options.residuals) state.download_q();
                keep_best(solution, options);
                solution.reached = within(solution.gaps, options.tolerance);
            }
            if (options.proceed && !options.proceed(solution.steps)) solution.stopped = true;
        }
        if (options.state) state.download();
        if (solution.steps > 0) state_.extrapolation = float(double(problem_.theta) * problem_.tau);
        if (options.watch_gap)
            solution.x = std::move(best_);
        else
            x.download();
        return solution;
    }

  private:
    static bool within(const std::vector<cpu::PdhgGap>& gaps, double tolerance) {
        return std::all_of(gaps.begin(), gaps.end(),
                           [&](const cpu::PdhgGap& gap) { return gap.relative() <= tolerance; });
    }

    SolverState first_iterates() const {
        SolverState start(z_.values.size());
        start.x = start.x_bar = z_.values;
        if (problem_.dual_start == DualStart::image) start.p = z_.values;
        return start;
    }

    PdhgState iterates_of(SolverState& state, int image) const {
        const std::int64_t first = image * problem_.pixels();
        return {&state.x[first], &state.x_bar[first], &state.p[first], &state.q[2 * first]};
    }

    /// The best iterate of each image or, where no tolerance is asked for, the last. Gaps are measured on the host, in
    /// double.
    void keep_best(Solution& solution, const SolveOptions& options) {
        const std::int64_t pixels = problem_.pixels();
        const bool first = solution.gaps.empty(), to_tolerance = options.tolerance >= 0;
        solution.gaps.resize(problem_.solves);
        best_.resize(solution.x.size());
        for (int n = 0; n < problem_.solves; ++n) {
            const float* x = solution.x.data() + n * pixels;
            const cpu::PdhgGap gap =
                cpu::pdhg_gap(problem_, z_.values.data() + n * pixels, lambda_.values.data(), x,
                              state_.q.data() + 2 * n * pixels);
            if (options.trace) options.trace(solution.steps, n, gap);
            if (options.residuals)
                options.residuals(solution.steps, n,
                                  pdhg_residuals(problem_, iterates_of(before_, n), iterates_of(state_, n)));
            if (!first && to_tolerance && !(gap.relative() < solution.gaps[n].relative())) continue;
            solution.gaps[n] = gap;
            std::copy(x, x + pixels, best_.begin() + n * pixels);
        }
    }

    Backend& backend_;
    const PdhgProblem& problem_;
    const ImageStack& z_;
    const Map& lambda_;
    SolverState& state_;
    SolverState before_;
    std::vector<float> best_;
};

}  // namespace

void check_finite(const std::string& name, const std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values[i]))
            fail(name, ": value number ", i, " is ", values[i], "; give finite numbers alone");
}

PdhgProblem solver_problem(const SolverConfig& solver, const ImageStack& z, const Map& lambda,
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
    check_target(z.images, z.height, z.width, target);
}

Solution solve(Backend& backend, const SolverConfig& solver, const ImageStack& z, const Map& lambda,
               const SolveOptions& options) {
    const PdhgProblem problem = solver_problem(solver, z, lambda);
    if (options.repeat < 1) fail("solver: ", options.repeat, " runs; give 1 or more");
    if (options.residuals && !options.watch_gap)
        fail("solver: residuals are measured with the gap; ask for both");
    if (options.watch_gap && options.check_every < 1)
        fail("solver: the gap every ", options.check_every, " steps; give 1 or more");
    if (options.state && !options.state->empty()) {
        check_solver_state("state", *options.state, z.images, z.height, z.width);
        make_feasible(problem, lambda, *options.state);
    }
    settle_solver_mapping(backend, problem);
    const Maps maps(backend, problem, lambda);
    const DeviceInput<float> noisy(backend, z.values.data(), z.values.size());
    const DeviceArray<std::byte> workspace(backend, backend.pdhg_workspace_bytes(problem));
    const double work = double(z.values.size()) * solver.iterations;
    if (options.repeat == 1 &&
        (options.state || options.watch_gap || (options.proceed && work > 2 * piece_of_work(backend)))) {
        SolverState own;
        return PiecewiseSolve(backend, problem, z, lambda, options.state ? *options.state : own)
            .run(solver.iterations, options, noisy.data(), maps.data(),
                 {workspace.data(), workspace.bytes()});
    }

    Solution solution;
    solution.x.resize(z.values.size());
    const DeviceMirror<float> x(backend, solution.x.data(), solution.x.size());
    std::vector<double> seconds;
    for (int run = 0; run < options.repeat && !solution.stopped; ++run) {
        seconds.push_back(seconds_of(backend, [&] {
            backend.pdhg_forward(problem, solver.iterations, {noisy.data(), maps.data()}, {.x = x.data()},
                                 {workspace.data(), workspace.bytes()});
        }));
        solution.stopped = options.proceed && run + 1 < options.repeat && !options.proceed(solver.iterations);
    }
    x.download();
    solution.steps = solver.iterations;
    solution.seconds = median(seconds);
    return solution;
}

SolverGradient solver_gradient(Backend& backend, const SolverConfig& solver, const ImageStack& z,
                               const Map& lambda, const ImageStack& target, int repeat, bool with_d_z) {
    const PdhgProblem problem = solver_problem(solver, z, lambda);
    check_target(z, target);
    settle_solver_mapping(backend, problem);
    UnrolledSolver unrolled(backend, problem, solver.iterations, solver.gradient);
    const Maps maps(backend, problem, lambda);
    const DeviceInput<float> noisy(backend, z.values.data(), z.values.size());
    std::vector<float> d_z_values(with_d_z ? z.values.size() : 0);
    const DeviceMirror<float> d_z(backend, d_z_values.data(), d_z_values.size());
    SolverGradient gradient =
        measured_gradient(backend, unrolled, {.b = noisy.data(), .lambda = maps.data()}, lambda.values.size(),
                          target, repeat, with_d_z ? d_z.data() : nullptr, nullptr);
    d_z.download();
    gradient.d_z = std::move(d_z_values);
    gradient.bytes += maps.bytes() + sizeof(float) * gradient.d_z.size();
    return gradient;
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

}  // namespace tvmap
