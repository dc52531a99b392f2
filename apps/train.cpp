// tvmap train: a training run from a YAML experiment, or one for each point of its sweep.
#include <memory>
#include <optional>
#include <vector>

#include "apps/command.h"
#include "apps/command_table.h"
#include "apps/interruption.h"
#include "apps/progress_line.h"
#include "apps/warning.h"
#include "engine/training/trainer.h"

namespace tvmap {
namespace {

struct Options {
    std::string config, run;
    std::vector<std::string> set, change;
    bool resume = false, plan = false;
};

std::string megabytes(std::size_t bytes) { return number(double(bytes) / 1e6, 4) + " MB"; }

Json to_json(const MemoryReport& memory) {
    Json owners;
    for (const MemoryOwner& owner : memory.owners)
        owners[owner.name] = {{"predicted", owner.predicted}, {"measured", owner.measured}};
    return {{"predicted", memory.predicted()},
            {"measured", memory.measured},
            {"limit", memory.limit ? Json(memory.limit) : Json(nullptr)},
            {"copy", memory.copy},
            {"owners", owners}};
}

Json to_json(const std::optional<LargestBatch>& largest) {
    if (!largest) return nullptr;
    return {{"batch", largest->batch},
            {"predicted", largest->predicted},
            {"next", largest->next ? Json(largest->next) : Json(nullptr)}};
}

int train(const Config& config, const std::string& folder, const Options& options,
          const CommonOptions& common) {
    Trainer trainer(config, folder, options.resume, nullptr, options.change);
    for (const std::string& note : trainer.notes()) print_warning("train", note);
    const Progress before = trainer.progress();
    print_banner(
        common, folder,
        trainer.device() +
            (before.steps ? text("; resumed after epoch ", before.epoch, ", step ", before.step) : "") +
            "; images of " + config.data.train);

    std::string validation, left_out;
    TrainReport last;
    std::unique_ptr<ProgressLine> progress;
    const bool finished = trainer.run(
        [&](const TrainReport& report) {
            last = report;
            if (!report.left_out.empty() && report.left_out != left_out) {
                left_out = report.left_out;
                print_warning("train", "validation: " + left_out);
            }
            if (!progress) {
                const double left = double(report.epochs - report.epoch) * report.steps_per_epoch +
                                    (report.steps_per_epoch - report.step + 1);
                progress = std::make_unique<ProgressLine>("training", left, "steps", common.quiet);
            }
            if (report.validated)
                validation = text(", validation ", number(report.psnr, 5), " dB (noisy ",
                                  number(report.noisy_psnr, 4), " dB)");
            progress->update(double(trainer.progress().steps - before.steps),
                             text("epoch ", report.epoch, "/", report.epochs, ", loss ",
                                  number(report.loss, 5), validation));
        },
        interrupted());
    progress.reset();

    const Progress& reached = trainer.progress();
    const MemoryReport& memory = trainer.memory();
    const std::string best = reached.best_epoch
                                 ? text("; best validation PSNR ", number(reached.best_psnr, 5),
                                        " dB in epoch ", reached.best_epoch)
                                 : "";
    print_result(common,
                 Json{{"command", "train"},
                      {"run", folder},
                      {"device", trainer.device()},
                      {"finished", finished},
                      {"epoch", reached.epoch},
                      {"steps", reached.steps},
                      {"steps_per_second", last.steps_per_second},
                      {"best_psnr", reached.best_epoch ? Json(reached.best_psnr) : Json(nullptr)},
                      {"best_epoch", reached.best_epoch},
                      {"memory", to_json(memory)}},
                 text(folder, ": ", finished ? "finished" : "interrupted, resume with --resume", " after ",
                      reached.steps, " steps", best, "\nmemory: predicted ", megabytes(memory.predicted()),
                      memory.measured ? ", measured " + megabytes(memory.measured) : "", "\n"));
    return finished ? success : was_interrupted;
}

int run(const Options& options, const CommonOptions& common) {
    std::vector<Config> configs = read_sweep(options.config, options.set);
    if (configs.size() > 1 && !options.run.empty())
        throw UsageError("--run names one folder, but " + options.config + " is a sweep of " +
                         std::to_string(configs.size()) + " runs; use output.folder");
    for (Config& config : configs) {
        if (common.device != "auto") config.device = common.device;
        if (options.plan) {
            const PlanReport plan = Trainer::plan(config);
            print_result(common,
                         Json{{"command", "train --plan"},
                              {"parameters", plan.parameters},
                              {"memory", to_json(plan.memory)},
                              {"untimed", plan.untimed},
                              {"least", plan.least},
                              {"largest_batch", to_json(plan.largest)}},
                         plan.table);
            continue;
        }
        const std::string folder =
            options.run.empty() ? config.output.folder + "/" + config.output.name : options.run;
        if (const int code = train(config, folder, options, common); code != success) return code;
    }
    return success;
}

}  // namespace

void add_train(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("train", "train a network from a YAML experiment",
                    "tvmap train configs/quickstart.yaml --set train.epochs=20 --run runs/short",
                    [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("config", options->config, "YAML experiment")->type_name(value::file)->required();
    command.add_option("--set", options->set, "KEY=VALUE in place of what the file says; may be repeated")
        ->type_name(value::setting)
        ->allow_extra_args(false);
    command.add_option("--run", options->run, "run folder (default: output.folder/output.name)")
        ->type_name(value::folder);
    CLI::Option* const resume = command.add_flag(
        "--resume", options->resume, "go on from the run's last checkpoint, or start if there is none");
    command
        .add_option("--change", options->change,
                    "with --resume, a key that changes here in the run: train.epochs, with which the "
                    "learning rates end "
                    "elsewhere; may be repeated")
        ->type_name(value::run_key)
        ->allow_extra_args(false)
        ->needs(resume);
    command.add_flag(
        "--plan", options->plan,
        "print parameters, tensors with bytes and lifetimes, the peak, and the largest batch that "
        "fits train.memory_limit; do not train");
}

}  // namespace tvmap
