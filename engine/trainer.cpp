#include "engine/trainer.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/denoiser.h"
#include "engine/file.h"
#include "engine/metrics_file.h"
#include "engine/process_memory.h"
#include "engine/quality.h"
#include "engine/stopwatch.h"
#include "engine/training_steps.h"
#include "kernels/error.h"

namespace tvmap {
namespace {

/// What must agree between a run and its continuation: everything but the settings that say how far, how
/// often and where, and those of the test alone (evaluate.iterations is validation's T too).
std::string identity(Config config) {
    config.train.epochs = config.train.validate_every = config.train.checkpoint_every = 1;
    config.evaluate.sigma = {};
    config.evaluate.search = {};
    config.output = {};
    config.device = "auto";
    return config.to_yaml();
}

void check_same_run(const Config& config, const std::string& path) {
    std::istringstream now(identity(config)), then(identity(read_config(path)));
    for (std::string a, b; std::getline(now, a) && std::getline(then, b);)
        if (a != b)
            fail(path, ": the run was started with '", b, "', not '", a,
                 "': resume with the same settings, or start another run with --run");
}

/// A number that changes when images are added, removed, renamed or replaced (FNV-1a over names and standard
/// deviations).
std::string fingerprint(const Dataset& data) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    auto add = [&](const void* bytes, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i)
            hash = (hash ^ static_cast<const unsigned char*>(bytes)[i]) * 0x100000001b3u;
    };
    for (int i = 0; i < data.count(); ++i) {
        add(data.name(i).c_str(), data.name(i).size() + 1);
        const double deviation = data.deviation(i);
        add(&deviation, sizeof deviation);
    }
    return text(data.count(), " images, ", std::hex, hash);
}

}  // namespace

struct Trainer::State {
    Config config;
    std::string folder;
    std::unique_ptr<Dataset> train, val;
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Parameters> parameters;
    std::unique_ptr<Plan> plan;
    std::unique_ptr<Denoiser> denoiser;
    std::unique_ptr<Arena> arena;
    Value noisy, target;
    std::unique_ptr<MetricsFile> metrics;
    Progress progress;
    MemoryReport memory;
    bool resident = false;  // the training set, in the backend's memory
    std::size_t in_use_before = 0;

    std::string path(const std::string& name) const { return folder + "/" + name; }
    std::string checkpoint(const std::string& name) const {
        return path("checkpoints/" + name + ".safetensors");
    }
    int steps_per_epoch() const { return Batches::steps_per_epoch(config, *train); }
    /// Whether a step is recorded and replayed. Learned steps of the solver are read by the host.
    bool recorded() const {
        return backend->separate_memory() && config.solver.train_steps == TrainSteps::none;
    }

    void read_data();
    void make_plan(Algorithms& algorithms);
    void open(bool resume);
    std::size_t memory_in_use() const;
    std::unique_ptr<TrainingSteps> steps();
    void count(const std::vector<double>& losses);
    void validate(TrainReport& report);
    void finish_epoch(TrainReport& report, double rate, double seconds);
    void save() { write_checkpoint(checkpoint("last"), *parameters, config, progress); }
    void log(const std::string& line) const;
};

void Trainer::State::log(const std::string& line) const {
    std::ofstream file(path("log.txt"), std::ios::app);
    file << line << std::endl;
    if (!file) fail("cannot write ", path("log.txt"), "; free some space or choose another folder");
}

void Trainer::State::read_data() {
    const DataConfig& data = config.data;
    const int least_side = 1 << halvings(config.network);
    train = std::make_unique<Dataset>(data.train, data.size, data.limit.train, "data.train", least_side);
    if (train->count() < config.train.batch)
        fail(data.train, ": ", train->count(),
             " images are fewer than one batch (train.batch: ", config.train.batch, ")");
    val = std::make_unique<Dataset>(data.val, data.size, data.limit.val, "data.val", least_side);
}

std::size_t Trainer::State::memory_in_use() const {
    return backend->memory_in_use().value_or(resident_bytes());
}

