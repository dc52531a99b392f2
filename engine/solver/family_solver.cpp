#include "engine/solver/family_solver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/config/solver_problem.h"
#include "engine/data/observation.h"
#include "engine/files/stopwatch.h"
#include "engine/solver/solver_state.h"
#include "engine/solver/whole_arrays.h"
#include "engine/unrolled/observed_input.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"

namespace tvmap {
namespace {

/// The data term's array as the kernels read it: weights by image.
std::vector<float> data_values(const SolverProblem& problem, const Observation& observation) {
    return observation.data == DataTerm::weights ? repeated(observation.values, problem.images())
                                                 : observation.values;
}

/// x₀: the observed image, as large as the restored one.
std::vector<float> enlarged(const ImageStack& z, int factor) {
    std::vector<float> all;
    for (int n = 0; n < z.images; ++n) {
        const std::vector<float> image =
            in_blocks(&z.values[std::size_t(n * z.pixels())], z.height, z.width, 1, factor);
        all.insert(all.end(), image.begin(), image.end());
    }
    return all;
}

/// The problem's arrays where the solver reads them.
struct Input {
    Input(Backend& backend, const SolverProblem& problem, const Restoration& given)
        : maps_host(repeated(given.lambda.values, problem.solves)),
          weights_host(problem.data == DataTerm::weights ? data_values(problem, given.observation)
                                                         : std::vector<float>()),
          start_host(problem.own_start ? enlarged(given.z, given.observation.factor) : std::vector<float>()),
          maps(backend, maps_host.data(), maps_host.size()),
          weights(backend, weights_host.data(), weights_host.size()),
          z(backend, given.z.values.data(), given.z.values.size()),
          start(backend, start_host.data(), start_host.size()),
          observed(backend, problem,
                   problem.data == DataTerm::blur ? given.observation.values : std::vector<float>()),
          workspace(backend, observed.workspace_bytes()),
          input(observed.make(z.data(), start.data(), weights.data(), maps.data(), workspace.data())) {}

