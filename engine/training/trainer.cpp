#include "engine/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <sstream>

#include "engine/config/solver_problem.h"
#include "engine/data/quality.h"
#include "engine/files/file.h"
#include "engine/files/outputs.h"
#include "engine/files/stopwatch.h"
#include "engine/optimiser/learning_rate.h"
#include "engine/optimiser/optimiser.h"
#include "engine/optimiser/run_clock.h"
#include "engine/training/batches.h"
#include "engine/training/checkpoint_writer.h"
#include "engine/training/memory_limit.h"
#include "engine/training/metrics_file.h"
#include "engine/training/process_memory.h"
#include "engine/training/run_folder.h"
#include "engine/training/training_plan.h"
#include "engine/training/training_steps.h"
#include "engine/training/validation.h"
#include "kernels/base/error.h"
#include "kernels/base/simd.h"

namespace tvmap {

struct Trainer::State {
    explicit State(const Config& c) : config(c) {
        if (config.train.time > 0) clock.emplace(config.train.time);
    }

    Config config;
    std::optional<RunClock> clock;  // in a run by time
    std::unique_ptr<RunFolder> folder;
    std::unique_ptr<Dataset> train, val;
    std::unique_ptr<Backend> backend;
    std::unique_ptr<TrainingPlan> plan;
    std::unique_ptr<Parameters> parameters;
    std::vector<std::unique_ptr<Arena>>
        arenas;  // of each part of a batch; validation takes turns in the first
    std::unique_ptr<Validation> validation;
    std::unique_ptr<MetricsFile> metrics;
    std::unique_ptr<CheckpointWriter> checkpoints;  // which syncs metrics
    std::string origin;     // the checkpoint that the run went on from, "" if from none
    Stopwatch since_last;   // since `last` was due, or training began
    bool last_due = false;  // and not written, since another file was
    Progress progress;
    MemoryReport memory;
    bool memory_measured = false;
    std::string said_of_validation;  // the last line on images that are left out, said once
    std::vector<std::string> notes;
    std::string saved;  // the last good checkpoint, for messages

    std::string path(const std::string& name) const { return folder->path(name); }
    std::string checkpoint(const std::string& name) const { return folder->checkpoint(name); }
    void log(const std::string& line) const { folder->log(line); }
    /// What every run comes to write: a checkpoint holds the whole state of the parameters.
    std::vector<Output> outputs() const {
        const std::uint64_t bytes = sizeof(float) * std::uint64_t(parameters->state_floats());
        std::vector<Output> files{{checkpoint("best"), bytes}, {checkpoint("last"), bytes}};
        for (const char* name : {"config.yaml", "algorithms.json", "metrics.csv", "log.txt"})
            files.push_back({path(name)});
        return files;
    }
    ImageCounts images() const { return {train->count(), val->count()}; }
    int steps_per_epoch() const { return Batches::steps_per_epoch(config, *train); }
    std::int64_t steps_in_all() const { return std::int64_t(config.train.epochs) * steps_per_epoch(); }
    bool stopped_early() const {
        return config.train.stop_after > 0 && progress.unimproved >= config.train.stop_after;
    }
    bool time_is_up() const { return clock && progress.time >= clock->limit(); }
    bool finished() const {
        return stopped_early() || (clock ? time_is_up() : progress.epoch >= config.train.epochs);
    }

