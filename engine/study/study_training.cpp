// Short trainings from one seed, and their quality for several T of the test.
#include <algorithm>

#include "engine/config/equally_spaced.h"
#include "engine/config/solver_problem.h"
#include "engine/data/noise.h"
#include "engine/data/observation.h"
#include "engine/data/quality.h"
#include "engine/model/checkpoint.h"
#include "engine/model/model.h"
#include "engine/solver/search.h"
#include "engine/study/study.h"
#include "engine/training/batches.h"
#include "engine/training/metrics_file.h"
#include "engine/training/process_memory.h"
#include "engine/training/trainer.h"
#include "kernels/base/error.h"

namespace tvmap {

/// The mean over the images of the best that a scalar λ gives.
struct ScalarRow {
    double psnr = 0;
};
template <class Visit>
void visit_figures(ScalarRow& row, const Visit& visit) {
    visit("psnr", row.psnr);
}

namespace {

struct Training {
    GradientMode mode;
    TrainSteps step_sizes = TrainSteps::none;
    int iterations = 0;
    bool operator==(const Training&) const = default;

    std::string step_sizes_name() const {
        return step_sizes == TrainSteps::none     ? "none"
               : step_sizes == TrainSteps::shared ? "shared"
                                                  : "per_step";
    }
    std::string name() const {
        std::string name = text(mode.name(), "_T-", iterations);
        if (step_sizes != TrainSteps::none) name += "_steps-" + step_sizes_name();
        std::replace(name.begin(), name.end(), ':', '-');
        return name;
    }
};

TrainSteps step_sizes_of(const std::string& name) {
    return name == "shared"     ? TrainSteps::shared
           : name == "per_step" ? TrainSteps::per_step
                                : TrainSteps::none;
}

/// Every mode at the configured T, every T with the configured mode, every kind of step sizes; each once. Steps are
/// learned of the plain problem alone: those of others are named in left_out.
std::vector<Training> trainings(const Config& config, std::set<std::string>& left_out) {
    std::vector<Training> list;
    const auto add = [&](const GradientMode& mode, TrainSteps step_sizes, int iterations) {
        const Training training{mode, step_sizes, iterations};
        if (mode.steps <= iterations && std::find(list.begin(), list.end(), training) == list.end())
            list.push_back(training);
    };
    const GradientMode& configured = config.solver.gradient;
    const auto named = [&](const std::string& name) {
        GradientMode mode = *gradient_mode(name);
        mode.tolerance = configured.tolerance;
        mode.cap = configured.cap;
        return mode;
    };
    for (const std::string& name : config.study.modes)
        add(named(name), TrainSteps::none, config.solver.iterations);
    for (const int iterations : config.study.train_iterations) add(configured, TrainSteps::none, iterations);
    // Learned steps have an exact gradient of their own.
    for (const int iterations : config.study.step_sizes_iterations)
        for (const std::string& name : config.study.step_sizes) {
            const TrainSteps step_sizes = step_sizes_of(name);
            if (step_sizes == TrainSteps::none || is_plain(config.solver))
                add(named("masks"), step_sizes, iterations);
            else
                left_out.insert(
                    "study.step_sizes: trainings of learned steps are left out, since steps are learned with "
                    "solver.regulariser: tv and solver.operator: identity alone");
        }
    return list;
}

Config config_of(const Config& config, const Training& training, int steps_per_epoch) {
    Config own = config;
    own.study = {};
    own.solver.gradient = training.mode;
    own.solver.train_steps = training.step_sizes;
    own.solver.iterations = training.iterations;
    own.train.time = own.train.stop_after = 0;  // steps are counted
    own.train.epochs = (config.study.steps + steps_per_epoch - 1) / steps_per_epoch;
    own.train.validate_every = own.train.checkpoint_every = std::max(own.train.epochs, 1);
    return own;
}

/// The validation images with their noise, but those that equal their noisy ones: nothing can be said of their
/// denoising. And what is known of them whatever the network: by T of the test, the mean PSNR of the best
/// scalars.
class ValidationSet {
  public:
    ValidationSet(Backend& backend, const Config& config) : side_(config.data.size), pixels_(side_ * side_) {
        const Dataset data(config.data.val, side_, config.data.limit.val, "data.val",
                           1 << halvings(config.network), config.data.picture_limit,
                           config.data.own_sizes ? Preparation::centre : Preparation::square);
        std::vector<std::string> names;
        const Observer observer(config.solver.observation);
        std::vector<float> clean(pixels_), noisy(pixels_), weights(observer.weighs() ? pixels_ : 0);
        for (int i = 0; i < data.count(); ++i) {
            data.copy(i, clean.data());
            observer.observe({config.noise, config.noise.sigma, config.seed, validation_epoch}, data, i,
                             side_, side_, clean.data(), noisy.data(), weights.data());
            const Quality quality = measure(backend, noisy.data(), clean.data(), 1, 1, side_, side_).front();
            if (!belongs_in_means({quality})) {
                names.push_back(data.name(i));
                continue;
            }
            clean_.insert(clean_.end(), clean.begin(), clean.end());
            noisy_.insert(noisy_.end(), noisy.begin(), noisy.end());
            weights_.insert(weights_.end(), weights.begin(), weights.end());
            of_noisy_.push_back(quality);
        }
        left_out_ = left_out_of_means(names);
        digest_ = data.digest();
    }