void Trainer::State::make_plan(Algorithms& algorithms) {
    reset_peak_resident();
    in_use_before = memory_in_use();
    const int side = Batches::side(config);
    Model model = record_training_model(*backend, config, config.train.batch, side, side);
    noisy = model.noisy;
    target = model.target;
    parameters = std::make_unique<Parameters>(*backend, model.graph.parameters(), true);
    plan = std::make_unique<Plan>(std::move(model.graph), *backend, algorithms, true);
    // Nothing of a training step outlives it but the parameters, so validation takes its turn in the same
    // arena.
    denoiser = std::make_unique<Denoiser>(*backend, algorithms, config, config.data.size, config.data.size);
    memory.arena = std::max(plan->arena_bytes(), denoiser->arena_bytes());
    arena = std::make_unique<Arena>(*backend, memory.arena);
    plan->bind(*arena, *parameters);
    denoiser->bind(*arena, *parameters);
    memory.parameters = parameters->bytes();
    release_free_memory();  // of the candidates that were timed and not taken
    // What planning itself has left: generated code and tables of primitives, handles. On the host, arena and
    // parameters do not count yet, since nobody has touched them.
    std::size_t placed = in_use_before;
    if (backend->separate_memory()) {
        placed += memory.arena + memory.parameters;
        const int images = train ? train->count() : config.data.limit.train;
        resident = recorded() && ResidentSteps::image_bytes(config, images) <= backend->memory_free() / 2;
        memory.training_set = resident ? ResidentSteps::image_bytes(config, images) : 0;
        memory.schedule = recorded() ? ResidentSteps::schedule_bytes(config, images) : 0;
    } else {
        // Two batches, the one in use and the next, each noisy and clean.
        memory.batches = 4 * sizeof(float) * std::size_t(config.train.batch) * side * side;
    }
    memory.primitives = std::max(memory_in_use(), placed) - placed;
}

void Trainer::State::open(bool resume) {
    namespace fs = std::filesystem;
    const bool exists = fs::exists(path("config.yaml"));
    if (exists && !resume)
        fail(folder, ": holds a run already; go on with it by --resume, or choose another folder with --run");
    if (exists) check_same_run(config, path("config.yaml"));
    const bool has_algorithms = exists && fs::exists(path("algorithms.json"));
    Algorithms algorithms =
        has_algorithms ? Algorithms::read(path("algorithms.json")) : Algorithms::of_machine();

    make_plan(algorithms);
    parameters->initialise(config.seed);

    make_folder(folder);
    make_folder(path("checkpoints"));
    for (const std::string& place : {folder, path("checkpoints")}) remove_temporaries(place);
    const std::string data = fingerprint(*train);
    if (exists && fs::exists(checkpoint("last"))) {
        progress = read_checkpoint(checkpoint("last"), *parameters, true);
        if (progress.data != data)
            fail(config.data.train, ": these are not the images that ", folder, " was trained on (", data,
                 ", not ", progress.data, "); restore them, or start another run with --run");
        reset_peak_resident();  // reading the file took more than a step's memory, once
    }
    progress.data = data;
    algorithms.save(path("algorithms.json"));
    if (!has_algorithms) algorithms.save_for_machine();
    write_file(path("config.yaml"), config.to_yaml());
    metrics = std::make_unique<MetricsFile>(path("metrics.csv"), path("events.out.tfevents.0.tvmap"));
    metrics->cut_back(progress.epoch);
    log(text(progress.steps ? "resumed" : "started", " at epoch ", progress.epoch + 1, ", step ",
             progress.step, " on ", backend->description(), "; ", parameters->count(), " parameters"));
}

Trainer::Trainer(const Config& config, const std::string& run_folder, bool resume,
                 std::unique_ptr<Backend> backend)
    : state_(std::make_unique<State>()) {
    State& s = *state_;
    s.config = config;
    s.folder = run_folder;
    s.backend = backend ? std::move(backend) : make_backend(config.device, config.network.precision);
    s.read_data();
    s.open(resume);
}

Trainer::~Trainer() = default;

const Progress& Trainer::progress() const { return state_->progress; }
const MemoryReport& Trainer::memory() const { return state_->memory; }
std::string Trainer::device() const { return state_->backend->description(); }

std::unique_ptr<TrainingSteps> Trainer::State::steps() {
    const TrainingParts parts{*backend, config, *train, *plan, *parameters, noisy, target};
    const int epoch = progress.epoch + 1;
    if (!recorded()) return std::make_unique<HostSteps>(parts, epoch, progress.step);
    return std::make_unique<ResidentSteps>(parts, epoch, progress.step, resident);
}

void Trainer::State::count(const std::vector<double>& losses) {
    for (const double loss : losses) {
        ++progress.steps;
        if (!std::isfinite(loss))
            fail("the loss is not finite after ", progress.steps,
                 " steps; the last checkpoint is kept; try a smaller optimiser.rate");
        progress.loss_sum += loss;
        ++progress.step;
    }
}

// The same noise every time: the validation images are numbered like the training images, but in an epoch of
// their own.
void Trainer::State::validate(TrainReport& report) {
    const int side = config.data.size;
    const std::int64_t pixels = std::int64_t(side) * side;
    std::vector<float> clean(pixels), pictures(2 * pixels), lambda(pixels * denoiser->maps());
    float *const noisy_image = pictures.data(), *const denoised = noisy_image + pixels;
    for (int i = 0; i < val->count(); ++i) {
        val->copy(i, clean.data());
        make_noisy(config.noise, config.noise.sigma, config.seed, validation_epoch, *val, i, pixels,
                   clean.data(), noisy_image);
        denoiser->run(noisy_image, lambda.data(), denoised);
        const std::vector<Quality> quality =
            measure(*backend, pictures.data(), clean.data(), 2, 2, side, side);
        report.noisy_psnr += quality[0].psnr / val->count();
        report.psnr += quality[1].psnr / val->count();
        report.ssim += quality[1].ssim / val->count();
    }
    report.validated = true;
}