    void read_data();
    void make_plan(Algorithms& algorithms);
    void check_limit(Algorithms& algorithms);
    void open(bool resume, const std::vector<std::string>& change);
    void record(const std::vector<Difference>& changes);
    void measure_memory(const std::string& when);
    std::unique_ptr<TrainingSteps> steps();
    void count(const std::vector<double>& losses);
    void validate(TrainReport& report);
    double rate_now() const;
    void time_the_end();
    bool judge(TrainReport& report);
    void finish_epoch(TrainReport& report, double seconds, bool last);
    std::string ending() const;
    bool better(const TrainReport& report) const;
    void save(const std::vector<std::string>& names);
    void save_epoch(bool best, bool last);
    [[noreturn]] void broken(const std::string& what) const;
    void check_finite() const;
};

void Trainer::State::read_data() {
    const DataConfig& data = config.data;
    const int halved = 1 << halvings(config.network);
    if (data.own_sizes && config.train.crop == 0)
        fail(
            "train.crop: images at their own sizes (data.prepare: none) make no batches; give the side of a "
            "square");
    const int least_side = data.own_sizes ? std::max(halved, config.train.crop) : halved;
    train = std::make_unique<Dataset>(data.train, data.size, data.limit.train, "data.train", least_side,
                                      data.picture_limit,
                                      data.own_sizes ? Preparation::none : Preparation::square);
    Batches::check(config, *train);
    val =
        std::make_unique<Dataset>(data.val, data.size, data.limit.val, "data.val", halved, data.picture_limit,
                                  data.own_sizes ? Preparation::centre : Preparation::square);
}

// Nothing is allocated before it is known to fit.
void Trainer::State::make_plan(Algorithms& algorithms) {
    plan = std::make_unique<TrainingPlan>(*backend, config, algorithms, images());
    memory = plan->memory;
    check_limit(algorithms);
    parameters = std::make_unique<Parameters>(*backend, plan->steps.front()->graph().parameters(), true,
                                              plan->parts(), Optimiser::kept(config));
    for (const auto& step : plan->steps) {
        const int part = int(arenas.size());
        arenas.push_back(
            std::make_unique<Arena>(*backend, part == 0 ? plan->arena_bytes : step->arena_bytes()));
        step->bind(*arenas.back(), *parameters, part);
    }
    plan->validation->bind(*arenas.front(), parameters->result());
    validation = std::make_unique<Validation>(*backend, config, *val, *plan->validation, plan->recorded,
                                              plan->resident);
    checkpoints = std::make_unique<CheckpointWriter>(*backend, *parameters);
}

void Trainer::State::check_limit(Algorithms& algorithms) {
    if (memory.limit == 0 || memory.predicted() <= memory.limit) return;
    const LargestBatch largest =
        largest_batch(*backend, config, algorithms, images(), memory["primitives"].predicted);
    fail("train.batch: ", config.train.batch, " needs ", memory.predicted(),
         " bytes, more than train.memory_limit, ", memory.limit, "; ",
         largest.batch ? text("the largest batch that fits is ", largest.batch)
                       : text("not even a batch of 1 fits (", largest.next,
                              " bytes): give a higher limit, a crop or smaller images"));
}

void Trainer::State::open(bool resume, const std::vector<std::string>& change) {
    const bool exists = folder->holds_run();
    if (exists && !resume)
        fail(folder->name(),
             ": holds a run already; go on with it by --resume, or choose another folder with --run");
    progress.train_images = train->digest();
    progress.val_images = val->digest();
    const RunFolder::Continuation from = folder->check(config, progress, steps_per_epoch(), change);
    const bool has_algorithms = exists && std::filesystem::exists(path("algorithms.json"));
    Algorithms algorithms =
        has_algorithms ? Algorithms::read(path("algorithms.json")) : Algorithms::of_machine();

    make_plan(algorithms);
    parameters->initialise(config.seed);

    prepare_outputs(outputs());
    folder->make();
    origin = from.origin;
    if (!origin.empty()) {
        progress = read_checkpoint(origin, *parameters);
        saved = text(origin, " (epoch ", progress.epoch, ", step ", progress.step, ")");
        if (clock) clock->go_on_after(progress.time);
        if (progress.earlier_sure)
            log(notes.emplace_back(
                "an earlier program began this run and took SURE by a forward difference: its best starts "
                "anew, and with train.supervision: sure the loss is another from here on"));
        release_free_memory();  // reading the file took more than a step's memory, once
        reset_peak_resident();
    }
    for (const std::string& note : algorithms.notes()) log(note);
    if (!is_plain(config.solver)) {
        const int side = Batches::side(config);
        const std::string warning =
            solver_step_warning(family_problem(config.solver, config.map, 1, side, side));
        if (!warning.empty()) log(notes.emplace_back(warning));
    }
    algorithms.save(path("algorithms.json"));
    if (!has_algorithms) algorithms.save_for_machine();
    MetricsFile::Start start{progress.epoch, progress.steps};
    start.estimates = config.train.supervision != Supervision::clean;
    if (exists) {
        // Half of it until a checkpoint is due; to write it may take as long again.
        start.unsaved_seconds = 2 * config.train.checkpoint_seconds;
        start.unsaved = config.train.checkpoint_every;
    }
    metrics = std::make_unique<MetricsFile>(folder->name(), start);
    record(from.changes);
    log(text(progress.steps ? "resumed" : "started", " at epoch ", progress.epoch + 1, ", step ",
             progress.step, " on ", backend->description(), " (", cpu::processor_name(), "); ",
             parameters->count(), " parameters"));
    if (clock)
        log(text("ends after ", clock->limit(),
                 " seconds (train.time), its learning rates by the share of them that is over: no two runs "
                 "by time have the same bits"));
    if (!metrics->note().empty()) {
        notes.push_back(metrics->note());
        log(notes.back());
    }
}

/// Writes down the settings that change here, and config.yaml. What the checkpoint holds outlives all: a change of
/// schedule is in it before the first step.
void Trainer::State::record(const std::vector<Difference>& changes) {
    const std::string place = text(" at step ", progress.steps);
    bool schedule = false;
    for (const Difference& change : changes) {
        log("changed " + describe(change) + place);
        if (change.bearing != Bearing::schedule) continue;
        progress.changes += describe(change) + place + "\n";
        schedule = true;
    }
    if (schedule) save({"last"});
    checkpoints->finish();
    std::istringstream lines(progress.changes);
    std::string comments;
    for (std::string line; std::getline(lines, line);) comments += "# " + line + "\n";
    write_file(path("config.yaml"), comments + config.to_yaml());
}

// A checkpoint counts on the rows of its epochs.
void Trainer::State::save(const std::vector<std::string>& names) {
    if (clock) progress.time = std::max(progress.time, clock->used());
    std::vector<std::string> paths;
    for (const std::string& name : names) paths.push_back(checkpoint(name));
    checkpoints->write(paths, config, progress, [this] { metrics->sync(); });
    saved = text(paths.back(), " (epoch ", progress.epoch, ", step ", progress.step, ")");
}

// The best before the last, which names its epoch. The best waits where another checkpoint is being written; the last
// is put off to the next epoch then, unless it is wanted every so many epochs.
void Trainer::State::save_epoch(bool best, bool last) {
    const double least = config.train.checkpoint_seconds;
    if (progress.epoch % config.train.checkpoint_every == 0 && since_last.seconds() >= least) last_due = true;
    const bool put_off = checkpoints->busy() && !best && least > 0;
    std::vector<std::string> names;
    if (best) names.push_back("best");
    if (last || (last_due && !put_off)) {
        names.push_back("last");
        last_due = false;
        since_last = {};
    }
    if (!names.empty()) save(names);
}

void Trainer::State::broken(const std::string& what) const {
    checkpoints->finish();
    fail(what, " after ", progress.steps, " steps; ",
         saved.empty() ? "nothing was saved before" : "the last good weights are " + saved,
         "; try a smaller optimiser.rate");
}

void Trainer::State::check_finite() const {
    if (const std::string name = parameters->not_finite(); !name.empty()) broken(name + " is not finite");
}

Trainer::Trainer(const Config& config, const std::string& run_folder, bool resume,
                 std::unique_ptr<Backend> backend, const std::vector<std::string>& change)
    : state_(std::make_unique<State>(config)) {
    State& s = *state_;
    s.folder = std::make_unique<RunFolder>(run_folder);
    s.backend = backend ? std::move(backend) : make_backend(config.device, config.network.precision);
    s.read_data();
    s.open(resume, change);
}

Trainer::~Trainer() = default;

const Progress& Trainer::progress() const { return state_->progress; }
const MemoryReport& Trainer::memory() const { return state_->memory; }
const std::vector<std::string>& Trainer::notes() const { return state_->notes; }
bool Trainer::stopped_early() const { return state_->stopped_early(); }
std::string Trainer::device() const { return state_->backend->description(); }

std::unique_ptr<TrainingSteps> Trainer::State::steps() {
    std::vector<Plan*> plans;
    for (const auto& step : plan->steps) plans.push_back(step.get());
    const TrainingParts parts{
        *backend,
        config,
        *train,
        plans,
        *parameters,
        plan->noisy,
        plan->target,
        plan->weights,
        clock ? &*clock : nullptr,
        std::int64_t(progress.epoch) * steps_per_epoch() + progress.step - progress.steps};
    const int epoch = progress.epoch + 1;
    if (!plan->recorded) return std::make_unique<HostSteps>(parts, epoch, progress.step);
    return std::make_unique<ResidentSteps>(parts, epoch, progress.step, plan->resident);
}

void Trainer::State::measure_memory(const std::string& when) {
    const std::size_t now = backend->memory_in_use().value_or(peak_resident_bytes());
    const std::size_t taken = std::max(now, plan->in_use_before) - plan->in_use_before;
    std::vector<PlacedPlan> plans;
    for (const auto& step : plan->steps) plans.push_back({step.get(), arenas[plans.size()].get()});
    measure(memory, *backend, plans, *parameters, taken);
    memory_measured = true;
    log(when + "\n" + memory.table());
}

void Trainer::State::count(const std::vector<double>& losses) {
    for (const double loss : losses) {
        ++progress.steps;
        if (!std::isfinite(loss)) broken("the loss is not finite");
        progress.loss_sum += loss;
        ++progress.step;
    }
}

void Trainer::State::validate(TrainReport& report) {
    const Validation::Result all = validation->run();
    if (!all.finite) broken("a validation image's map or result is not finite");
    if (!all.sure.empty())
        report.sure = std::accumulate(all.sure.begin(), all.sure.end(), 0.0) / double(all.sure.size());
    if (all.denoised.empty()) return;
    std::vector<Quality> of_noisy, of_denoised;
    std::vector<std::string> left_out;
    for (int i = 0; i < val->count(); ++i) {
        if (belongs_in_means({all.noisy[i], all.denoised[i]})) {
            of_noisy.push_back(all.noisy[i]);
            of_denoised.push_back(all.denoised[i]);
        } else {
            left_out.push_back(val->name(i));
        }
    }
    const Quality mean = mean_quality(of_denoised);
    report.noisy_psnr = mean_quality(of_noisy).psnr;
    report.psnr = mean.psnr;
    report.ssim = mean.ssim;
    report.validated = !of_denoised.empty();
    report.left_out = left_out_of_means(left_out);
    if (report.left_out != said_of_validation) log("validation: " + report.left_out);
    said_of_validation = report.left_out;
}

/// Of the last step; in a run by time, of one that would be taken now.
double Trainer::State::rate_now() const {
    if (clock) return learning_rate_by_time(config.optimiser, progress.steps, clock->share());
    return learning_rate(config.optimiser, progress.steps, steps_in_all());
}

/// A run by time keeps back what its last validation takes, which is measured before the first step.
void Trainer::State::time_the_end() {
    if (!clock) return;
    const Stopwatch watch;
    validation->run();
    clock->reserve(watch.seconds());
}

bool Trainer::State::better(const TrainReport& report) const {
    if (report.sure) return *report.sure < progress.best_sure;
    return report.validated && report.psnr > progress.best_psnr;
}

/// Validates, and says whether the run is to end for it.
bool Trainer::State::judge(TrainReport& report) {
    validate(report);
    if (better(report)) {
        if (report.validated) progress.best_psnr = report.psnr;
        if (report.sure) progress.best_sure = *report.sure;
        progress.best_epoch = progress.epoch;
        progress.unimproved = 0;
        report.best = true;
    } else if ((report.validated || report.sure) && config.train.stop_after > 0) {
        ++progress.unimproved;
    }
    return stopped_early() || (clock && clock->over());
}

// Metrics before the checkpoint: a run that dies in between has a row too many, which resuming cuts off
// again.
void Trainer::State::finish_epoch(TrainReport& report, double seconds, bool last) {
    const Stopwatch watch;
    const double rate = rate_now();
    check_finite();
    ++progress.epoch;
    if (last || progress.epoch % config.train.validate_every == 0) last = judge(report) || last;
    const double loss = progress.loss_sum / progress.step;
    progress.step = 0;
    progress.loss_sum = 0;
    progress.seconds = 0;
    if (last && clock && !stopped_early()) progress.time = clock->limit();
    metrics->append({progress.epoch, progress.steps, loss, rate, report.validated, report.psnr, report.ssim,
                     report.noisy_psnr, seconds + watch.seconds(), report.sure});
    save_epoch(report.best, last);
    if (clock && (report.validated || report.sure)) clock->reserve(watch.seconds());
}

std::string Trainer::State::ending() const {
    return stopped_early() ? text("stopped early, after ", progress.unimproved,
                                  " validations that were no better (train.stop_after),")
                           : "finished";
}

bool Trainer::run(const std::function<void(const TrainReport&)>& report, const std::atomic<bool>& stop) {
    State& s = *state_;
    Progress& progress = s.progress;
    const int steps_per_epoch = s.steps_per_epoch();
    if (s.finished()) {
        if (s.origin != s.checkpoint("last")) s.save({"last"});
        s.checkpoints->finish();
        return true;
    }
    s.since_last = {};
    s.time_the_end();
    const std::unique_ptr<TrainingSteps> steps = s.steps();
    const Stopwatch whole;
    Stopwatch epoch;
    const std::int64_t first = progress.steps;

    while (!s.finished()) {
        if (stop) {
            progress.seconds += epoch.seconds();
            s.check_finite();
            s.save({"last"});
            s.checkpoints->finish();
            s.measure_memory("when interrupted");
            s.log(text("interrupted at epoch ", progress.epoch + 1, ", step ", progress.step));
            return false;
        }
        const Stopwatch taking;
        s.count(steps->take());
        if (!s.memory_measured && progress.steps - first >= 10) s.measure_memory("after ten steps");

        TrainReport now;
        now.epoch = progress.epoch + 1;
        now.epochs = s.clock ? 0 : s.config.train.epochs;
        now.step = progress.step;
        now.steps_per_epoch = steps_per_epoch;
        now.loss = progress.loss_sum / progress.step;
        const bool time_is_up = s.clock && s.clock->over(taking.seconds());
        if (progress.step == steps_per_epoch || time_is_up) {
            const bool last = s.clock ? time_is_up : now.epoch >= s.config.train.epochs;
            s.finish_epoch(now, progress.seconds + epoch.seconds(), last);
            epoch = {};
        }
        now.steps_per_second = double(progress.steps - first) / whole.seconds();
        now.steps_left =
            s.clock ? s.clock->left() * now.steps_per_second : double(s.steps_in_all() - progress.steps);
        now.seconds_left = now.steps_left / now.steps_per_second;
        report(now);
    }
    s.checkpoints->finish();
    s.measure_memory("at the end");
    const std::string value = s.config.train.supervision == Supervision::clean
                                  ? text("PSNR ", progress.best_psnr, " dB")
                                  : text("SURE ", progress.best_sure);
    const std::string best =
        progress.best_epoch == 0 ? "" : text("; best validation ", value, " in epoch ", progress.best_epoch);
    s.log(text(s.ending(), " after ", progress.steps, " steps, ", s.metrics->seconds(), " seconds", best));
    return true;
}

}  // namespace tvmap
