// tvmap solve: the total-variation solver alone, on pictures and arrays.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "apps/options/restoration_options.h"
#include "apps/options/solver_options.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "apps/program/warning.h"
#include "engine/files/file.h"
#include "engine/solver/solver_state.h"

namespace tvmap {
namespace {

constexpr int iterations_to_gap = 20000;  // unless --iterations says otherwise

struct Options {
    ProblemOptions problem;
    RestorationOptions restoration;
    std::string out, trace, state_in, state_out;
    double gap = 0;
    CLI::Option* iterations = nullptr;
    CLI::Option* gap_given = nullptr;

    /// Files that are read, but for --state-in, which may be gone on with.
    std::vector<std::string> read() const {
        std::vector<std::string> files = restoration.files();
        files.insert(files.end(), {problem.input, problem.lambda, problem.lambda_y});
        return files;
    }
};

/// Another member of the solver's family than denoising by total variation.
int run_family(const Options& options, const CommonOptions& common) {
    SolverConfig solver = options.problem.solver.config(options.restoration.wants_exact_norm());
    const bool to_gap = options.gap_given->count() > 0;
    if (to_gap && options.iterations->count() == 0) solver.iterations = iterations_to_gap;
    if (options.problem.solver.repeat > 1)
        throw UsageError("--repeat goes with --regulariser tv and --operator identity");
    InputImages input;
    const Restoration given = options.restoration.read(options.problem, solver, input);
    options.problem.reading.warn("solve", options.problem.input, input, noisy_beyond);
    const SolverProblem problem = restoration_problem(solver, given);
    SolverState state;
    if (!options.state_in.empty()) state = read_solver_state(options.state_in, problem);
    const InputImages result = restored_images(input, given);
    std::vector<Output> outputs{image_output(options.out, result)};
    if (!options.trace.empty()) outputs.push_back({options.trace});
    if (!options.state_out.empty())  // u, ū, r and q
        outputs.push_back(float_output(
            options.state_out,
            std::size_t(2 * problem.fields() + 1 + problem.components()) * result.values.size()));
    prepare_outputs(outputs, options.read());

    print_warning("solve", solver_step_warning(problem));
    std::string trace = "step,image,primal,gap,relative,image_residual,field_residual\n", relative;
    ProgressLine progress("solve", solver.iterations, "steps", common.quiet);
    RestoreOptions how;
    if (!options.state_in.empty() || !options.state_out.empty()) how.state = &state;
    how.watch_gap = to_gap || !options.trace.empty();
    if (to_gap) how.tolerance = options.gap;
    how.trace = [&](int step, int image, const cpu::SolverGap& gap) {
        relative = "relative gap " + number(gap.relative(), 3);
        trace += text(step, ",", image, ",", number(gap.primal, 12), ",", number(gap.gap(), 9), ",",
                      number(gap.relative(), 9), ",", number(gap.image_residual, 9), ",",
                      number(gap.field_residual, 9), "\n");
    };
    how.proceed = [&](int step) {
        progress.update(step, relative);
        return !interrupted();
    };
    interrupted();
    const auto backend = make_backend(common.device);
    const Restored restored = restore(*backend, solver, given, how);
    write_images(options.out, result, restored.x);
    if (!options.trace.empty()) write_file(options.trace, trace);
    if (!options.state_out.empty()) write_solver_state(options.state_out, problem, std::move(state));

    Json json{{"command", "solve"},
              {"device", backend->description()},
              {"input", options.problem.input},
              {"shape", result.shape()},
              {"peak", result.peak},
              {"out", options.out},
              {"regulariser", options.restoration.regulariser},
              {"operator", options.restoration.operator_name},
              {"norm", std::sqrt(solver_norm_squared(problem))},
              {"steps", restored.steps},
              {"seconds", restored.seconds}};
    std::string line = text(options.out, ": ", restored.steps, " steps on ", result.images, "×",
                            result.height, "×", result.width, " in ", number(restored.seconds, 4),
                            " s, L = ", number(std::sqrt(solver_norm_squared(problem)), 5));
    if (how.watch_gap) {
        double worst = 0, field = 0, image = 0;
        json["gaps"] = Json::array();
        for (const cpu::SolverGap& gap : restored.gaps) {
            json["gaps"].push_back({{"primal", gap.primal},
                                    {"gap", gap.gap()},
                                    {"relative", gap.relative()},
                                    {"image_residual", gap.image_residual},
                                    {"field_residual", gap.field_residual}});
            worst = std::max(worst, gap.relative());
            field = std::max(field, gap.field_residual);
            image = std::max(image, gap.image_residual);
        }
        json["relative_gap"] = worst;
        if (to_gap) json["reached"] = restored.reached;
        line += ", relative gap " + number(worst, 3);
        if (problem.data != DataTerm::identity) line += ", residual of the image " + number(image, 3);
        if (problem.regulariser == Regulariser::tgv) line += ", residual of the field " + number(field, 3);
    }
    json["interrupted"] = restored.stopped;
    print_result(common, json, line + "\n");
    if (restored.stopped && !restored.reached)
        throw Interrupted(
            text("interrupted after ", restored.steps, " steps; ", options.out, " holds what was reached"));
    return to_gap && !restored.reached ? gap_not_reached : success;
}

int run(const Options& options, const CommonOptions& common) {
    if (options.restoration.wanted()) return run_family(options, common);
    options.restoration.refuse_left_over();
    const int repeat = options.problem.solver.repeat;
    SolverConfig solver = options.problem.solver.config();
    const bool to_gap = options.gap_given->count() > 0;
    if (to_gap && options.iterations->count() == 0) solver.iterations = iterations_to_gap;
    const bool watch = to_gap || !options.trace.empty();
    const bool with_state = !options.state_in.empty() || !options.state_out.empty();
    if ((watch || with_state) && repeat > 1)
        throw UsageError("--repeat does not go with --gap, --trace, --state-in or --state-out");

    const auto [input, lambda] = read_problem(options.problem, solver);
    options.problem.reading.warn("solve", options.problem.input, input, noisy_beyond);
    SolverState state;
    if (!options.state_in.empty())
        state = read_solver_state(options.state_in, input.images, input.height, input.width);
    std::vector<Output> outputs{image_output(options.out, input)};
    if (!options.trace.empty()) outputs.push_back({options.trace});
    if (!options.state_out.empty())  // x, x_bar, p and the two components of q
        outputs.push_back(float_output(options.state_out, 5 * input.values.size()));
    prepare_outputs(outputs, options.read());

    std::string trace = "step,image,primal,gap,relative,primal_residual,dual_residual\n";
    ProgressLine progress("solve", solver.iterations, "steps", common.quiet);
    std::string relative;
    SolveOptions how;
    how.repeat = repeat;
    if (with_state) how.state = &state;
    how.watch_gap = watch;
    if (to_gap) how.tolerance = options.gap;
    how.trace = [&](int step, int image, const cpu::PdhgGap& gap) {
        relative = "relative gap " + number(gap.relative(), 3);
        if (options.trace.empty()) return;
        trace += text(step, ",", image, ",", number(gap.primal, 12), ",", number(gap.gap, 9), ",",
                      number(gap.relative(), 9));
    };
    if (!options.trace.empty())
        how.residuals = [&](int, int, const PdhgResiduals& residuals) {
            trace += text(",", number(residuals.primal, 9), ",", number(residuals.dual, 9), "\n");
        };
    how.proceed = [&](int step) {
        progress.update(step, relative);
        return !interrupted();
    };
    interrupted();
    const auto backend = make_backend(common.device);
    const Solution solution = solve(*backend, solver, input, lambda, how);
    write_images(options.out, input, solution.x);
    if (!options.trace.empty()) write_file(options.trace, trace);
    if (!options.state_out.empty())
        write_solver_state(options.state_out, std::move(state), input.images, input.height, input.width);

    Json json{{"command", "solve"},
              {"device", backend->description()},
              {"input", options.problem.input},
              {"shape", input.shape()},
              {"peak", input.peak},
              {"out", options.out},
              {"steps", solution.steps},
              {"repeat", repeat},
              {"seconds", solution.seconds}};
    std::string line = text(options.out, ": ", solution.steps, " steps on ", input.images, "×", input.height,
                            "×", input.width, " in ", number(solution.seconds, 4), " s");
    if (watch) {
        double worst = 0;
        json["gaps"] = Json::array();
        for (const cpu::PdhgGap& gap : solution.gaps) {
            json["gaps"].push_back({{"primal", gap.primal}, {"gap", gap.gap}, {"relative", gap.relative()}});
            worst = std::max(worst, gap.relative());
        }
        json["relative_gap"] = worst;
        if (to_gap) json["reached"] = solution.reached;
        line += ", relative gap " + number(worst, 3);
    }
    json["interrupted"] = solution.stopped;
    print_result(common, json, line + "\n");
    if (solution.stopped && !solution.reached)
        throw Interrupted(
            text("interrupted after ", solution.steps, " steps; ", options.out, " holds what was reached"));
    return to_gap && !solution.reached ? gap_not_reached : success;
}

}  // namespace

void add_solve(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add("solve",
                                    "denoise by total variation with a given parameter or map; or restore, "
                                    "see --regulariser and --operator",
                                    "tvmap solve noisy.png --lambda 0.07 --gap 1e-4 --out denoised.png",
                                    [options](const CommonOptions& common) { return run(*options, common); });
    options->problem.add(command);
    options->restoration.add(command);
    command.add_option("--out", options->out, "result: .npy, .png (clamped to [0, 1]) or .tif")
        ->type_name(value::file)
        ->required();
    options->gap_given =
        add_number(command, "--gap", options->gap,
                   text("stop at this relative primal-dual gap, looked for in ", iterations_to_gap,
                        " steps unless --iterations is given; exit code 3 if not reached"),
                   0.0)
            ->default_str("");
    command
        .add_option("--trace", options->trace,
                    "CSV of the gap every 32 steps, with the residuals of Goldstein et al. 2013: primal "
                    "‖Kᵀy‖ = ‖x_k − x_{k−1}‖/tau, dual ‖(y_{k−1} − y_k)/sigma + K(x_bar_{k−1} − x_k)‖")
        ->type_name(value::file);
    command
        .add_option("--state-in", options->state_in,
                    "iterates to go on from, as --state-out wrote them (.safetensors)")
        ->type_name(value::file);
    command
        .add_option("--state-out", options->state_out,
                    "the iterates reached: x, x_bar, p, q (.safetensors); --out is the best one with --gap")
        ->type_name(value::file);
    options->problem.solver.add(command);
    options->iterations = command.get_option("--iterations");
}

}  // namespace tvmap
