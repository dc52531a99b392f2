#include "engine/evaluation/evaluator.h"

#include <algorithm>
#include <filesystem>
#include <limits>

#include "engine/config/equally_spaced.h"
#include "engine/config/solver_problem.h"
#include "engine/data/noise.h"
#include "engine/data/noise_estimate.h"
#include "engine/data/observation.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/evaluation/example_files.h"
#include "engine/files/file.h"
#include "engine/files/folder_lock.h"
#include "engine/files/stopwatch.h"
#include "engine/model/model.h"
#include "engine/solver/family_solver.h"
#include "engine/solver/search.h"
#include "engine/solver/solver.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// One λ for the whole image. weights: where the data term weighs.
std::vector<float> restore_by_scalar(Backend& backend, const SolverConfig& solver, const float* observed,
                                     const float* weights, int height, int width, double lambda) {
    const std::ptrdiff_t pixels = std::ptrdiff_t(height) * width;
    const Map by{MapKind::scalar, {float(lambda)}};
    const ImageStack z{1, height, width, {observed, observed + pixels}};
    if (is_plain(solver)) return solve(backend, solver, z, by, {}).x;
    return restore(backend, solver, observed_image(solver.observation, z, weights, by), {}).x;
}

/// A test image, and how strong its noise is.
struct Drawn {
    const Dataset& data;
    int number;
    float sigma;
    const float* clean;
};

/// The maps of evaluate.draws other draws of an image's noise, as strong as it is. before_each may end the evaluation.
MapStability drawn_anew(Backend& backend, const Config& config, const Drawn& image, Denoiser& denoiser,
                        const std::function<void()>& before_each) {
    const int h = image.data.height(image.number), w = image.data.width(image.number);
    const std::int64_t pixels = image.data.pixels(image.number);
    ObservationConfig observation = config.solver.observation;
    const double gain = Observer(observation).gain(config.seed, test_epoch, std::uint32_t(image.number));
    observation.gain = {gain, gain};
    const Observer observer(observation);
    const Range sigma{image.sigma, image.sigma};
    std::vector<float> noisy(pixels), restored(pixels), lambda(pixels * denoiser.maps()),
        weights(observer.weighs() ? pixels : 0);
    MapDraws draws(lambda.size());
    for (int k = 0; k < config.evaluate.draws; ++k) {
        before_each();
        observer.observe({config.noise, sigma, config.seed, redraw_epoch(k)}, image.data, image.number, h, w,
                         image.clean, noisy.data(), weights.data());
        denoiser.run(noisy.data(), lambda.data(), restored.data(), weights.data());
        draws.add(lambda.data(), measure(backend, restored.data(), image.clean, 1, 1, h, w).front().psnr);
    }
    return draws.stability();
}

/// The best of a curve by each measure.
void pick_best(EvaluatedImage& image, const std::vector<double>& lambdas) {
    for (const auto measure : {&Quality::psnr, &Quality::ssim, &Quality::ssim_uniform}) {
        const auto best = best_of(image.curve, measure);
        constexpr double none = std::numeric_limits<double>::quiet_NaN();
        image.scalar.*measure = best ? image.curve[*best].*measure : none;
        image.scalar_at.*measure = best ? lambdas[*best] : none;
    }
}

}  // namespace

std::vector<double> values_of(const std::vector<EvaluatedImage>& images,
                              const std::function<double(const EvaluatedImage&)>& pick) {
    std::vector<double> values;
    for (const EvaluatedImage& image : images)
        if (image.counts()) values.push_back(pick(image));
    return values;
}

Statistic statistic(const std::vector<EvaluatedImage>& images,
                    const std::function<double(const EvaluatedImage&)>& pick) {
    return statistic(values_of(images, pick));
}

std::vector<std::string> Evaluation::left_out() const {
    std::vector<std::string> names;
    for (const EvaluatedImage& image : images)
        if (!image.counts()) names.push_back(image.name);
    return names;
}

std::vector<double> Evaluation::gains(double Quality::*measure) const {
    return values_of(images, [&](const EvaluatedImage& i) { return i.map.*measure - i.scalar.*measure; });
}

Quality Evaluation::gain() const {
    const auto mean_gain = [&](double Quality::*measure) { return statistic(gains(measure)).mean; };
    return {mean_gain(&Quality::psnr), mean_gain(&Quality::ssim), mean_gain(&Quality::ssim_uniform)};
}

