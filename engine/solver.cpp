#include "engine/solver.h"

#include <algorithm>
#include <cmath>

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

/// Λ of every solve, one after the other, as the kernel reads it.
void repeat_map(const Regularisation& lambda, AlignedBuffer<float>& maps) {
    for (std::size_t at = 0; at < maps.size(); at += lambda.values.size())
        std::copy(lambda.values.begin(), lambda.values.end(), maps.begin() + at);
}

/// The memory of a solve: inputs in the kernel's alignment, result, workspace.
struct Memory {
    AlignedBuffer<float> z, lambda, x;
    AlignedBuffer<std::byte> workspace;

    Memory(const PdhgProblem& problem, const ImageStack& images, const Regularisation& regularisation)
        : z(images.values.size()),
          lambda(problem.solves * problem.map_size()),
          x(images.values.size()),
          workspace(cpu::pdhg_workspace_bytes(problem)) {
        std::copy(images.values.begin(), images.values.end(), z.begin());
        repeat_map(regularisation, lambda);
    }
};

/// Runs in pieces that carry the iterates on, to look at the gap or to be stopped in between.
class PiecewiseSolve {
  public:
    PiecewiseSolve(const PdhgProblem& problem, const Memory& memory)
        : problem_(problem),
          memory_(memory),
          x_(memory.x.size()),
          x_bar_(memory.x.size()),
          p_(memory.x.size()),
          q_(2 * memory.x.size()) {}

    Solution run(int iterations, const SolveOptions& options) {
        Solution solution;
        const double pixels = double(problem_.solves) * double(problem_.pixels());
        const int piece = options.watch_gap
                              ? options.check_every
                              : std::max(least_piece, int(std::min(1e9, piece_of_work / pixels)));
        solution.x.resize(memory_.x.size());
        const PdhgState state{x_.data(), x_bar_.data(), p_.data(), q_.data()};
        while (solution.steps < iterations && !solution.stopped && !solution.reached) {
            const int steps = std::min(piece, iterations - solution.steps);
            const Stopwatch watch;
            cpu::pdhg_forward(problem_, steps, memory_.z.data(), memory_.lambda.data(), memory_.x.data(),
                              nullptr, &state, solution.steps > 0, memory_.workspace.data());
            solution.seconds += watch.seconds();
            solution.steps += steps;
            if (options.watch_gap) {
                keep_best(solution, options);
                solution.reached =
                    std::all_of(solution.gaps.begin(), solution.gaps.end(),
                                [&](const cpu::PdhgGap& gap) { return gap.relative() <= options.tolerance; });
            }
            if (options.proceed && !options.proceed(solution.steps)) solution.stopped = true;
        }
        if (!options.watch_gap) std::copy(memory_.x.begin(), memory_.x.end(), solution.x.begin());
        return solution;
    }

  private:
    void keep_best(Solution& solution, const SolveOptions& options) const {
        const std::int64_t pixels = problem_.pixels();
        const bool first = solution.gaps.empty();
        solution.gaps.resize(problem_.solves);
        for (int n = 0; n < problem_.solves; ++n) {
            const float* x = memory_.x.data() + n * pixels;
            const cpu::PdhgGap gap =
                cpu::pdhg_gap(problem_, memory_.z.data() + n * pixels,
                              memory_.lambda.data() + n * problem_.map_size(), x, q_.data() + 2 * n * pixels);
            if (options.trace) options.trace(solution.steps, n, gap);
            if (!first && !(gap.relative() < solution.gaps[n].relative())) continue;
            solution.gaps[n] = gap;
            std::copy(x, x + pixels, solution.x.begin() + n * pixels);
        }
    }

    const PdhgProblem& problem_;
    const Memory& memory_;
    AlignedBuffer<float> x_, x_bar_, p_, q_;
};

}  // namespace

void check_finite(const std::string& name, const std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i)
        if (!std::isfinite(values[i]))
            fail(name, ": value number ", i, " is ", values[i], "; give finite numbers alone");
}