    int count() const { return int(of_noisy_.size()); }
    int side() const { return side_; }
    const float* clean(int image) const { return clean_.data() + image * pixels_; }
    const float* noisy(int image) const { return noisy_.data() + image * pixels_; }
    /// Where the data term weighs; else null.
    const float* weights(int image) const {
        return weights_.empty() ? nullptr : weights_.data() + image * pixels_;
    }
    double noisy_psnr() const { return mean_quality(of_noisy_).psnr; }
    const std::string& left_out() const { return left_out_; }
    /// Of all images, see Dataset::digest.
    const std::string& digest() const { return digest_; }

    double scalar_psnr(Backend& backend, const Config& config, int iterations) const {
        SolverConfig solver = config.solver;
        solver.regulariser = Regulariser::tv;  // whatever the map is for: one baseline
        solver.iterations = iterations;
        const EvaluateConfig::Search& search = config.evaluate.search;
        const std::vector<double> values = equally_spaced(search.from, search.to, search.count);
        std::vector<Quality> best;
        if (count() > 0)
            for (const ScalarCurve& curve :
                 scalar_search(backend, solver, {noisy(0), clean(0), count(), side_, side_, weights(0)},
                               {values.begin(), values.end()}))
                if (const auto at = best_of(curve.quality, &Quality::psnr))
                    best.push_back(curve.quality[*at]);
        return mean_quality(best).psnr;
    }