Evaluation evaluate(Backend& backend, const Config& config, const std::string& checkpoint,
                    const std::string& folder, int pictures, const std::function<void(int, int)>& report,
                    const std::atomic<bool>& stop, const Provenance& made_by, int drawn) {
    const bool tv = config.solver.regulariser == Regulariser::tv;
    const int maps = std::min(map_count(config), tv ? 2 : 1);  // that are drawn
    const Dataset data(config.data.test, config.data.size, config.data.limit.test, "data.test",
                       1 << halvings(config.network), config.data.picture_limit,
                       config.data.own_sizes ? Preparation::none : Preparation::square);
    for (int i = 0; i < data.count(); ++i) {
        const auto where = [&](const std::string& key) { return text(data.name(i), ": ", key); };
        for (const int side : {data.height(i), data.width(i)})
            check_observed(config.solver.observation, side, "the image's side", where);
        if (i < pictures) check_example_size(folder, data.height(i), data.width(i));
    }
    if (std::filesystem::is_directory(folder + "/checkpoints"))
        fail(folder, ": holds a run; choose another folder with --out");
    Evaluation result;
    result.made_by = made_by;
    if (const auto steps = stored_steps(checkpoint))
        result.made_by.emplace_back("weights_steps", text(*steps));
    result.method = method_name(config);
    result.weighs_squares = weighs_squares(config.solver.observation);
    result.use = check_use(checkpoint, config);

    std::vector<std::string> names;
    for (int i = 0; i < data.count(); ++i) names.push_back(data.name(i));

    Model model = Model::load(backend, config, checkpoint, data.height(0), data.width(0));
    if (stop) throw Interrupted("interrupted before the first image; nothing was written");
    prepare_outputs(evaluation_outputs(folder, names, pictures, maps));
    const FolderLock lock(folder);
    result.config = config.to_yaml();
    result.asked = data.count();

    const EvaluateConfig::Search& search = config.evaluate.search;
    result.lambdas = equally_spaced(search.from, search.to, search.count);
    const std::vector<float> lambdas(result.lambdas.begin(), result.lambdas.end());
    SolverConfig solver = config.solver;
    solver.regulariser = Regulariser::tv;  // whatever the map is for: one baseline
    solver.iterations = config.evaluate.iterations;
    std::vector<double> search_seconds, map_seconds;
    std::vector<Figure> examples;
    const auto finish = [&] {
        result.search_seconds = median(search_seconds);
        result.map_seconds = median(map_seconds);
        result.missing_figures = write_evaluation(folder, result, examples);
    };
    const auto leave_if_asked = [&] {
        const std::size_t done = result.images.size();
        if (!stop || done == 0) return;
        finish();
        throw Interrupted(text("interrupted; the tables and pictures in ", folder, " are of the first ", done,
                               " of ", data.count(), " images"));
    };

    const Observer observer(config.solver.observation);
    const bool estimates = shows_noise(config.solver.observation);
    constexpr double no_estimate = std::numeric_limits<double>::quiet_NaN();
    std::vector<float> clean, noisy, lambda, denoised, weights;
    for (int first = 0, together; first < data.count(); first += together) {
        leave_if_asked();
        const int h = data.height(first), w = data.width(first);
        const std::int64_t pixels = data.pixels(first);
        const int most = images_at_once(backend, solver, h, w, search.count);
        for (together = 1; together < most && first + together < data.count(); ++together)
            if (data.height(first + together) != h || data.width(first + together) != w) break;
        clean.resize(together * pixels);
        noisy.resize(together * pixels);
        weights.resize(observer.weighs() ? together * pixels : 0);
        const auto weights_of = [&](int n) { return observer.weighs() ? &weights[n * pixels] : nullptr; };
        std::vector<float> sigmas;
        for (int n = 0; n < together; ++n) {
            data.copy(first + n, &clean[n * pixels]);
            sigmas.push_back(observer.observe({config.noise, config.evaluate.sigma, config.seed, test_epoch},
                                              data, first + n, h, w, &clean[n * pixels], &noisy[n * pixels],
                                              weights_of(n)));
        }
        const std::vector<ScalarCurve> curves = scalar_search(
            backend, solver, {noisy.data(), clean.data(), together, h, w, weights_of(0)}, lambdas);
        const std::vector<Quality> of_noisy = measure(backend, noisy.data(), clean.data(), together, 1, h, w);

        Denoiser& denoiser = model.denoiser(h, w);
        lambda.resize(pixels * denoiser.maps());
        denoised.resize(pixels);
        for (int n = 0; n < together; ++n) {
            leave_if_asked();
            const float *truth = &clean[n * pixels], *z = &noisy[n * pixels];
            EvaluatedImage image;
            image.name = data.name(first + n);
            image.sigma = sigmas[n];
            image.noise = noise_scale(config.noise, sigmas[n], data, first + n);
            image.noise_estimated = estimates ? estimate_noise(z, h, w) : no_estimate;
            image.noisy = of_noisy[n];
            image.curve = curves[n].quality;
            pick_best(image, result.lambdas);
            search_seconds.push_back(curves[n].seconds);

            const Stopwatch watch;
            denoiser.run(z, lambda.data(), denoised.data(), weights_of(n));
            map_seconds.push_back(watch.seconds());
            image.map = measure(backend, denoised.data(), truth, 1, 1, h, w).front();
            for (float value : lambda) image.lambda_mean += value / double(lambda.size());
            if (!lambda.empty()) {
                image.lambda_median = median({lambda.begin(), lambda.end()});
                image.stability = drawn_anew(backend, config, {data, first + n, sigmas[n], truth}, denoiser,
                                             leave_if_asked);
            }
            if (first + n < pictures) {
                const std::vector<float> scalar =
                    restore_by_scalar(backend, solver, z, weights_of(n), h, w, image.scalar_at.psnr);
                const std::vector<Figure> figures = write_example(
                    folder, image, {truth, z, scalar.data(), denoised.data(), lambda.data(), h, w, maps});
                if (first + n < drawn)
                    examples.insert(examples.end(), figures.begin(), figures.end());
                else  // what an earlier evaluation drew
                    for (const Figure& figure : figures) remove_figure(folder, figure.name);
            }
            result.images.push_back(std::move(image));
            report(int(result.images.size()), data.count());
        }
    }
    finish();
    return result;
}

}  // namespace tvmap
