// Gradients of every mode, T and size against the same in double.
#include <algorithm>
#include <cmath>

#include "engine/data/noise.h"
#include "engine/data/observation.h"
#include "engine/data/smooth_noise.h"
#include "engine/files/stopwatch.h"
#include "engine/model/checkpoint.h"
#include "engine/model/model.h"
#include "engine/solver/solver.h"
#include "engine/study/study.h"
#include "engine/study/study_problem.h"
#include "engine/training/process_memory.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"

namespace tvmap {
namespace {

/// The gradients in double that one example's are measured against.
struct Reference {
    std::vector<double> same_decisions, in_double, limit;
};

std::vector<double> widened(const std::vector<float>& values) { return {values.begin(), values.end()}; }

/// ∂MSE/∂x, in the place of x.
template <class Value>
void to_mse_gradient(std::vector<Value>& x, const std::vector<float>& target) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = 2 * (x[i] - target[i]) / Value(x.size());
}

/// A map as networks predict: 0.07 in the middle (tgv's Λ₀: as many times that as a search has it), varying smoothly by
/// a factor of two or so, each of the maps by itself.
std::vector<float> smooth_map(const Config& config, const StudyProblem& problem, std::uint32_t image,
                              int side) {
    std::vector<float> lambda;
    for (int part = 0; part < problem.maps(); ++part) {
        const SmoothNoise noise(config.seed, image, std::uint32_t(part), side, side / 6.0);
        const double middle = 0.07 * problem.usual_scale(part);
        for (int i = 0; i < side; ++i)
            for (int j = 0; j < side; ++j) lambda.push_back(float(middle * std::exp(0.5 * noise(i, j))));
    }
    return lambda;
}

/// The network's maps in place of smooth ones.
void predict_maps(Backend& backend, const Config& config, const std::string& checkpoint, int side,
                  std::vector<Example>& examples) {
    const Config used = with_network_of(checkpoint, config);
    Model model = Model::load(backend, used, checkpoint, side, side);
    std::vector<float> denoised(std::size_t(side) * side);
    for (Example& e : examples)
        model.denoiser().run(e.noisy.data(), e.lambda.data(), denoised.data(), e.weights.data());
}

/// The images that have a gradient. The others are named in left_out.
std::vector<int> images_with_gradient(const Dataset& data, std::set<std::string>& left_out) {
    std::vector<int> images;
    for (int i = 0; i < data.count(); ++i)
        if (data.deviation(i) > 0)
            images.push_back(i);
        else
            left_out.insert(
                text("data.test: left out of the gradients, since a blank image has none: ", data.name(i)));
    return images;
}

std::vector<Example> make_examples(Backend& backend, const Config& config, const StudyProblem& problem,
                                   const std::string& checkpoint, const Dataset& data,
                                   const std::vector<int>& images) {
    const int side = data.size();
    const Observer observer(config.solver.observation);
    const std::int64_t pixels = std::int64_t(side) * side;
    std::vector<Example> examples;
    for (const int i : images) {
        Example& e = examples.emplace_back();
        e.clean.resize(pixels);
        e.noisy.resize(pixels);
        data.copy(i, e.clean.data());
        if (observer.weighs()) e.weights.resize(pixels);
        observer.observe({config.noise, config.evaluate.sigma, config.seed, test_epoch}, data, i, side, side,
                         e.clean.data(), e.noisy.data(), e.weights.data());
        e.lambda = smooth_map(config, problem, std::uint32_t(i), side);
    }
    if (!checkpoint.empty()) predict_maps(backend, config, checkpoint, side, examples);
    return examples;
}

std::vector<double> gradient_in_double(const StudyProblem& problem, int iterations, const Example& e) {
    ExactRun run = problem.run(iterations, e);
    to_mse_gradient(run.x, e.clean);
    return problem.gradient(iterations, e, run.decisions, run.x);
}

/// The gradient in double of the steps that the backend takes.
std::vector<double> gradient_of_decisions(Backend& backend, const StudyProblem& problem, int iterations,
                                          const Example& e) {
    const UnrolledProblem steps = problem.on(backend);
    std::vector<float> x(e.clean.size());
    std::vector<std::uint8_t> masks(steps.mask_bytes(iterations));
    {
        const ExampleInput input(backend, problem, e);
        const DeviceMirror<float> result(backend, x.data(), x.size());
        const DeviceArray<std::uint8_t> recorded(backend, masks.size());
        const DeviceArray<std::byte> workspace(backend, steps.workspace_bytes());
        steps.forward(iterations, input.get(), {.x = result.data(), .masks = recorded.data()},
                      {workspace.data(), workspace.bytes()});
        result.download();
        recorded.download(masks.data(), masks.size());
    }
    to_mse_gradient(x, e.clean);
    return problem.gradient(iterations, e, problem.unpack(iterations, e, masks.data()), widened(x));
}

/// What is in use on the device, or the most that this process had since it was last set back.
std::size_t most_in_use(const Backend& backend) {
    return backend.memory_in_use().value_or(peak_resident_bytes());
}

struct Measured {
    std::vector<float> d_lambda;
    std::vector<double> forward_seconds, backward_seconds;
    std::size_t predicted = 0, measured = 0;
    int adjoint_steps = 0;
};

Measured measure_mode(Backend& backend, const StudyProblem& problem, int iterations, const GradientMode& mode,
                      const Example& e, int repeat) {
    const ExampleInput example(backend, problem, e);
    const SolverInput& input = example.get();
    std::vector<float> x(e.clean.size());
    Measured m;
    m.d_lambda.resize(e.lambda.size());

    release_free_memory();
    reset_peak_resident();
    const std::size_t before = backend.memory_in_use().value_or(resident_bytes());
    {
        UnrolledSolver solver(backend, problem.on(backend), iterations, mode);
        const DeviceArray<std::byte> saved(backend, solver.saved_bytes()),
            workspace(backend, std::max(solver.forward_workspace_bytes(), solver.backward_workspace_bytes()));
        DeviceArray<float> result(backend, x.size()), d_result(backend, x.size()),
            d_lambda(backend, m.d_lambda.size());
        m.predicted =
            saved.bytes() + workspace.bytes() + result.bytes() + d_result.bytes() + d_lambda.bytes();
        for (int run = 0; run < repeat; ++run) {
            m.forward_seconds.push_back(seconds_of(
                backend, [&] { solver.forward(input, result.data(), saved.data(), workspace.data()); }));
            if (run == 0) {
                result.download(x.data(), x.size());
                to_mse_gradient(x, e.clean);
                d_result.upload(x.data(), x.size());
            }
            m.backward_seconds.push_back(seconds_of(backend, [&] {
                solver.backward(saved.data(), input, d_result.data(), {.d_lambda = d_lambda.data()},
                                workspace.data());
            }));
        }
        const std::size_t peak = most_in_use(backend);
        m.measured = std::max(peak, before) - before;
        m.adjoint_steps = solver.adjoint_steps();
        d_lambda.download(m.d_lambda.data(), m.d_lambda.size());
    }
    return m;
}

void add(GradientError& sum, const GradientError& error, double share) {
    sum.relative += share * error.relative;
    sum.angle += share * error.angle;
}

void measure_row(Backend& backend, const StudyProblem& problem, int iterations, GradientMode mode,
                 const std::vector<Example>& examples, const std::vector<Reference>& references, int repeat,
                 GradientRow& row) {
    std::vector<double> forward, backward;
    const double share = 1.0 / double(examples.size());
    for (std::size_t i = 0; i < examples.size(); ++i) {
        const Measured m = measure_mode(backend, problem, iterations, mode, examples[i], repeat);
        forward.insert(forward.end(), m.forward_seconds.begin(), m.forward_seconds.end());
        backward.insert(backward.end(), m.backward_seconds.begin(), m.backward_seconds.end());
        row.predicted_bytes = m.predicted;
        row.measured_bytes = std::max(row.measured_bytes, m.measured);
        row.adjoint_steps = std::max(row.adjoint_steps, m.adjoint_steps);
        const std::vector<double> got = widened(m.d_lambda);
        add(row.error, gradient_error(got, references[i].same_decisions), share);
        add(row.in_double, gradient_error(got, references[i].in_double), share);
        if (!references[i].limit.empty()) add(row.limit, gradient_error(got, references[i].limit), share);
    }
    row.forward_seconds = median(forward);
    row.backward_seconds = median(backward);
}

/// The modes that make sense at T: the last K steps of at least K.
std::vector<GradientMode> modes_at(const Config& config, int iterations) {
    std::vector<GradientMode> modes;
    for (const std::string& name : config.study.modes) {
        GradientMode mode = *gradient_mode(name);
        if (mode.steps > iterations) continue;
        mode.tolerance = config.solver.gradient.tolerance;
        mode.cap = config.solver.gradient.cap;
        modes.push_back(mode);
    }
    return modes;
}

std::string piece_name(const GradientMode& mode, int side, int iterations) {
    return text("gradient ", mode.name(), ", T = ", iterations, ", size ", side);
}

}  // namespace