  private:
    int side_;
    std::ptrdiff_t pixels_;
    std::vector<float> clean_, noisy_, weights_;
    std::vector<Quality> of_noisy_;
    std::string left_out_, digest_;
};

/// The mean quality of a checkpoint for T of the test.
Quality test(Backend& backend, Config config, const std::string& checkpoint, int iterations,
             const ValidationSet& images) {
    config.evaluate.iterations = iterations;
    Model model = Model::load(backend, config, checkpoint, images.side(), images.side());
    Denoiser& denoiser = model.denoiser();
    const std::size_t pixels = std::size_t(images.side()) * images.side();
    std::vector<float> lambda(pixels * denoiser.maps()), denoised(pixels);
    std::vector<Quality> qualities;
    for (int i = 0; i < images.count(); ++i) {
        denoiser.run(images.noisy(i), lambda.data(), denoised.data(), images.weights(i));
        qualities.push_back(
            measure(backend, denoised.data(), images.clean(i), 1, 1, images.side(), images.side()).front());
    }
    return mean_quality(qualities);
}

/// What of a training is measured, from where it was left if it was. False if it was stopped.
bool train(const Config& config, const std::string& run, const std::function<void(std::int64_t)>& report,
           const std::atomic<bool>& stop, TrainedRow& row) {
    release_free_memory();  // of the training before, so that the trainer measures its own
    Trainer trainer(config, run, true);
    const bool finished = trainer.run(
        [&](const TrainReport& now) {
            row.loss = now.loss;
            if (!now.validated) row.seconds_per_step = 1 / now.steps_per_second;
            report(trainer.progress().steps);
        },
        stop);
    row.steps = trainer.progress().steps;
    row.predicted_bytes = trainer.memory().predicted();
    row.measured_bytes = trainer.memory().measured;
    if (finished && row.seconds_per_step == 0)  // too few steps were left, or none
        if (const auto last = MetricsFile::last_row(run)) {
            row.loss = last->loss;
            row.seconds_per_step = last->seconds * last->epoch / double(last->steps);
        }
    return finished;
}

}  // namespace

void study_trainings(Backend& backend, const Config& config, const std::string& folder, PieceRecord& record,
                     StudyResult& result, const std::function<void()>& save, const StudyReport& report,
                     const std::atomic<bool>& stop) {
    if (config.study.steps == 0) return;
    const Dataset data(config.data.train, config.data.size, config.data.limit.train, "data.train",
                       1 << halvings(config.network), config.data.picture_limit,
                       config.data.own_sizes ? Preparation::none : Preparation::square);
    Batches::check(config, data);
    const int steps_per_epoch = Batches::steps_per_epoch(config, data);
    const ValidationSet images(backend, config);
    if (!images.left_out().empty()) result.left_out.insert("data.val: " + images.left_out());
    record.depends_on("data.train", data.digest());
    record.depends_on("data.val", images.digest());

    std::vector<int> tested = config.study.test_iterations;
    tested.push_back(config.evaluate.iterations);
    std::sort(tested.begin(), tested.end());
    tested.erase(std::unique(tested.begin(), tested.end()), tested.end());
    TestedRow unmapped;  // what is known whatever the network
    unmapped.noisy_psnr = images.noisy_psnr();
    std::vector<TestedRow> tests;
    for (const int iterations : tested) {
        if (stop) return;
        unmapped.tested_iterations = iterations;
        unmapped.scalar_psnr = record
                                   .piece(text("best scalars, T = ", iterations), ScalarRow{},
                                          [&](ScalarRow& row) {
                                              row.psnr = images.scalar_psnr(backend, config, iterations);
                                              return true;
                                          })
                                   ->psnr;
        tests.push_back(unmapped);
    }

    const std::vector<Training> list = trainings(config, result.left_out);
    if (list.empty()) return;
    const auto piece_name = [](const Training& training) { return "training " + training.name(); };
    const auto known = std::count_if(
        list.begin(), list.end(), [&](const Training& training) { return record.has(piece_name(training)); });
    const double steps = double(config_of(config, list[0], steps_per_epoch).train.epochs) * steps_per_epoch,
                 total = steps * double(list.size() - std::size_t(known));
    double done = 0;
    for (const Training& training : list) {
        const Config own = config_of(config, training, steps_per_epoch);
        const std::string run = folder + "/trainings/" + training.name(), name = piece_name(training);
        const bool trained = record.has(name);
        TrainedRow named;
        named.mode = training.mode.name();
        named.step_sizes = training.step_sizes_name();
        named.iterations = training.iterations;
        auto row = record.piece(name, named, [&](TrainedRow& measured) {
            return train(
                own, run, [&](std::int64_t step) { report(name, done + double(step), total, "steps"); }, stop,
                measured);
        });
        if (!row) return;
        if (!trained) done += steps;

        std::vector<TestedRow> qualities = tests;
        for (TestedRow& tested_row : qualities) {
            if (stop) return;
            tested_row.mode = named.mode;
            tested_row.step_sizes = named.step_sizes;
            tested_row.trained_iterations = named.iterations;
            const int iterations = tested_row.tested_iterations;
            tested_row =
                *record.piece(text("test of ", name, ", T = ", iterations), tested_row, [&](TestedRow& now) {
                    const Quality q =
                        test(backend, own, run + "/checkpoints/last.safetensors", iterations, images);
                    now.psnr = q.psnr;
                    now.ssim = q.ssim;
                    return true;
                });
            if (iterations == config.evaluate.iterations) {
                row->psnr = tested_row.psnr;
                row->ssim = tested_row.ssim;
            }
        }
        result.training.push_back(*row);
        result.iterations.insert(result.iterations.end(), qualities.begin(), qualities.end());
        if (!trained) save();
    }
}

}  // namespace tvmap