PdhgProblem solver_problem(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda) {
    MapConfig map;
    map.separate = lambda.kind == MapKind::separate;
    PdhgProblem problem = pdhg_problem(solver, map, z.images, z.height, z.width);
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

Solution solve(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
               const SolveOptions& options) {
    const PdhgProblem problem = solver_problem(solver, z, lambda);
    if (options.repeat < 1) fail("solver: ", options.repeat, " runs; give 1 or more");
    if (options.watch_gap && options.check_every < 1)
        fail("solver: the gap every ", options.check_every, " steps; give 1 or more");
    Memory memory(problem, z, lambda);
    const double work = double(z.values.size()) * solver.iterations;
    if (options.repeat == 1 && (options.watch_gap || (options.proceed && work > 2 * piece_of_work)))
        return PiecewiseSolve(problem, memory).run(solver.iterations, options);

    Solution solution;
    std::vector<double> seconds;
    for (int run = 0; run < options.repeat && !solution.stopped; ++run) {
        const Stopwatch watch;
        cpu::pdhg_forward(problem, solver.iterations, memory.z.data(), memory.lambda.data(), memory.x.data(),
                          nullptr, nullptr, false, memory.workspace.data());
        seconds.push_back(watch.seconds());
        solution.stopped = options.proceed && run + 1 < options.repeat && !options.proceed(solver.iterations);
    }
    solution.x.assign(memory.x.begin(), memory.x.end());
    solution.steps = solver.iterations;
    solution.seconds = median(seconds);
    return solution;
}

SolverGradient solver_gradient(const SolverConfig& solver, const ImageStack& z, const Regularisation& lambda,
                               const ImageStack& target, int repeat) {
    const PdhgProblem problem = solver_problem(solver, z, lambda);
    if (repeat < 1) fail("solver: ", repeat, " runs; give 1 or more");
    if (target.images != z.images || target.height != z.height || target.width != z.width)
        fail("target: ", target.images, "×", target.height, "×", target.width, " does not fit images of ",
             z.images, "×", z.height, "×", z.width, "; give a clean image for each");
    check_finite("target", target.values);

    Memory memory(problem, z, lambda);
    AlignedBuffer<float> clean(z.values.size()), d_x(z.values.size()), d_z(z.values.size());
    AlignedBuffer<float> d_lambda(memory.lambda.size());
    AlignedBuffer<std::uint8_t> masks(cpu::pdhg_mask_bytes(problem, solver.iterations));
    std::copy(target.values.begin(), target.values.end(), clean.begin());
    std::vector<double> image_mse(z.images);
    const Features shape = dense_features(z.images, 1, z.height, z.width, 1);

    SolverGradient gradient;
    std::vector<double> seconds;
    for (int run = 0; run < repeat; ++run) {
        const Stopwatch watch;
        cpu::pdhg_forward(problem, solver.iterations, memory.z.data(), memory.lambda.data(), memory.x.data(),
                          masks.data(), nullptr, false, memory.workspace.data());
        gradient.mse = cpu::loss_forward(LossKind::mse, {memory.x.data(), shape}, {clean.data(), shape},
                                         image_mse.data());
        cpu::loss_backward(LossKind::mse, {memory.x.data(), shape}, {clean.data(), shape}, image_mse.data(),
                           {d_x.data(), shape}, Write::overwrite);
        cpu::pdhg_adjoint(problem, solver.iterations, masks.data(), d_x.data(), d_lambda.data(), d_z.data(),
                          Write::overwrite, memory.workspace.data());
        seconds.push_back(watch.seconds());
    }
    gradient.seconds = median(seconds);
    gradient.bytes = masks.size() + memory.workspace.size();
    gradient.d_z.assign(d_z.begin(), d_z.end());

    // The images share one map: its gradient is the sum over them, image by image.
    const std::size_t map_size = lambda.values.size();
    std::vector<double> sum(map_size);
    for (std::size_t i = 0; i < d_lambda.size(); ++i) sum[i % map_size] += d_lambda.data()[i];
    gradient.d_lambda.assign(sum.begin(), sum.end());
    return gradient;
}

double median(std::vector<double> values) {
    const auto middle = values.begin() + std::ptrdiff_t(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

}  // namespace tvmap
