// tvmap study: gradient modes, T and step sizes, measured side by side.
#include <memory>
#include <vector>

#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "apps/program/warning.h"
#include "engine/study/study.h"

namespace tvmap {
namespace {

struct Options {
    std::string config, out, checkpoint;
    std::vector<std::string> set;
    bool resume = false;
};

Json to_json(const GradientError& error) { return {{"relative", error.relative}, {"angle", error.angle}}; }

Json to_json(const StudyResult& result) {
    Json gradient = Json::array(), training = Json::array(), iterations = Json::array(),
         rates = Json::array();
    for (const GradientRow& r : result.gradient)
        gradient.push_back({{"mode", r.mode},
                            {"size", r.size},
                            {"iterations", r.iterations},
                            {"forward_seconds", r.forward_seconds},
                            {"backward_seconds", r.backward_seconds},
                            {"predicted_bytes", r.predicted_bytes},
                            {"measured_bytes", r.measured_bytes},
                            {"error", to_json(r.error)},
                            {"error_in_double", to_json(r.in_double)},
                            {"error_to_limit", to_json(r.limit)},
                            {"adjoint_steps", r.adjoint_steps}});
    for (const ImplicitRate& r : implicit_rates(result.gradient))
        rates.push_back({{"size", r.size},
                         {"power", r.power},
                         {"from", r.from},
                         {"to", r.to},
                         {"first_error", r.first_error},
                         {"last_error", r.last_error}});
    for (const TrainedRow& r : result.training)
        training.push_back({{"mode", r.mode},
                            {"step_sizes", r.step_sizes},
                            {"iterations", r.iterations},
                            {"steps", r.steps},
                            {"seconds_per_step", r.seconds_per_step},
                            {"predicted_bytes", r.predicted_bytes},
                            {"measured_bytes", r.measured_bytes},
                            {"loss", r.loss},
                            {"psnr", r.psnr},
                            {"ssim", r.ssim}});
    for (const TestedRow& r : result.iterations)
        iterations.push_back({{"mode", r.mode},
                              {"step_sizes", r.step_sizes},
                              {"trained_iterations", r.trained_iterations},
                              {"tested_iterations", r.tested_iterations},
                              {"noisy_psnr", r.noisy_psnr},
                              {"scalar_psnr", r.scalar_psnr},
                              {"psnr", r.psnr},
                              {"ssim", r.ssim}});
    return {{"gradient", gradient},
            {"implicit_rates", rates},
            {"training", training},
            {"iterations", iterations}};
}

int run(const Options& options, const CommonOptions& common) {
    Config config = read_config(options.config, options.set);
    if (common.device != "auto") config.device = common.device;
    if (config.data.folds > 0)
        fail(options.config, ": data.folds: a study has no folds; give 0, or use tvmap train");
    const std::string out =
        options.out.empty() ? config.output.folder + "/" + config.output.name : options.out;
    const auto backend = make_backend(config.device, config.network.precision);
    std::string shown;  // the part that the line is about
    std::unique_ptr<ProgressLine> progress;
    const StudyResult result = run_study(
        *backend, config, options.checkpoint, out, options.resume,
        [&](const std::string& part, double done, double total, const std::string& unit) {
            if (shown.empty()) print_banner(common, out, backend->description());
            const std::string kind = part.substr(0, part.find(' '));
            if (shown != kind) progress = std::make_unique<ProgressLine>(kind, total, unit, common.quiet);
            shown = kind;
            progress->update(done, part == kind ? "" : part.substr(kind.size() + 1));
        },
        interrupted());
    progress.reset();
    if (common.quiet || common.json)
        for (const std::string& line : result.left_out) print_warning("study", line);
    print_warning("study", result.missing_figures);
    for (const std::string& note : result.notes) print_warning("study", note);
    Json json{{"command", "study"}, {"device", backend->description()}, {"out", out}};
    json.update(to_json(result));
    print_result(common, json, text(result.summary(), "\ntables, figures and trained networks: ", out, "\n"));
    return success;
}

}  // namespace

void add_study(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add(
        "study", "gradient modes, steps and step sizes: time, memory, error and quality",
        "tvmap study configs/study.yaml --set data.train=xray/train --set data.val=xray/val --set "
        "data.test=xray/test --out study/xray",
        [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("config", options->config, "YAML experiment with a section study")
        ->type_name(value::file)
        ->required();
    command.add_option("--set", options->set, "KEY=VALUE in place of what the file says; may be repeated")
        ->type_name(value::setting)
        ->allow_extra_args(false);
    command.add_option("--out", options->out, "folder for the results (default: output.folder/output.name)")
        ->type_name(value::folder);
    command.add_flag("--resume", options->resume,
                     "go on from the pieces of the study that are finished, or start if there are none");
    command
        .add_option("--checkpoint", options->checkpoint,
                    "measure gradients at this network's maps (.safetensors), not at smooth ones")
        ->type_name(value::file);
}

}  // namespace tvmap
