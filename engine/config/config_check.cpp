// What values an experiment can have, alone and together. A message is  PLACE: what is wrong; what to give instead.
#include <algorithm>
#include <cmath>

#include "engine/config/config.h"
#include "engine/config/equally_spaced.h"
#include "engine/config/solver_problem.h"
#include "kernels/base/error.h"
#include "kernels/base/sizes.h"

namespace tvmap {
namespace {

/// Above these, numbers of parameters would not fit what counts them, nor an image's pixels what numbers them.
constexpr int most_channels = 8192, largest_side = 65535;
/// A step of the solver costs (2·size − 1)² products a pixel.
constexpr int largest_blur = 63;

/// The largest operator norm of any image: √(1+8) of tv, which sides that are even and periodic have.
double norm_bound(const SolverConfig& solver) {
    SolverProblem largest;
    largest.regulariser = solver.regulariser;
    largest.height = largest.width = 2;
    return std::sqrt(solver_norm_squared(largest));
}

template <class... Parts>
void require(bool holds, const KeyPlace& where, const std::string& key, const Parts&... message) {
    if (!holds) fail(where(key), ": ", message...);
}

void check_range(const Range& range, const KeyPlace& where, const std::string& key) {
    require(range.from >= 0 && range.to >= 0, where, key, "a noise level of ", std::min(range.from, range.to),
            " is impossible; give 0 or more");
    require(range.from <= range.to, where, key, "the range runs backwards from ", range.from, " to ",
            range.to, "; give the smaller number first");
}

void check_at_least(double value, double least, const KeyPlace& where, const std::string& key) {
    require(value >= least, where, key, value, " is too small; give ", least, " or more");
}

void check_within(double value, double least, int most, const KeyPlace& where, const std::string& key) {
    check_at_least(value, least, where, key);
    require(value <= most, where, key, value, " is too large; give ", most, " or less");
}

void check_positive(double value, const KeyPlace& where, const std::string& key) {
    require(value > 0, where, key, value, " is impossible; give a number above 0");
}

void check_study(const StudyConfig& study, const KeyPlace& where) {
    const std::pair<const char*, const std::vector<int>*> lists[] = {
        {"study.iterations", &study.iterations},
        {"study.sizes", &study.sizes},
        {"study.train_iterations", &study.train_iterations},
        {"study.test_iterations", &study.test_iterations},
        {"study.step_sizes_iterations", &study.step_sizes_iterations}};
    for (const auto& [key, list] : lists)
        for (const int value : *list) check_at_least(value, 1, where, key);
    for (const std::string& mode : study.modes)
        require(gradient_mode(mode).has_value(), where, "study.modes", "there is no gradient '", mode,
                "'; give some of ", gradient_mode_names);
    for (const std::string& trained : study.step_sizes)
        require(trained == "none" || trained == "shared" || trained == "per_step", where, "study.step_sizes",
                "got '", trained, "'; give some of none | shared | per_step");
    check_at_least(study.images, 1, where, "study.images");
    check_at_least(study.repeat, 1, where, "study.repeat");
    check_at_least(study.reference_iterations, 0, where, "study.reference_iterations");
    check_at_least(study.steps, 0, where, "study.steps");
}

/// What a batch may take at most: the widest tensor of the network, and the iterates of every step of the solver.
void check_products(const Config& config, const KeyPlace& where) {
    const double side = config.train.crop > 0 ? config.train.crop : config.data.size;
    const double pixels = double(config.train.batch) * config.train.fed_images() * side * side;
    const std::vector<int>& channels = config.network.channels;
    const double widest =
        2.0 * std::max(config.network.outputs, *std::max_element(channels.begin(), channels.end()));
    constexpr double iterates = 12;  // x, x̄, p and q of tgv, which has most
    const std::pair<const char*, double> products[] = {
        {"train.batch", sizeof(float) * pixels * widest},
        {"solver.iterations", sizeof(float) * pixels * iterates * config.solver.iterations}};
    for (const auto& [key, bytes] : products)
        require(bytes < double(largest_size), where, key, "with images of ", side, "×", side,
                " in batches of ", config.train.batch, ", a step would take ", bytes,
                " bytes; give smaller numbers");
}

void check_folds(const DataConfig& data, const NoiseConfig& noise, const KeyPlace& where) {
    check_at_least(data.folds, 0, where, "data.folds");
    require(data.folds != 1, where, "data.folds",
            "1 would leave nothing to train on; give 2 or more, or 0 for no cross-validation");
    require(data.folds == 0 || data.test.empty(), where, "data.folds",
            "each image of data.train is tested by the fold that was not trained on it; take data.test out "
            "(--set data.test=), or give 0");
    require(
        data.folds == 0 || noise.source == NoiseSource::simulated, where, "data.folds",
        "a cross-validation compares with clean images; give noise.source: simulated and such images, or 0");
}

void check_optimiser(const OptimiserConfig& o, const KeyPlace& where) {
    const OptimiserConfig usual;
    check_at_least(o.weight_decay, 0, where, "optimiser.weight_decay");
    require(o.decoupled_decay || o.weight_decay == usual.weight_decay, where, "optimiser.weight_decay",
            "weights decay with optimiser.kind: adamw alone; give that kind");
    require(!o.decoupled_decay || o.rate * o.weight_decay < 1, where, "optimiser.weight_decay",
            o.weight_decay, " times optimiser.rate, ", o.rate, ", leaves nothing of a weight; give less");
    check_at_least(o.clip, 0, where, "optimiser.clip");
    require(o.schedule == RateSchedule::step || o.milestones == usual.milestones, where,
            "optimiser.milestones", "they go with optimiser.schedule: step alone; give that schedule");
    require(o.schedule == RateSchedule::step || o.factor == usual.factor, where, "optimiser.factor",
            "it goes with optimiser.schedule: step alone; give that schedule");
    for (std::size_t i = 0; i < o.milestones.size(); ++i)
        require(o.milestones[i] > (i ? o.milestones[i - 1] : 0) && o.milestones[i] < 1, where,
                "optimiser.milestones", o.milestones[i],
                " is no next share of the run; give numbers between 0 and 1, in rising order");
    check_positive(o.factor, where, "optimiser.factor");
}

void check_observation(const ObservationConfig& o, const KeyPlace& where) {
    require(o.missing >= 0 && o.missing < 1, where, "solver.mask.missing", o.missing,
            " is impossible; give 0 or more, and less than 1");
    require(o.impulses >= 0 && o.impulses < 1, where, "solver.impulses.share", o.impulses,
            " is impossible; give 0 or more, and less than 1");
    require(o.threshold >= 0 && o.threshold <= 1, where, "solver.impulses.threshold", o.threshold,
            " is impossible; give a number from 0 (absolute values) to 1");
    check_range(o.gain, where, "solver.poisson.gain");
    require(o.gain.from >= least_gain && o.gain.to <= 1, where, "solver.poisson.gain", o.gain.from, " … ",
            o.gain.to, " is impossible; give numbers from ", least_gain, " to 1");
    check_within(o.blur_size, 1, largest_blur, where, "solver.blur.size");
    require(o.blur_size % 2 == 1, where, "solver.blur.size", o.blur_size,
            " has no middle; give an odd number");
    check_positive(o.blur_sigma, where, "solver.blur.sigma");
    check_within(o.factor, 1, largest_side, where, "solver.downsample.factor");
}

void check_supervision(const Config& config, const KeyPlace& where) {
    const TrainConfig& train = config.train;
    require(train.r2r_alpha > 0 && train.r2r_alpha < 1, where, "train.r2r.alpha", train.r2r_alpha,
            " is impossible; give a number between 0 and 1");
    check_positive(train.sure_epsilon, where, "train.sure.epsilon");
    const bool supervised = train.supervision == Supervision::clean;
    require(supervised || train.loss == LossKind::mse, where, "train.loss",
            "log_mse goes with train.supervision: clean alone, since noise in the target biases a logarithm; "
            "give mse");
    require(supervised || config.solver.observation.data() == DataTerm::identity, where, "train.supervision",
            "without clean images, networks are trained for solver.operator: identity alone; give clean");
    const NoiseConfig& noise = config.noise;
    if (noise.source == NoiseSource::simulated) return;
    require(train.supervision == Supervision::r2r || train.supervision == Supervision::sure, where,
            "noise.source",
            "images that are noisy already are neither clean nor observed twice; give train.supervision: r2r "
            "or sure");
    require(noise.source == NoiseSource::estimated || (noise.sigma.fixed() && !noise.relative_to_image_std),
            where, "noise.source",
            "given needs noise.sigma as one number, with noise.relative_to: one; give both, or estimated");
}

}  // namespace

void check_observed(const ObservationConfig& o, int side, const char* key, const KeyPlace& where) {
    if (o.sight == Sight::blur)
        require(o.blur_size <= side, where, "solver.blur.size", o.blur_size, " is more than ", key, ", ",
                side, "; give that or less");
    if (o.sight == Sight::downsample)
        require(side % o.factor == 0, where, "solver.downsample.factor", o.factor, " does not divide ", key,
                ", ", side, "; give a divisor");
}

void check_solver(const SolverConfig& solver, const KeyPlace& where) {
    check_at_least(solver.iterations, 1, where, "solver.iterations");
    if (!solver.norm_auto) check_positive(solver.norm, where, "solver.norm");
    require(solver.tau >= 0, where, "solver.tau", solver.tau,
            " is impossible; give a number above 0, or 0 for 1 / norm");
    require(solver.sigma >= 0, where, "solver.sigma", solver.sigma,
            " is impossible; give a number above 0, or 0 for 1 / norm");
    require(solver.theta >= 0 && solver.theta <= 1, where, "solver.theta", solver.theta,
            " is impossible; give a number between 0 and 1");
    check_observation(solver.observation, where);
    if (is_plain(solver)) return;
    require(solver.dual_start == DualStart::zero, where, "solver.dual_start",
            "image goes with solver.regulariser: tv and solver.operator: identity alone; give zero");
    require(solver.train_steps == TrainSteps::none, where, "solver.train_steps",
            "steps are learned with solver.regulariser: tv and solver.operator: identity alone; give none");
}

void check_gradient_mode(const SolverConfig& solver, const KeyPlace& where) {
    const GradientMode& mode = solver.gradient;
    const std::string refusal = mode.refusal(solver.iterations);
    require(refusal.empty(), where, "solver.gradient", refusal);
    require(solver.train_steps == TrainSteps::none || mode.kind == GradientMode::Kind::masks ||
                mode.kind == GradientMode::Kind::checkpoint,
            where, "solver.gradient", mode.name(),
            " does not go with solver.train_steps, whose gradient comes from checkpoints; give masks or "
            "checkpoint");
    check_at_least(mode.tolerance, 0, where, "solver.implicit.tolerance");
    check_at_least(mode.cap, 1, where, "solver.implicit.cap");
}

void check_config(const Config& config, const std::string& where) {
    check_config(config, [&](const std::string& key) { return where + ": " + key; });
}

void check_config(const Config& config, const KeyPlace& where) {
    const auto at_least = [&](double value, double least, const char* key) {
        check_at_least(value, least, where, key);
    };
    const auto positive = [&](double value, const char* key) { check_positive(value, where, key); };

    check_within(config.data.size, 1, largest_side, where, "data.size");
    at_least(config.data.limit.train, 1, "data.limit.train");
    at_least(config.data.limit.val, 1, "data.limit.val");
    at_least(config.data.limit.test, 1, "data.limit.test");
    check_folds(config.data, config.noise, where);

    check_range(config.noise.sigma, where, "noise.sigma");
    check_range(config.evaluate.sigma, where, "evaluate.sigma");

    const std::vector<int>& channels = config.network.channels;
    require(!channels.empty(), where, "network.channels",
            "the list is empty; give one number for each level, like [32, 64]");
    for (int count : channels) check_within(count, 1, most_channels, where, "network.channels");
    check_within(config.network.outputs, 1, most_channels, where, "network.outputs");
    require(config.network.slope > 0 && config.network.slope <= 1, where, "network.slope",
            config.network.slope, " is impossible; give a number above 0 and up to 1");
    const Sight sight = config.solver.observation.sight;
    const bool identity = sight == Sight::identity;
    require(
        identity || sight == Sight::poisson || !config.network.normalise, where, "network.normalise",
        "noise is estimated of images as they are (solver.operator: identity or poisson) alone; give none");
    require(
        sight != Sight::poisson || !config.noise.relative_to_image_std, where, "noise.relative_to",
        "a gain (solver.operator: poisson) is of values as they are, and so must noise.sigma be; give one");
    require(sight != Sight::poisson || !config.denoise.luminance, where, "denoise.colour",
            "counts (solver.operator: poisson) are a channel's, not of a luminance; give channels");
    require(
        sight != Sight::impulses || config.solver.regulariser != Regulariser::tgv, where, "solver.operator",
        "impulses go with solver.regulariser: tv or tv8, whose decisions fit a byte with theirs; give one of "
        "them");
    require(identity || !config.network.predicts_image, where, "network.output",
            "image goes with solver.operator: identity alone; give map");
    require(config.solver.train_steps == TrainSteps::none || !config.network.predicts_image, where,
            "network.output",
            "image has no solver whose steps could be learned (solver.train_steps); give map");
    const int maps = map_count(config.solver, config.map);
    require(config.network.outputs >= maps, where, "map.kind", maps,
            " maps need as many network.outputs or more, and there are ", config.network.outputs);
    positive(config.map.scale, "map.scale");
    require(config.map.up_bound >= 0, where, "map.up_bound", config.map.up_bound,
            " is impossible; give a number above 0, or 0 for scale·softplus");

    check_solver(config.solver, where);
    check_gradient_mode(config.solver, where);
    check_steps(config.solver, is_plain(config.solver), norm_bound(config.solver), "for images of any size",
                where);

    require(config.optimiser.rate >= 0, where, "optimiser.rate", config.optimiser.rate,
            " is impossible; give 0 or more");
    for (double beta : {config.optimiser.beta1, config.optimiser.beta2})
        require(beta >= 0 && beta < 1, where, "optimiser.betas", beta,
                " is impossible; give numbers from 0 to below 1");
    positive(config.optimiser.eps, "optimiser.eps");
    at_least(config.optimiser.warmup, 0, "optimiser.warmup");
    check_optimiser(config.optimiser, where);

    at_least(config.train.epochs, 0, "train.epochs");
    at_least(config.train.batch, 1, "train.batch");
    at_least(config.train.crop, 0, "train.crop");
    at_least(config.train.validate_every, 1, "train.validate_every");
    at_least(config.train.checkpoint_every, 1, "train.checkpoint_every");
    at_least(config.train.checkpoint_seconds, 0, "train.checkpoint_seconds");
    require(config.train.ema >= 0 && config.train.ema < 1, where, "train.ema", config.train.ema,
            " is impossible; give a number from 0 (no average) to below 1, like 0.999");
    at_least(config.train.stop_after, 0, "train.stop_after");
    at_least(config.train.accumulate, 1, "train.accumulate");
    require(config.train.crop <= config.data.size, where, "train.crop", config.train.crop,
            " is larger than data.size, ", config.data.size, "; give that or less");

    // Each level but the first halves the image; 30 levels would not leave a pixel of the largest int.
    require(channels.size() <= 30, where, "network.channels", channels.size(),
            " levels are too many; give 30 or fewer");
    const int multiple = 1 << (channels.size() - 1);
    const auto halves = [&](int side, const char* key) {
        require(side % multiple == 0, where, key, side, " cannot be halved ", channels.size() - 1,
                " times, as the ", channels.size(), " levels of network.channels do; give a multiple of ",
                multiple);
    };
    halves(config.data.size, "data.size");
    halves(config.train.crop, "train.crop");
    check_observed(config.solver.observation, config.data.size, "data.size", where);
    if (config.train.crop > 0)
        check_observed(config.solver.observation, config.train.crop, "train.crop", where);
    check_products(config, where);
    check_supervision(config, where);

    at_least(config.evaluate.iterations, 1, "evaluate.iterations");
    check_within(config.evaluate.search.count, 1, most_values, where, "evaluate.search.count");
    check_within(config.evaluate.draws, 0, most_values, where, "evaluate.draws");
    require(config.evaluate.draws != 1, where, "evaluate.draws",
            "1 draw has no spread; give 2 or more, or 0");
    const int orientations = config.evaluate.orientations;
    require(orientations == 1 || orientations == 4 || orientations == 8, where, "evaluate.orientations",
            orientations,
            " orientations; give 1 (as it is), 4 (with its mirrorings) or 8 (with those about its diagonal)");
    at_least(config.evaluate.search.from, 0, "evaluate.search.from");
    require(config.evaluate.search.from <= config.evaluate.search.to, where, "evaluate.search.to",
            config.evaluate.search.to, " is below evaluate.search.from, ", config.evaluate.search.from,
            "; give that or more");

    check_study(config.study, where);

    require(!config.output.folder.empty(), where, "output.folder",
            "the folder's name is empty; give one, like runs");
    const std::string& name = config.output.name;
    require(!name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos, where,
            "output.name", "'", name, "' cannot name a run's folder; give a name without '/'");
}

}  // namespace tvmap
