// tvmap gradient: the derivative of the mean squared error by the map, through the unrolled solver.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "apps/options/restoration_options.h"
#include "apps/options/solver_options.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/warning.h"
#include "engine/files/npy.h"
#include "engine/training/process_memory.h"

namespace tvmap {
namespace {

struct Options {
    ProblemOptions problem;
    RestorationOptions restoration;
    std::string target, mode = "masks", out, out_z;
    GradientMode implicit;  // its tolerance and cap
    CLI::Option* tolerance_given = nullptr;
    CLI::Option* cap_given = nullptr;
};

double norm(const std::vector<float>& values) {
    double sum = 0;
    for (float value : values) sum += double(value) * value;
    return std::sqrt(sum);
}

int run(const Options& options, const CommonOptions& common) {
    SolverConfig solver = options.problem.solver.config(options.restoration.wants_exact_norm());
    const auto mode = gradient_mode(options.mode);
    if (!mode) throw UsageError(text("--mode ", options.mode, ": give one of ", gradient_mode_names));
    solver.gradient = *mode;
    solver.gradient.tolerance = options.implicit.tolerance;
    solver.gradient.cap = options.implicit.cap;
    check_gradient_mode(solver, [](const std::string& key) {
        return key == "solver.gradient" ? "--mode" : option_names()(key);
    });
    const int repeat = options.problem.solver.repeat;
    const bool with_d_z = !options.out_z.empty();
    if (with_d_z && options.restoration.operator_name == "poisson")
        throw UsageError(
            "--out-z does not go with --operator poisson: the weights are made of z, too, and their part of "
            "the "
            "derivative is not known; with --operator mask and these weights it is that of z alone");
    if (options.mode != "implicit" &&
        (options.tolerance_given->count() > 0 || options.cap_given->count() > 0))
        throw UsageError("--implicit-tolerance and --implicit-cap go with --mode implicit alone");
    for (const std::string& path : {options.out, options.out_z})
        if (!path.empty() && !ends_with(path, ".npy"))
            throw UsageError(text(path, ": a gradient is written as .npy; give such a name"));

    const bool family = options.restoration.wanted();
    InputImages input;
    Restoration given;
    if (family) {
        given = options.restoration.read(options.problem, solver, input);
        print_warning("gradient", solver_step_warning(restoration_problem(solver, given)));
    } else {
        options.restoration.refuse_left_over();
        GivenProblem plain = read_problem(options.problem, solver);
        input = std::move(plain.images);
        given.lambda = std::move(plain.lambda);
    }
    const Map& lambda = given.lambda;
    const InputImages target = read_images(options.target, options.problem.reading);
    if (!family) check_target(input, target);
    options.problem.reading.warn("gradient", options.problem.input, input, noisy_beyond);
    options.problem.reading.warn("gradient", options.target, target, clean_beyond);
    std::vector<Output> outputs{float_output(options.out, lambda.values.size())};
    if (with_d_z) outputs.push_back(float_output(options.out_z, input.values.size()));
    std::vector<std::string> read = options.restoration.files();
    read.insert(read.end(),
                {options.target, options.problem.input, options.problem.lambda, options.problem.lambda_y});
    prepare_outputs(outputs, read);

    const auto backend = make_backend(common.device);
    const std::size_t resident = resident_bytes();
    const SolverGradient gradient =
        family ? restoration_gradient(*backend, solver, given, target, repeat, with_d_z)
               : solver_gradient(*backend, solver, input, lambda, target, repeat, with_d_z);
    const std::size_t peak = peak_resident_bytes();
    std::vector<std::int64_t> shape{target.height, target.width};
    const std::int64_t maps = std::int64_t(lambda.values.size()) / target.pixels();
    if (lambda.kind == MapKind::scalar)
        shape = {std::int64_t(lambda.values.size())};
    else if (maps > 1)
        shape.insert(shape.begin(), maps);
    write_npy(options.out, shape, gradient.d_lambda.data());
    if (with_d_z) write_npy(options.out_z, input.shape(), gradient.d_z.data());

    Json json{{"command", "gradient"},
              {"device", backend->description()},
              {"input", options.problem.input},
              {"shape", input.shape()},
              {"peak", input.peak},
              {"out", options.out},
              {"mode", options.mode},
              {"exact", solver.gradient.exact(solver.iterations)},
              {"iterations", solver.iterations},
              {"adjoint_steps", gradient.adjoint_steps},
              {"repeat", repeat},
              {"seconds", gradient.seconds},
              {"bytes", gradient.bytes},
              {"saved_bytes", gradient.saved_bytes},
              {"workspace_bytes", gradient.workspace_bytes},
              {"peak_bytes_above_start", std::max(peak, resident) - resident},
              {"mse", gradient.mse},
              {"d_lambda_norm", norm(gradient.d_lambda)}};
    if (with_d_z) json["d_z_norm"] = norm(gradient.d_z);
    print_result(
        common, json,
        text(options.out, ": MSE ", number(gradient.mse), ", ‖∂MSE/∂Λ‖ ", number(norm(gradient.d_lambda)),
             ", forward and gradient in ", number(gradient.seconds, 4), " s\n"));
    return success;
}

}  // namespace

void add_gradient(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("gradient", "the derivative of the mean squared error by the map",
                    "tvmap gradient noisy.npy --lambda map.npy --target clean.npy --out d_lambda.npy",
                    [options](const CommonOptions& common) { return run(*options, common); });
    options->problem.add(command);
    options->restoration.add(command);
    command.add_option("--target", options->target, "the clean image, of the input's shape")
        ->type_name(value::file)
        ->required();
    command
        .add_option(
            "--mode", options->mode,
            "how the gradient is made: masks, checkpoint, stored (all exact), truncated:K (the last K "
            "steps) or implicit (of the fixed point)")
        ->type_name("masks|checkpoint|stored|truncated:K|implicit")
        ->capture_default_str();
    options->tolerance_given =
        add_number(command, "--implicit-tolerance", options->implicit.tolerance,
                   "implicit: the adjoint ends when 32 steps add no larger a share; 0: at the cap");
    options->cap_given = add_number(command, "--implicit-cap", options->implicit.cap,
                                    "implicit: steps of the adjoint at most");
    command.add_option("--out", options->out, "∂MSE/∂Λ, .npy of the map's shape")
        ->type_name(value::file)
        ->required();
    command.add_option("--out-z", options->out_z, "∂MSE/∂z, .npy of the input's shape")
        ->type_name(value::file);
    options->problem.solver.add(command);
}

}  // namespace tvmap
