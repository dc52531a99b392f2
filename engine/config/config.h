// An experiment, as read from YAML. Every default stands here and nowhere else.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/config/gradient_mode.h"
#include "engine/pictures/picture_limit.h"
#include "kernels/family/family.h"
#include "kernels/training/loss.h"

namespace tvmap {

/// A number, or a range that a number is drawn from uniformly. YAML: 0.5 or [0.1, 0.5].
struct Range {
    double from = 0, to = 0;
    bool fixed() const { return from == to; }
};

struct DataConfig {
    std::string train, val, test;  ///< folders of images, lists or patterns: see engine/data/image_list.h
    int size = 256;                ///< side of the square that images are cropped and resized to
    /// prepare: square | none. none: images at their own sizes, of which training sees squares of train.crop, validation
    /// the centre of data.size, and the test all.
    bool own_sizes = false;
    struct Limit {
        int train = 200, val = 8, test = 100;  ///< at most so many, in sorted order
    } limit;
    /// Bytes that reading pictures may take, in YAML also 250MB or 2GiB; 0: no limit. See PictureReader.
    std::uint64_t picture_limit = usual_picture_limit;
    int folds =
        0;  ///< parts that `train` is divided into, of which each is tested once; 0: no cross-validation
};

/// How the images of data.train and data.val come by their noise.
enum class NoiseSource {
    simulated,  ///< they are clean, and noise is added
    given,      ///< they are noisy, by noise.sigma
    estimated   ///< they are noisy, and nobody knows how much: see engine/data/noise_estimate.h
};

struct NoiseConfig {
    Range sigma{0.1, 0.5};
    bool relative_to_image_std = true;  ///< relative_to: image_std | one
    NoiseSource source = NoiseSource::simulated;
};

struct NetworkConfig {
    std::vector<int> channels{32, 64, 128, 256};
    int outputs = 2;
    double slope = 0.01;
    bool he = false;         ///< initialisation: reference | he, see engine/model/unet.h
    bool normalise = false;  ///< normalise: none | noise (to noise of standard deviation 1, as estimated)
    bool predicts_image = false;     ///< output: map | image (the network denoises by itself)
    std::string precision = "fp32";  ///< fp32 | tf32 (on a GPU alone) | bf16
};

struct MapConfig {
    /// kind: shared (tgv: one for first differences, one for second) | separate (one for each component)
    bool separate = false;
    double scale = 0.1, up_bound = 0;
};

/// Whether the solver's steps are learned: fixed, one triple (τ, σ, θ) for all iterations, or one for each.
enum class TrainSteps { none, shared, per_step };

/// The least solver.poisson.gain: white is a hundred thousand counts then, and its shot noise 0.3 %.
constexpr double least_gain = 1e-5;

/// The largest weight of a pixel's data term by solver.operator: poisson, where the mean is about 1. With the other
/// operators none is above 1.
constexpr double most_weight = 4;

/// solver.operator: how an image is observed; see Observer::observe() in engine/data/observation.h.
enum class Sight { identity, mask, blur, downsample, impulses, poisson };

/// How images are observed, besides their Gaussian noise: A of the solver's problem, and its data term.
struct ObservationConfig {
    Sight sight = Sight::identity;  ///< operator
    double missing = 0.5;           ///< solver.mask.missing: the probability that nothing is known of a pixel
    int blur_size = 5;              ///< solver.blur.size: side of the Gaussian kernel, odd
    double blur_sigma = 1;          ///< solver.blur.sigma: its standard deviation, in pixels
    int factor = 2;         ///< solver.downsample.factor: side of the blocks of which the means are observed
    double impulses = 0.3;  ///< solver.impulses.share: the probability that a pixel is black or white instead
    double threshold = 0.05;  ///< solver.impulses.threshold: δ of the data term
    /// solver.poisson.gain: what one count adds to a pixel, so that counting a value x has the variance gain·x; drawn once
    /// per image where it is a range.
    Range gain{0.02, 0.02};

