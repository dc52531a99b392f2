// tvmap evaluate: the test set, the best scalar λ of each image, and the network's map.
#include <ctime>
#include <filesystem>
#include <memory>
#include <vector>

#include "apps/commands/evaluate.h"
#include "apps/options/trained_weights.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/machine.h"
#include "apps/program/progress_line.h"
#include "apps/program/warning.h"
#include "engine/evaluation/evaluator.h"
#include "engine/evaluation/statistics.h"
#include "engine/model/provided_weights.h"
#include "engine/training/training_figure.h"

namespace tvmap {
namespace {

struct Options {
    std::string run, checkpoint, config, out;
    std::vector<std::string> set;
    int pictures = 8, figures = 3;
};

Json to_json(const std::vector<EvaluatedImage>& images, Quality EvaluatedImage::*who) {
    auto entry = [&](double Quality::*measure) {
        const Statistic s = statistic(images, [&](const EvaluatedImage& i) { return (i.*who).*measure; });
        return Json{{"mean", s.mean}, {"deviation", s.deviation}};
    };
    return {{"psnr", entry(&Quality::psnr)},
            {"ssim", entry(&Quality::ssim)},
            {"ssim_uniform", entry(&Quality::ssim_uniform)}};
}

Json to_json(const std::vector<EvaluatedImage>& images, double EvaluatedImage::*what) {
    const Statistic s = statistic(images, [&](const EvaluatedImage& i) { return i.*what; });
    return {{"mean", s.mean}, {"deviation", s.deviation}};
}

/// 95 %, or null where there are too few images.
Json interval_of(const std::vector<double>& gains) {
    const Interval interval = mean_interval(gains);
    return Json::array({interval.low, interval.high});
}

Json to_json(const std::vector<Difference>& differences) {
    Json list = Json::array();
    for (const Difference& d : differences)
        list.push_back({{"key", d.key}, {"trained", d.then}, {"used", d.now}});
    return list;
}

std::string absolute(const std::string& path) {
    return path.empty() ? "" : std::filesystem::absolute(path).lexically_normal().string();
}

/// In Coordinated Universal Time.
std::string now() {
    const std::time_t seconds = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    char line[32];
    return {line, std::strftime(line, sizeof line, "%Y-%m-%d %H:%M UTC", &parts)};
}

Provenance made_by(const Options& options, const CommonOptions& common, const std::string& device) {
    Provenance entries{{"command", common.command_line},     {"date", now()},
                       {"run", absolute(options.run)},       {"checkpoint", absolute(options.checkpoint)},
                       {"pictures", text(options.pictures)}, {"device", device}};
    const Json facts = machine_facts(common);
    for (const auto& [key, value] : facts.items())
        entries.emplace_back(key,
                             value.is_string() ? value.get<std::string>() : number(value.get<double>(), 4));
    return entries;
}

int run(Options options, const CommonOptions& common) {
    namespace fs = std::filesystem;
    if (options.run.empty() && options.checkpoint.empty())
        throw UsageError("name a run folder, or --weights");
    if (!options.run.empty() && fs::exists(options.run + "/pieces.json"))
        fail(options.run, ": holds several runs; name the folder of one of them");
    if (options.config.empty() && !options.run.empty()) options.config = options.run + "/config.yaml";
    if (!options.checkpoint.empty()) {
        options.checkpoint = weights_file(options.checkpoint);
    } else {
        options.checkpoint = options.run + "/checkpoints/best.safetensors";
        if (!fs::exists(options.checkpoint))
            options.checkpoint = options.run + "/checkpoints/last.safetensors";
        if (!fs::exists(options.checkpoint)) fail(options.run, ": holds no checkpoint; train first");
    }
    if (options.out.empty()) options.out = options.run.empty() ? "evaluation" : options.run + "/evaluation";
    Config config = options.config.empty() ? checkpoint_config(options.checkpoint, options.set)
                                           : read_config(options.config, options.set);
    const auto backend = backend_for_weights(config, common, options.set);
    std::unique_ptr<ProgressLine> progress;
    const Evaluation result = evaluate(
        *backend, config, options.checkpoint, options.out, options.pictures,
        [&](int done, int total) {
            if (!progress) {
                print_banner(common, options.checkpoint,
                             backend->description() + "; images of " + config.data.test);
                progress = std::make_unique<ProgressLine>("evaluating", total, "images", common.quiet);
            }
            progress->update(done);
        },
        interrupted(), made_by(options, common, backend->description()), options.figures);
    progress.reset();
    const std::string training = options.run.empty() ? "" : draw_training(options.run, options.out);
    if (common.quiet || common.json) print_warning("evaluate", left_out_of_means(result.left_out()));
    print_warning("evaluate", result.missing_figures.empty() ? training : result.missing_figures);

    const Quality gain = result.gain();
    print_result(
        common,
        Json{{"command", "evaluate"},
             {"device", backend->description()},
             {"checkpoint", options.checkpoint},
             {"data", config.data.test},
             {"out", options.out},
             {"configured", result.use.configured},
             {"differences", to_json(result.use.differences)},
             {"images", result.images.size()},
             {"left_out", result.left_out()},
             {"noise", to_json(result.images, &EvaluatedImage::noise)},
             {"noise_estimated", to_json(result.images, &EvaluatedImage::noise_estimated)},
             {"noisy", to_json(result.images, &EvaluatedImage::noisy)},
             {"scalar", to_json(result.images, &EvaluatedImage::scalar)},
             {"map", to_json(result.images, &EvaluatedImage::map)},
             {"gain", {{"psnr", gain.psnr}, {"ssim", gain.ssim}, {"ssim_uniform", gain.ssim_uniform}}},
             {"gain_interval",
              {{"psnr", interval_of(result.gains(&Quality::psnr))},
               {"ssim", interval_of(result.gains(&Quality::ssim))},
               {"ssim_uniform", interval_of(result.gains(&Quality::ssim_uniform))}}},
             {"p", sign_flip_p(result.gains(&Quality::psnr))},
             {"search_seconds", result.search_seconds},
             {"map_seconds", result.map_seconds}},
        text(result.table(), "on ", backend->description(),
             "; seconds an image (median): ", number(result.search_seconds, 3), " for all ",
             result.lambdas.size(), " scalars, ", number(result.map_seconds, 3), " for network and solver\n",
             "tables, figures and pictures: ", options.out, "\n"));
    return success;
}

}  // namespace

int evaluate_run(const std::string& run_folder, const CommonOptions& common) {
    Options options;
    options.run = run_folder;
    return run(options, common);
}

void add_evaluate(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("evaluate", "test set: noisy, best scalar λ, map",
                    "tvmap evaluate runs/quickstart --set evaluate.sigma=[0.1,0.5] --out drawn",
                    [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("run", options->run, "run folder: its configuration and best checkpoint")
        ->type_name(value::folder);
    command
        .add_option("--weights,--checkpoint", options->checkpoint,
                    "a checkpoint (.safetensors), or the name of weights that come with the program (tvmap "
                    "info lists them) (default: the run's best)")
        ->type_name(value::name_or_file);
    command
        .add_option("--config", options->config, "YAML experiment (default: the run's or the weights' own)")
        ->type_name(value::file);
    command.add_option("--set", options->set, "KEY=VALUE in place of what the file says; may be repeated")
        ->type_name(value::setting)
        ->allow_extra_args(false);
    command.add_option("--out", options->out, "folder for the results (default: RUN/evaluation)")
        ->type_name(value::folder);
    add_number(command, "--pictures", options->pictures, "images of which pictures are written", 0);
    add_number(command, "--figures", options->figures,
               "of them, images of which figures are drawn (panel, and map with its histogram)", 0);
}

}  // namespace tvmap