Config with_network_of(const std::string& checkpoint, Config config) {
    NetworkConfig network = checkpoint_config(checkpoint).network;
    network.precision = config.network.precision;
    config.network = network;
    return config;
}

void study_gradients(Backend& backend, const Config& config, const std::string& checkpoint,
                     PieceRecord& record, StudyResult& result, const std::function<void()>& save,
                     const StudyReport& report, const std::atomic<bool>& stop) {
    const StudyConfig& study = config.study;
    const auto missing = [&](int side, int iterations) {
        const std::vector<GradientMode> modes = modes_at(config, iterations);
        return std::count_if(modes.begin(), modes.end(), [&](const GradientMode& mode) {
            return !record.has(piece_name(mode, side, iterations));
        });
    };
    // Time goes with the pixels and the steps: those of each mode, and about as much for the gradients in
    // double.
    const auto work = [&](int side, int iterations) { return 1e-6 * side * side * iterations; };
    double total = 0, done = 0;
    std::vector<bool> wanted;  // by size
    for (const int side : study.sizes) {
        double of_size = 0;
        for (const int iterations : study.iterations)
            if (const auto modes = missing(side, iterations))
                of_size += work(side, iterations) * double(1 + modes);
        wanted.push_back(of_size > 0);
        if (of_size > 0) total += of_size + work(side, study.reference_iterations);
    }
    const auto finished = [&](double more) {
        done += more;
        report("gradients", done, total, "Msteps of a pixel");
        return stop.load();
    };

    for (std::size_t s = 0; s < study.sizes.size(); ++s) {
        const int side = study.sizes[s];
        const Dataset data(config.data.test, side, study.images, "data.test", 1, config.data.picture_limit,
                           config.data.own_sizes ? Preparation::centre : Preparation::square);
        record.depends_on(text("data.test (size ", side, ")"), data.digest());
        const std::vector<int> images = images_with_gradient(data, result.left_out);
        if (images.empty())
            fail(config.data.test, ": only blank images, which have no gradient; give others as data.test");
        const StudyProblem problem(config, side);
        std::vector<Example> examples;
        if (wanted[s]) examples = make_examples(backend, config, problem, checkpoint, data, images);
        std::vector<Reference> references(examples.size());
        for (std::size_t i = 0; i < examples.size() && study.reference_iterations > 0; ++i) {
            references[i].limit = gradient_in_double(problem, study.reference_iterations, examples[i]);
            if (finished(work(side, study.reference_iterations) / double(examples.size()))) return;
        }
        for (const int iterations : study.iterations) {
            if (missing(side, iterations)) {
                for (std::size_t i = 0; i < examples.size(); ++i) {
                    references[i].same_decisions =
                        gradient_of_decisions(backend, problem, iterations, examples[i]);
                    references[i].in_double = gradient_in_double(problem, iterations, examples[i]);
                    if (stop) return;
                }
                if (finished(work(side, iterations))) return;
            }
            for (const GradientMode& mode : modes_at(config, iterations)) {
                const std::string name = piece_name(mode, side, iterations);
                const bool known = record.has(name);
                GradientRow named;
                named.mode = mode.name();
                named.size = side;
                named.iterations = iterations;
                result.gradient.push_back(*record.piece(name, named, [&](GradientRow& row) {
                    measure_row(backend, problem, iterations, mode, examples, references, study.repeat, row);
                    return true;
                }));
                if (known) continue;
                save();
                if (finished(work(side, iterations))) return;
            }
        }
    }
}

}  // namespace tvmap