    DataTerm data() const {
        switch (sight) {
            case Sight::mask:
            case Sight::poisson:
                return DataTerm::weights;
            case Sight::blur:
                return DataTerm::blur;
            case Sight::downsample:
                return DataTerm::super_resolution;
            case Sight::impulses:
                return DataTerm::huber;
            case Sight::identity:
                break;
        }
        return DataTerm::identity;
    }
};

struct SolverConfig {
    Regulariser regulariser = Regulariser::tv;
    ObservationConfig observation;
    int iterations = 256;
    bool norm_auto = false;  ///< norm: auto
    double norm = 3;
    double tau = 0, sigma = 0;  ///< 0: 1 / norm
    double theta = 1;
    DualStart dual_start = DualStart::zero;
    Boundary boundary = Boundary::periodic;
    GradientMode gradient;  ///< gradient: its name; implicit: {tolerance, cap}
    TrainSteps train_steps =
        TrainSteps::none;  ///< starts from tau, sigma, theta; see engine/unrolled/step_sizes.h
};

/// What becomes of optimiser.rate in the course of a run.
enum class RateSchedule { constant, cosine, step };

struct OptimiserConfig {
    bool decoupled_decay = false;  ///< kind: adam | adamw: weights decay, kernels/optimiser/optimiser_step.h
    double rate = 1e-4;
    double beta1 = 0.9, beta2 = 0.999;  ///< betas: [β1, β2]
    double eps = 1e-8;
    /// schedule: constant | cosine (to zero at the last step) | step (times `factor` at each of the milestones)
    RateSchedule schedule = RateSchedule::constant;
    int warmup = 0;              ///< optimiser steps of linear warm-up
    double weight_decay = 0.01;  ///< of adamw: a step shrinks weights, but no bias, by the rate times this
    double clip = 0;             ///< the norm that longer gradients are shortened to; 0: none
    std::vector<double> milestones{0.5, 0.75};  ///< of schedule: step, as shares of the run after its warm-up
    double factor = 0.1;                        ///< of schedule: step
};

/// What training compares results with; see engine/data/supervision.h for all but clean images.
enum class Supervision { clean, r2r, sure, pairs };

struct TrainConfig {
    int epochs = 500;
    int batch = 1;
    int crop = 0;  ///< side of random squares; 0: whole images
    bool flip = false;
    LossKind loss = LossKind::mse;
    int validate_every = 1, checkpoint_every = 1;  ///< epochs
    /// The last checkpoint is written at most so often, but at the end; 0: every checkpoint_every epochs.
    double checkpoint_seconds = 30;
    std::uint64_t memory_limit = 0;  ///< bytes, in YAML also 250MB or 2GiB; a larger plan is refused; 0: none
    /// Of the exponential moving average of the weights that is validated, and used afterwards; 0: the weights themselves.
    double ema = 0;
    int stop_after = 0;   ///< validations in a row that are no better and end the run; 0: no number does
    bool rotate = false;  ///< turns by 0, 90, 180 or 270°, each as likely
    int accumulate = 1;   ///< batches of which an optimiser step takes the mean gradient
    double time = 0;      ///< seconds, in YAML also 90s, 30m or 2h, that end the run, not `epochs`; 0: none
    Supervision supervision = Supervision::clean;
    double r2r_alpha = 0.3;  ///< r2r.alpha, between 0 and 1: the more, the more noise is added to what is fed
    double sure_epsilon = 0.65;  ///< sure.epsilon: of the finite difference, in units of the noise