    std::vector<float> maps_host, weights_host, start_host;
    DeviceInput<float> maps, weights, z, start;
    ObservedInput observed;
    DeviceArray<std::byte> workspace;
    SolverInput input;
};

}  // namespace

Observation counted_image(std::vector<float> weights) {
    Observation observation;
    observation.data = DataTerm::weights;
    observation.values = std::move(weights);
    observation.gram_norm = most_weight;
    observation.from_image = true;
    return observation;
}

Restoration observed_image(const ObservationConfig& observation, const ImageStack& seen, const float* weights,
                           Map lambda) {
    Restoration given;
    given.z = seen;
    given.lambda = std::move(lambda);
    Observation& o = given.observation;
    if (observation.sight == Sight::poisson) {
        o = counted_image({weights, weights + seen.pixels()});
        return given;
    }
    o.data = observation.data();
    o.values = blur_kernel(observation);
    if (o.data == DataTerm::weights) o.values.assign(weights, weights + seen.pixels());
    if (observation.sight == Sight::blur) o.rows = o.columns = observation.blur_size;
    if (observation.sight == Sight::impulses) o.threshold = float(observation.threshold);
    if (observation.sight == Sight::downsample) {
        const int factor = o.factor = observation.factor;
        given.z = {1, seen.height / factor, seen.width / factor, {}};
        for (int i = 0; i < given.z.height; ++i)
            for (int j = 0; j < given.z.width; ++j)
                given.z.values.push_back(
                    seen.values[std::size_t(i * factor) * std::size_t(seen.width) + std::size_t(j * factor)]);
    }
    return given;
}

SolverProblem restoration_problem(const SolverConfig& solver, const Restoration& given,
                                  const KeyPlace& where) {
    const ImageStack& z = given.z;
    const Observation& o = given.observation;
    if (solver.dual_start != DualStart::zero)
        fail(where ? where("solver.dual_start") : "solver.dual_start",
             ": a restoration starts from zero duals; give zero");
    check_finite("images", z.values);
    if (std::int64_t(z.values.size()) != z.images * z.pixels())
        fail("images: ", z.values.size(), " values do not make ", z.images, "×", z.height, "×", z.width);
    SolverProblem problem;
    problem.solves = z.images;
    problem.height = given.height();
    problem.width = given.width();
    problem.map = given.lambda.kind;
    problem.data = o.data;
    problem.kernel_height = o.rows;
    problem.kernel_width = o.columns;
    problem.factor = o.factor;
    problem.threshold = o.threshold;
    problem.own_start = o.from_image || o.data == DataTerm::blur || o.data == DataTerm::super_resolution;
    problem.regulariser = solver.regulariser;
    const std::int64_t values = o.data == DataTerm::weights ? problem.pixels()
                                : o.data == DataTerm::blur  ? std::int64_t(o.rows) * o.columns
                                                            : 0;
    if (std::int64_t(o.values.size()) != values)
        fail("operator: ", o.values.size(), " values where ", values, " are needed for images of ",
             problem.height, "×", problem.width);
    if (o.data == DataTerm::blur && (o.rows % 2 == 0 || o.columns % 2 == 0))  // said before its norm is
        fail("operator: a kernel of ", o.rows, "×", o.columns, " has no middle; give odd sizes");
    const std::vector<float> data = data_values(problem, o);
    const double norm = gram_norm(problem, data.empty() ? nullptr : data.data());
    if (o.gram_norm > 0 && o.gram_norm < norm)
        fail("operator: its values have a norm of ", norm, ", above the ", o.gram_norm, " that was given");
    problem.gram_norm = o.gram_norm > 0 ? o.gram_norm : norm;
    problem = with_settings(solver, problem, where);
    check_solver("solver", problem, solver.iterations);
    if (std::int64_t(given.lambda.values.size()) != problem.map_size())
        fail("lambda: ", given.lambda.values.size(), " values where images of ", problem.height, "×",
             problem.width, " need ", problem.map_size(), ", ", problem.maps(), " numbers or maps");
    check_finite("lambda", given.lambda.values);
    for (std::size_t i = 0; i < given.lambda.values.size(); ++i)
        if (given.lambda.values[i] < 0)
            fail("lambda: value number ", i, " is ", given.lambda.values[i], "; give 0 or more everywhere");
    return problem;
}

namespace {

/// The gap, and what the field is from having none.
double distance(const cpu::SolverGap& gap) {
    return gap.gap() + 0.5 * gap.field_residual * gap.field_residual;
}

}  // namespace

bool reached(const cpu::SolverGap& gap, double tolerance) { return distance(gap) <= tolerance * gap.primal; }

Restored restore(Backend& backend, const SolverConfig& solver, const Restoration& given,
                 const RestoreOptions& options) {
    const SolverProblem problem = restoration_problem(solver, given);
    if (options.watch_gap && options.check_every < 1)
        fail("solver: the gap every ", options.check_every, " steps; give 1 or more");
    SolverState own;
    SolverState& host = options.state ? *options.state : own;
    const bool warm = !host.empty();
    if (warm) {
        check_solver_state("state", problem, host);
        make_feasible(problem, given.lambda, host);
    }
    const Input input(backend, problem, given);
    const std::int64_t pixels = problem.pixels(), solves = problem.solves;
    const std::size_t fields = std::size_t(problem.fields() * pixels),
                      duals = std::size_t(problem.components() * pixels);
    const DeviceArray<float> x(backend, std::size_t(solves * pixels));
    host.x.resize(solves * fields);
    host.q.resize(solves * duals);
    DeviceArray<float> u(backend, host.x), u_bar(backend, host.x.size()), r(backend, x.size()),
        q(backend, host.q);
    if (warm) {
        u_bar.upload(host.x_bar.data(), u_bar.size());
        r.upload(host.p.data(), r.size());
    }
    const DeviceArray<std::byte> workspace(backend, solver_workspace_bytes(problem));
    const PdhgState iterates{u.data(), u_bar.data(), r.data(), q.data()};
    constexpr double uninterrupted = 5e7;  // steps × pixels, a tenth of a second or so on a CPU
    const double work = double(solves) * double(pixels);
    const int piece = options.watch_gap ? options.check_every : std::max(16, int(uninterrupted / work));
    Restored result;
    // Of the host's x and q; keeps the best x of each image or, where no tolerance is asked for, the last.
    const auto measure = [&] {
        const bool first = result.gaps.empty(), to_tolerance = options.tolerance >= 0;
        result.gaps.resize(std::size_t(problem.solves));
        result.x.resize(x.size());
        for (int n = 0; n < problem.solves; ++n) {
            const float* const u_n = host.x.data() + std::size_t(n) * fields;
            const cpu::SolverGap gap = cpu::solver_gap(
                problem, given.observation.values.data(), given.z.values.data() + n * problem.data_size(),
                given.lambda.values.data(), u_n, host.q.data() + std::size_t(n) * duals);
            if (options.trace && result.steps > 0) options.trace(result.steps, n, gap);
            cpu::SolverGap& kept = result.gaps[std::size_t(n)];
            if (!first && to_tolerance && !(distance(gap) < distance(kept))) continue;
            kept = gap;
            std::copy_n(u_n, pixels, result.x.begin() + n * pixels);
        }
        result.reached = std::all_of(result.gaps.begin(), result.gaps.end(), [&](const cpu::SolverGap& gap) {
            return reached(gap, options.tolerance);
        });
    };
    if (warm && options.watch_gap && options.tolerance >= 0) {  // perhaps there is nothing left to do
        measure();
        if (!result.reached) result.gaps.clear();
    }
    while (result.steps < solver.iterations && !result.reached && !result.stopped) {
        const int steps = std::min(piece, solver.iterations - result.steps);
        result.seconds += seconds_of(backend, [&] {
            backend.solver_forward(
                problem, steps, input.input,
                {.x = x.data(), .state = &iterates, .start_from_state = warm || result.steps > 0},
                {workspace.data(), workspace.bytes()});
        });
        result.steps += steps;
        if (options.watch_gap) {
            u.download(host.x.data(), u.size());
            q.download(host.q.data(), q.size());
            measure();
        }
        if (options.proceed && !options.proceed(result.steps)) result.stopped = true;
    }
    if (options.state) {
        host.x_bar.resize(u_bar.size());
        host.p.resize(r.size());
        u.download(host.x.data(), u.size());
        u_bar.download(host.x_bar.data(), u_bar.size());
        r.download(host.p.data(), r.size());
        q.download(host.q.data(), q.size());
        if (result.steps > 0) host.extrapolation = float(double(problem.theta) * problem.tau);
        host.regulariser = problem.regulariser;
        host.data = problem.data;
        host.boundary = problem.boundary;
    }
    if (!result.gaps.empty()) return result;  // with the x of these
    result.x.resize(x.size());
    if (result.steps > 0)
        x.download(result.x.data(), x.size());
    else  // the given state's
        for (int n = 0; n < problem.solves; ++n)
            std::copy_n(host.x.begin() + std::ptrdiff_t(std::size_t(n) * fields), pixels,
                        result.x.begin() + n * pixels);
    return result;
}

std::vector<ScalarCurve> restoration_search(Backend& backend, const SolverConfig& solver, Restoration given,
                                            const ImageStack& clean, const std::vector<float>& lambdas,
                                            const SearchOptions& options) {
    SolverProblem sizes;
    sizes.regulariser = solver.regulariser;
    given.lambda = {MapKind::scalar, std::vector<float>(std::size_t(sizes.maps()))};
    const SolverProblem problem = restoration_problem(solver, given);
    check_target(problem.solves, problem.height, problem.width, clean);
    const std::vector<float> images = enlarged(given.z, given.observation.factor),
                             weights = problem.data == DataTerm::weights
                                           ? data_values(problem, given.observation)
                                           : std::vector<float>();
    SolverProblem one = problem;
    one.solves = 1;
    return scalar_search(backend, one,
                         problem.data == DataTerm::blur ? given.observation.values : std::vector<float>(),
                         solver.iterations,
                         {images.data(), clean.values.data(), problem.solves, problem.height, problem.width,
                          weights.empty() ? nullptr : weights.data()},
                         lambdas, options);
}

SolverGradient restoration_gradient(Backend& backend, const SolverConfig& solver, const Restoration& given,
                                    const ImageStack& target, int repeat, bool with_d_z) {
    const SolverProblem problem = restoration_problem(solver, given);
    check_target(problem.solves, problem.height, problem.width, target);
    const Input input(backend, problem, given);
    UnrolledSolver unrolled(backend, problem, solver.iterations, solver.gradient);
    const std::size_t plane = std::size_t(problem.pixels()), values = plane * std::size_t(problem.solves);
    const DeviceArray<float> d_b(backend, with_d_z ? values : 0),
        d_start(backend, with_d_z && problem.own_start ? values : 0);
    SolverGradient gradient = measured_gradient(backend, unrolled, input.input, given.lambda.values.size(),
                                                target, repeat, d_b.data(), d_start.data());
    gradient.bytes += d_b.bytes() + d_start.bytes();
    if (!with_d_z) return gradient;

    const DeviceArray<float> d_z(backend, given.z.values.size());
    input.observed.data_gradient(d_b.data(), input.weights.data(), d_z.data());
    gradient.d_z.resize(d_z.size());
    d_z.download(gradient.d_z.data(), d_z.size());
    gradient.bytes += d_z.bytes();
    std::vector<float> start(d_start.size());  // every pixel of x₀ is one of z
    d_start.download(start.data(), start.size());
    const std::size_t width = std::size_t(problem.width), factor = std::size_t(problem.factor);
    for (std::size_t at = 0; at < start.size(); ++at) {
        const std::size_t n = at / plane, i = at % plane / width / factor, j = at % width / factor;
        gradient.d_z[(n * std::size_t(given.z.height) + i) * std::size_t(given.z.width) + j] += start[at];
    }
    return gradient;
}

}  // namespace tvmap
