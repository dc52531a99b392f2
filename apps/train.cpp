// tvmap train: a training run from a YAML experiment, or one for each point of its sweep and for each fold.
#include <memory>
#include <optional>
#include <vector>

#include "apps/command.h"
#include "apps/interruption.h"
#include "apps/progress_line.h"
#include "apps/train_queue.h"
#include "apps/warning.h"
#include "engine/queue/queue.h"
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

/// False where it was interrupted.
bool train(const Config& config, const std::string& folder, const Options& options,
           const CommonOptions& common, Progress& reached) {
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

    reached = trainer.progress();
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
    return finished;
}

void print_plan(Config config, const CommonOptions& common) {
    DataConfig& data = config.data;
    if (data.folds > 0) data.limit.train -= data.limit.train / data.folds;  // what a fold trains on at most
    const PlanReport plan = Trainer::plan(config);
    print_result(common,
                 Json{{"command", "train --plan"},
                      {"parameters", plan.parameters},
                      {"memory", to_json(plan.memory)},
                      {"untimed", plan.untimed},
                      {"least", plan.least},
                      {"largest_batch", to_json(plan.largest)}},
                 plan.table);
}

int run(const Options& options, const CommonOptions& common) {
    Sweep sweep = read_sweep(options.config, options.set);
    for (SweptConfig& swept : sweep.configs)
        if (common.device != "auto") swept.config.device = common.device;
    const Config& first = sweep.configs[0].config;
    if (options.plan) {
        for (const SweptConfig& swept : sweep.configs) print_plan(swept.config, common);
        return success;
    }
    const std::string folder =
        options.run.empty() ? first.output.folder + "/" + first.output.name : options.run;
    const TrainRun train_run = [&](const Config& config, const std::string& place, const CommonOptions& how,
                                   Progress& reached) { return train(config, place, options, how, reached); };
    if (is_queue(sweep)) return train_queue(sweep, folder, options.resume, train_run, common);
    Progress reached;
    return train_run(first, folder, common, reached) ? success : was_interrupted;
}

}  // namespace

void add_train(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("train", "train a network from a YAML experiment",
                    "tvmap train configs/quickstart.yaml --set train.epochs=20 --run runs/short",
                    [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("config", options->config, "YAML experiment")->required();
    command.add_option("--set", options->set, "KEY=VALUE in place of what the file says; may be repeated")
        ->allow_extra_args(false);
    command.add_option("--run", options->run,
                       "folder of the run, or of the runs of a sweep and of folds (default: "
                       "output.folder/output.name)");
    CLI::Option* const resume = command.add_flag("--resume", options->resume,
                                                 "go on from the last checkpoint (of a sweep or of folds: "
                                                 "with the runs that are not finished), or start "
                                                 "if there is none");
    command
        .add_option(
            "--change", options->change,
            "KEY that changes here in the run: train.epochs, with which the learning rates end elsewhere")
        ->allow_extra_args(false)
        ->needs(resume);
    command.add_flag(
        "--plan", options->plan,
        "print parameters, tensors with bytes and lifetimes, the peak, and the largest batch that "
        "fits train.memory_limit; do not train");
}

}  // namespace tvmap
