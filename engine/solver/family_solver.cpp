#include "engine/solver/family_solver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/config/solver_problem.h"
#include "engine/files/stopwatch.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"

namespace tvmap {
namespace {

/// `count` copies, one after the other.
std::vector<float> repeated(const std::vector<float>& values, int count) {
    std::vector<float> all;
    for (int n = 0; n < count; ++n) all.insert(all.end(), values.begin(), values.end());
    return all;
}

/// The data term's array as the kernels read it: weights by image.
std::vector<float> data_values(const SolverProblem& problem, const Observation& observation) {
    return observation.data == DataTerm::weights ? repeated(observation.values, problem.images())
                                                 : observation.values;
}

/// x₀: the observed image, as large as the restored one.
std::vector<float> enlarged(const ImageStack& z, int factor) {
    std::vector<float> all;
    for (int n = 0; n < z.images; ++n)
        for (int i = 0; i < z.height * factor; ++i)
            for (int j = 0; j < z.width * factor; ++j)
                all.push_back(
                    z.values[std::size_t(n * z.pixels() + std::int64_t(i / factor) * z.width + j / factor)]);
    return all;
}

/// The problem's arrays where the solver reads them.
struct Input {
    Input(Backend& backend, const SolverProblem& problem, const Restoration& given)
        : maps_host(repeated(given.lambda.values, problem.solves)),
          data_host(data_values(problem, given.observation)),
          gram_host(problem.data == DataTerm::blur ? std::size_t(problem.gram_size()) : 0),
          start_host(problem.own_start ? enlarged(given.z, given.observation.factor) : std::vector<float>()),
          maps(backend, maps_host.data(), maps_host.size()),
          data(backend, data_host.data(), data_host.size()),
          z(backend, given.z.values.data(), given.z.values.size()),
          start(backend, start_host.data(), start_host.size()),
          b(backend, std::size_t(problem.solves) * problem.pixels()),
          gram(backend, gram_host.size()) {
        if (!gram_host.empty()) {
            blur_gram(problem, data_host.data(), gram_host.data());
            gram.upload(gram_host.data(), gram_host.size());
        }
        backend.data_to_image(problem, data.data(), z.data(), b.data());
        input.b = b.data();
        input.lambda = maps.data();
        if (problem.own_start) input.start = start.data();
        input.gram = problem.data == DataTerm::weights ? data.data()
                     : problem.data == DataTerm::blur  ? gram.data()
                                                       : nullptr;
    }