// Metrics before the checkpoint: a run that dies in between has a row too many, which resuming cuts off
// again.
void Trainer::State::finish_epoch(TrainReport& report, double rate, double seconds) {
    const Stopwatch watch;
    ++progress.epoch;
    const bool last = progress.epoch >= config.train.epochs;
    if (last || progress.epoch % config.train.validate_every == 0) validate(report);
    if (report.validated && report.psnr > progress.best_psnr) {
        progress.best_psnr = report.psnr;
        progress.best_epoch = progress.epoch;
        report.best = true;
    }
    const double loss = progress.loss_sum / steps_per_epoch();
    progress.step = 0;
    progress.loss_sum = 0;
    progress.seconds = 0;
    metrics->append({progress.epoch, progress.steps, loss, rate, report.validated, report.psnr, report.ssim,
                     report.noisy_psnr, seconds + watch.seconds()});
    if (report.best) write_checkpoint(checkpoint("best"), *parameters, config, progress);
    if (last || progress.epoch % config.train.checkpoint_every == 0) save();
}

bool Trainer::run(const std::function<void(const TrainReport&)>& report, const std::atomic<bool>& stop) {
    State& s = *state_;
    Progress& progress = s.progress;
    const int steps_per_epoch = s.steps_per_epoch();
    const std::int64_t total = std::int64_t(s.config.train.epochs) * steps_per_epoch;
    if (progress.steps >= total) {
        if (!std::filesystem::exists(s.checkpoint("last"))) s.save();
        return true;
    }
    const std::unique_ptr<TrainingSteps> steps = s.steps();
    const Stopwatch whole;
    Stopwatch epoch;
    const std::int64_t first = progress.steps;

    while (progress.epoch < s.config.train.epochs) {
        if (stop) {
            progress.seconds += epoch.seconds();
            s.save();
            s.log(text("interrupted at epoch ", progress.epoch + 1, ", step ", progress.step));
            return false;
        }
        s.count(steps->take());
        if (s.memory.measured == 0 && progress.steps - first >= 10) {
            const std::size_t now = s.backend->memory_in_use().value_or(peak_resident_bytes());
            s.memory.measured = std::max(now, s.in_use_before) - s.in_use_before;
            s.log(text("memory: predicted ", s.memory.predicted(), " bytes, measured ", s.memory.measured));
        }

        TrainReport now;
        now.epoch = progress.epoch + 1;
        now.epochs = s.config.train.epochs;
        now.step = progress.step;
        now.steps_per_epoch = steps_per_epoch;
        now.loss = progress.loss_sum / progress.step;
        if (progress.step == steps_per_epoch) {
            const double rate = learning_rate(s.config.optimiser, progress.steps, total);
            s.finish_epoch(now, rate, progress.seconds + epoch.seconds());
            epoch = {};
        }
        const double elapsed = whole.seconds();
        now.steps_per_second = double(progress.steps - first) / elapsed;
        now.seconds_left = double(total - progress.steps) / now.steps_per_second;
        report(now);
    }
    s.log(text("finished after ", progress.steps, " steps, ", s.metrics->seconds(),
               " seconds; best validation PSNR ", progress.best_psnr, " dB in epoch ", progress.best_epoch));
    return true;
}

PlanReport Trainer::plan(const Config& config) {
    State s;
    s.config = config;
    s.backend = make_backend(config.device, config.network.precision);
    Algorithms algorithms = Algorithms::of_machine();
    s.make_plan(algorithms);
    algorithms.save_for_machine();

    const MemoryReport& memory = s.memory;
    std::ostringstream out;
    out << s.plan->table() << "validation: " << s.denoiser->arena_bytes() << " bytes in the same arena\n"
        << "parameters: " << s.parameters->count() << " in " << s.parameters->list().size() << " tensors; "
        << memory.parameters << " bytes with gradients and Adam's moments\n"
        << (s.backend->separate_memory() ? text("training set: ", memory.training_set,
                                                " bytes\nschedule: ", memory.schedule, " bytes\n")
                                         : text("batches: ", memory.batches, " bytes\n"))
        << "planned primitives: " << memory.primitives << " bytes\n"
        << "predicted peak: " << memory.predicted() << " bytes (" << double(memory.predicted()) / 1e6
        << " MB) above what was in use before planning, on " << s.backend->description() << "\n";
    return {s.parameters->count(), memory, out.str()};
}

}  // namespace tvmap
