// tvmap train: a training run from a YAML experiment, or one for each point of its sweep and for each fold.
#include <unistd.h>

#include <memory>
#include <optional>
#include <vector>

#include "apps/commands/text_curve.h"
#include "apps/commands/train_queue.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "apps/program/warning.h"
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

/// A path as a shell takes it.
std::string quoted(const std::string& path) {
    if (path.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-=,@%") ==
        std::string::npos)
        return path;
    std::string inside;
    for (const char c : path) inside += c == '\'' ? "'\\''" : std::string(1, c);
    return "'" + inside + "'";
}

/// What to do with a run that is finished.
std::string next_steps(const std::string& folder) {
    const std::string path = quoted(folder.starts_with('-') ? "./" + folder : folder);
    return text("next: tvmap evaluate ", path, " && tvmap report ", path, "\n");
}

/// The part of the progress line that tells how validation goes; on a terminal with its curve.
class ValidationLine {
  public:
    void add(const TrainReport& report) {
        line_ = ", validation ";
        if (report.sure) line_ += "SURE " + number(*report.sure, 5) + (report.validated ? ", " : "");
        if (!report.validated) return;
        values_.push_back(report.psnr);
        line_ += text(number(report.psnr, 5), " dB (noisy ", number(report.noisy_psnr, 4), " dB)");
        if (const std::string curve = terminal_ ? text_curve(values_) : ""; !curve.empty())
            line_ += " " + curve;
    }
    const std::string& line() const { return line_; }

  private:
    const bool terminal_ = isatty(1) != 0 && isatty(2) != 0;
    std::vector<double> values_;
    std::string line_;
};

/// What the validation of the best epoch came to.
std::string best_of(const Progress& reached, const Config& config) {
    if (reached.best_epoch == 0) return "";
    const std::string value = config.train.supervision == Supervision::clean
                                  ? text("PSNR ", number(reached.best_psnr, 5), " dB")
                                  : text("SURE ", number(reached.best_sure, 5));
    return text("; best validation ", value, " in epoch ", reached.best_epoch);
}

/// False where it was interrupted; `reached` says how far it came. `alone`: as no run of a queue, which goes on by itself.
bool train(const Config& config, const std::string& folder, const Options& options,
           const CommonOptions& common, bool alone, Progress& reached) {
    Trainer trainer(config, folder, options.resume, nullptr, options.change);
    for (const std::string& note : trainer.notes()) print_warning("train", note);
    const Progress before = trainer.progress();
    print_banner(
        common, folder,
        trainer.device() +
            (before.steps ? text("; resumed after epoch ", before.epoch, ", step ", before.step) : "") +
            "; images of " + config.data.train);

    std::string left_out;
    ValidationLine validation;
    TrainReport last;
    std::unique_ptr<ProgressLine> progress;
    const bool finished = trainer.run(
        [&](const TrainReport& report) {
            last = report;
            if (!report.left_out.empty() && report.left_out != left_out) {
                left_out = report.left_out;
                print_warning("train", "validation: " + left_out);
            }
            if (!progress) progress = std::make_unique<ProgressLine>("training", 0, "steps", common.quiet);
            if (report.validated || report.sure) validation.add(report);
            const double done = double(trainer.progress().steps - before.steps);
            progress->expect(done + report.steps_left);
            const std::string epochs = report.epochs ? text("/", report.epochs) : "";
            progress->update(done, text("epoch ", report.epoch, epochs, ", loss ", number(report.loss, 5),
                                        validation.line()));
        },
        interrupted());
    progress.reset();

    reached = trainer.progress();
    const Progress nothing;
    const MemoryReport& memory = trainer.memory();
    print_result(
        common,
        Json{{"command", "train"},
             {"run", folder},
             {"device", trainer.device()},
             {"finished", finished},
             {"stopped_early", trainer.stopped_early()},
             {"epoch", reached.epoch},
             {"steps", reached.steps},
             {"steps_per_second", last.steps_per_second},
             {"best_psnr", reached.best_psnr > nothing.best_psnr ? Json(reached.best_psnr) : Json()},
             {"best_sure", reached.best_sure < nothing.best_sure ? Json(reached.best_sure) : Json()},
             {"best_epoch", reached.best_epoch},
             {"memory", to_json(memory)}},
        text(folder, ": ",
             !finished                 ? "interrupted, resume with --resume"
             : trainer.stopped_early() ? "stopped early (train.stop_after)"
                                       : "finished",
             " after ", reached.steps, " steps", best_of(reached, config), "\nmemory: predicted ",
             megabytes(memory.predicted()), memory.measured ? ", measured " + megabytes(memory.measured) : "",
             "\n", finished && reached.best_epoch && alone ? next_steps(folder) : ""));
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
    const bool alone = !is_queue(sweep);
    const TrainRun train_run = [&](const Config& config, const std::string& place, const CommonOptions& how,
                                   Progress& reached) {
        return train(config, place, options, how, alone, reached);
    };
    if (!alone) return train_queue(sweep, folder, options.resume, train_run, common);
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
    command.add_option("config", options->config, "YAML experiment")->type_name(value::file)->required();
    command.add_option("--set", options->set, "KEY=VALUE in place of what the file says; may be repeated")
        ->type_name(value::setting)
        ->allow_extra_args(false);
    command
        .add_option("--run", options->run,
                    "folder of the run, or of the runs of a sweep and of folds (default: "
                    "output.folder/output.name)")
        ->type_name(value::folder);
    CLI::Option* const resume = command.add_flag("--resume", options->resume,
                                                 "go on from the last checkpoint (of a sweep or of folds: "
                                                 "with the runs that are not finished), or start "
                                                 "if there is none");
    command
        .add_option("--change", options->change,
                    "with --resume, a key that changes here in the run: train.epochs, or train.time in a run "
                    "by time, with which the learning rates end elsewhere; may be repeated")
        ->type_name("train.epochs|train.time")
        ->allow_extra_args(false)
        ->needs(resume);
    command.add_flag(
        "--plan", options->plan,
        "print parameters, tensors with bytes and lifetimes, the peak, and the largest batch that "
        "fits train.memory_limit; do not train");
}

}  // namespace tvmap