    std::vector<float> maps_host, data_host, gram_host, start_host;
    DeviceInput<float> maps, data, z, start;
    DeviceArray<float> b, gram;
    SolverInput input;
};

}  // namespace

SolverProblem restoration_problem(const SolverConfig& solver, const Restoration& given,
                                  const KeyPlace& where) {
    const ImageStack& z = given.z;
    const Observation& o = given.observation;
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
    problem.own_start = o.data == DataTerm::blur || o.data == DataTerm::super_resolution;
    problem.regulariser = solver.regulariser;
    const std::int64_t values = o.data == DataTerm::weights ? problem.pixels()
                                : o.data == DataTerm::blur  ? std::int64_t(o.rows) * o.columns
                                                            : 0;
    if (std::int64_t(o.values.size()) != values)
        fail("operator: ", o.values.size(), " values where ", values, " are needed for images of ",
             problem.height, "×", problem.width);
    const std::vector<float> data = data_values(problem, o);
    problem.gram_norm = gram_norm(problem, data.empty() ? nullptr : data.data());
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

bool reached(const cpu::SolverGap& gap, double tolerance) {
    return gap.gap() + 0.5 * gap.field_residual * gap.field_residual <= tolerance * gap.primal;
}

Restored restore(Backend& backend, const SolverConfig& solver, const Restoration& given,
                 const RestoreOptions& options) {
    const SolverProblem problem = restoration_problem(solver, given);
    if (options.watch_gap && options.check_every < 1)
        fail("solver: the gap every ", options.check_every, " steps; give 1 or more");
    const Input input(backend, problem, given);
    const std::int64_t pixels = problem.pixels(), solves = problem.solves;
    const std::size_t fields = std::size_t(problem.fields() * pixels),
                      duals = std::size_t(problem.components() * pixels);
    const DeviceArray<float> x(backend, std::size_t(solves * pixels)), u(backend, solves * fields),
        u_bar(backend, solves * fields), r(backend, std::size_t(solves * pixels)), q(backend, solves * duals);
    const DeviceArray<std::byte> workspace(backend, solver_workspace_bytes(problem));
    const PdhgState state{u.data(), u_bar.data(), r.data(), q.data()};
    constexpr double uninterrupted = 5e7;  // steps × pixels, a tenth of a second or so on a CPU
    const double work = double(solves) * double(pixels);
    const int piece = options.watch_gap ? options.check_every : std::max(16, int(uninterrupted / work));
    Restored result;
    std::vector<float> fields_host(solves * fields), duals_host(solves * duals);
    while (result.steps < solver.iterations && !result.reached && !result.stopped) {
        const int steps = std::min(piece, solver.iterations - result.steps);
        result.seconds += seconds_of(backend, [&] {
            backend.solver_forward(problem, steps, input.input, x.data(), nullptr, &state, result.steps > 0,
                                   {workspace.data(), workspace.bytes()});
        });
        result.steps += steps;
        if (options.watch_gap) {
            u.download(fields_host.data(), fields_host.size());
            q.download(duals_host.data(), duals_host.size());
            result.gaps.clear();
            for (int n = 0; n < problem.solves; ++n) {
                result.gaps.push_back(cpu::solver_gap(
                    problem, given.observation.values.data(), given.z.values.data() + n * problem.data_size(),
                    given.lambda.values.data(), fields_host.data() + std::size_t(n) * fields,
                    duals_host.data() + std::size_t(n) * duals));
                if (options.trace) options.trace(result.steps, n, result.gaps.back());
            }
            result.reached =
                std::all_of(result.gaps.begin(), result.gaps.end(),
                            [&](const cpu::SolverGap& gap) { return reached(gap, options.tolerance); });
        }
        if (options.proceed && !options.proceed(result.steps)) result.stopped = true;
    }
    result.x.resize(std::size_t(solves * pixels));
    x.download(result.x.data(), result.x.size());
    return result;
}

SolverGradient restoration_gradient(Backend& backend, const SolverConfig& solver, const Restoration& given,
                                    const ImageStack& target, int repeat, bool with_d_z) {
    const SolverProblem problem = restoration_problem(solver, given);
    if (repeat < 1) fail("solver: ", repeat, " runs; give 1 or more");
    if (target.images != given.z.images || target.height != problem.height || target.width != problem.width)
        fail("target: ", target.images, "×", target.height, "×", target.width,
             " does not fit restored images of ", given.z.images, "×", problem.height, "×", problem.width,
             "; give a clean image for each");
    check_finite("target", target.values);
    const Input input(backend, problem, given);
    UnrolledSolver unrolled(backend, problem, solver.iterations, solver.gradient);

    const std::size_t plane = std::size_t(problem.pixels()),
                      image_values = plane * std::size_t(problem.solves);
    SolverGradient gradient;
    gradient.d_lambda.resize(std::size_t(problem.solves) * given.lambda.values.size());
    const DeviceInput<float> clean(backend, target.values.data(), target.values.size());
    const DeviceMirror<float> d_lambda(backend, gradient.d_lambda.data(), gradient.d_lambda.size());
    const DeviceArray<float> d_b(backend, with_d_z ? image_values : 0),
        d_start(backend, with_d_z && problem.own_start ? image_values : 0),
        d_z(backend, with_d_z ? given.z.values.size() : 0);
    const DeviceArray<std::byte> saved(backend, unrolled.saved_bytes()),
        workspace(backend, std::max(unrolled.forward_workspace_bytes(), unrolled.backward_workspace_bytes()));
    const DeviceArray<float> x(backend, image_values);  // then ∂mse/∂x
    const DeviceArray<double> mse(backend, 1), image_mse(backend, std::size_t(problem.solves));
    const Features shape = dense_features(problem.solves, 1, problem.height, problem.width, 1);
    const View result{x.data(), shape};
    const ConstView truth{clean.data(), shape};
    const SolverDerivatives derivatives{.d_lambda = d_lambda.data(),
                                        .d_b = with_d_z ? d_b.data() : nullptr,
                                        .d_start = with_d_z && problem.own_start ? d_start.data() : nullptr};
    gradient.saved_bytes = saved.bytes();
    gradient.workspace_bytes = workspace.bytes();
    gradient.bytes = saved.bytes() + workspace.bytes() + x.bytes() + d_b.bytes() + d_start.bytes() +
                     sizeof(float) * (gradient.d_lambda.size() + (with_d_z ? given.z.values.size() : 0));
    std::vector<double> seconds;
    for (int run = 0; run < repeat; ++run)
        seconds.push_back(seconds_of(backend, [&] {
            unrolled.forward(input.input, x.data(), saved.data(), workspace.data());
            backend.loss_forward(LossKind::mse, result, truth, image_mse.data(), mse.data());
            backend.loss_backward(LossKind::mse, result, truth, image_mse.data(), result, Write::overwrite);
            unrolled.backward(saved.data(), input.input, x.data(), derivatives, Write::overwrite,
                              workspace.data());
        }));
    gradient.seconds = median(seconds);
    gradient.adjoint_steps = unrolled.adjoint_steps();
    mse.download(&gradient.mse, 1);
    d_lambda.download();
    if (with_d_z) {
        backend.image_to_data(problem, input.data.data(), d_b.data(), d_z.data(), Write::overwrite);
        gradient.d_z.resize(given.z.values.size());
        d_z.download(gradient.d_z.data(), gradient.d_z.size());
        if (problem.own_start) {  // every pixel of x₀ is one of z
            std::vector<float> start(image_values);
            d_start.download(start.data(), start.size());
            const int factor = problem.factor;
            for (std::size_t at = 0; at < image_values; ++at) {
                const std::size_t n = at / plane, i = at % plane / std::size_t(problem.width),
                                  j = at % std::size_t(problem.width);
                gradient.d_z[(n * std::size_t(given.z.height) + i / factor) * std::size_t(given.z.width) +
                             j / factor] += start[at];
            }
        }
    }

    // The images share one map: its gradient is the sum over them.
    const std::size_t map_size = given.lambda.values.size();
    for (std::size_t i = 0; i < map_size; ++i) {
        double sum = 0;
        for (std::size_t at = i; at < gradient.d_lambda.size(); at += map_size) sum += gradient.d_lambda[at];
        gradient.d_lambda[i] = float(sum);
    }
    gradient.d_lambda.resize(map_size);
    return gradient;
}

}  // namespace tvmap