    /// Images that the network is fed for each one of a batch.
    int fed_images() const { return supervision == Supervision::sure ? 2 : 1; }
};

struct EvaluateConfig {
    Range sigma{0.5, 0.5};  ///< drawn once per image where it is a range
    int iterations = 256;
    struct Search {
        double from = 0, to = 0.8;
        int count = 81;
    } search;
    /// How often the noise of each image is drawn anew, to see how much of the map is the noise's doing; 0: not.
    int draws = 0;
    /// 1, 4 or 8: the map is the mean of those of so many orientations of an image, in `denoise`, too; see
    /// engine/model/orientations.h. The validation of a training knows one.
    int orientations = 1;
};

struct DenoiseConfig {
    /// colour: channels (each is denoised by a map of its own) | luminance (all of them by the map of their luminance)
    bool luminance = false;
};

/// What `tvmap study` measures: gradients of every mode, T and size, and what short trainings come to.
struct StudyConfig {
    std::vector<std::string> modes{"masks", "checkpoint", "stored", "truncated:1", "truncated:8", "implicit"};
    std::vector<int> iterations{8, 16, 32, 64, 128, 256};  ///< T
    std::vector<int> sizes{64, 128};                       ///< sides of the images
    int images = 2;                                        ///< test images of each size
    int repeat = 5;                                        ///< runs, of which times are the median
    int reference_iterations = 1024;  ///< T of the gradient that stands for the limit; 0: none
    int steps = 300;                  ///< optimiser steps of each training; 0: none is trained
    std::vector<int> train_iterations{8, 16, 32, 64, 256};
    std::vector<int> test_iterations{8, 16, 32, 64, 256};
    std::vector<std::string> step_sizes{"none", "shared", "per_step"};  ///< solver.train_steps
    std::vector<int> step_sizes_iterations{8, 16, 32};                  ///< T that they are trained at

    bool operator==(const StudyConfig&) const = default;
};

struct OutputConfig {
    std::string folder = "runs", name = "chest_xray";
};

struct Config {
    std::uint64_t seed = 42;
    std::string device = "auto";  ///< auto | cpu | cuda
    DataConfig data;
    NoiseConfig noise;
    NetworkConfig network;
    MapConfig map;
    SolverConfig solver;
    OptimiserConfig optimiser;
    TrainConfig train;
    EvaluateConfig evaluate;
    DenoiseConfig denoise;
    StudyConfig study;
    OutputConfig output;

    /// The whole configuration as YAML that read_config accepts and that gives this configuration again (a
    /// study that is the default one goes without saying).
    std::string to_yaml() const;
};

/// Reads a YAML file and applies `key.path=value` overrides, which take the place of what the file says: the
/// value is all that stands behind the first =, to the byte, and [a, b] for a list (for a section, YAML:
/// data={size: 64}). Throws Error with file and line (or the override), key and, for an unknown one, the
/// nearest known key; also for anything of a wrong type, given twice, or impossible (T < 1, σ < 0, στL² > 1,
/// channels that do not fit …), and for a file with a sweep. Folders of images become absolute: a relative
/// one belongs to the working directory of now, not to that of a later reader.
Config read_config(const std::string& path, const std::vector<std::string>& overrides = {});

/// The same from YAML text; `where` stands for the path in messages.
Config parse_config(const std::string& yaml, const std::string& where,
                    const std::vector<std::string>& overrides = {});

/// One element of the product of a sweep's lists.
struct SweptConfig {
    Config config;
    std::string name;  ///< the last parts of the keys and the values: "rate-0.001_betas-0.8-0.9"
    std::vector<std::string> values;  ///< by key, as in YAML
};

struct Sweep {
    std::vector<std::string> keys;     ///< in the order written
    std::vector<SweptConfig> configs;  ///< one at least
};

/// The configurations of a file with a `sweep:` section, whose entries are KEY: [value, …] (KEY as in
/// solver.tau): one for each element of the product of its lists, in the order written (the last list turns
/// fastest); a file without one gives itself, without a name.
Sweep read_sweep(const std::string& path, const std::vector<std::string>& overrides = {});

/// The start of a message about a key: where its value was given (file and line, say) and the name it has
/// there.
using KeyPlace = std::function<std::string(const std::string& key)>;

/// Throws Error for values that are impossible or cannot work together. The message opens with `where` and
/// the key, or with what the KeyPlace gives.
void check_config(const Config& config, const std::string& where);
void check_config(const Config& config, const KeyPlace& where);

/// The part of it that concerns the solver alone, and not its gradient.
void check_solver(const SolverConfig& solver, const KeyPlace& where);

/// Throws Error where images of this side, the value of `key`, cannot be observed so.
void check_observed(const ObservationConfig& observation, int side, const char* key, const KeyPlace& where);

/// The part of it that concerns the gradient through the solver.
void check_gradient_mode(const SolverConfig& solver, const KeyPlace& where);

}  // namespace tvmap
