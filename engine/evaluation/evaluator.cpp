#include "engine/evaluation/evaluator.h"

#include <algorithm>
#include <limits>

#include "engine/config/equally_spaced.h"
#include "engine/config/solver_problem.h"
#include "engine/data/noise.h"
#include "engine/data/observation.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/evaluation/example_files.h"
#include "engine/files/file.h"
#include "engine/files/stopwatch.h"
#include "engine/model/model.h"
#include "engine/solver/family_solver.h"
#include "engine/solver/search.h"
#include "engine/solver/solver.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// One λ for the whole image. weights: where solver.operator is mask.
std::vector<float> restore_by_scalar(Backend& backend, const SolverConfig& solver, const float* observed,
                                     const float* weights, int side, double lambda) {
    const std::ptrdiff_t pixels = std::ptrdiff_t(side) * side;
    const Map by{MapKind::scalar, {float(lambda)}};
    const ImageStack z{1, side, side, {observed, observed + pixels}};
    if (is_plain(solver)) return solve(backend, solver, z, by, {}).x;
    const ObservationConfig& o = solver.observation;
    Restoration given;
    given.z = z;
    given.lambda = by;
    given.observation.data = o.data;
    given.observation.values = blur_kernel(o);
    if (o.data == DataTerm::weights) given.observation.values.assign(weights, weights + pixels);
    if (o.data == DataTerm::blur) given.observation.rows = given.observation.columns = o.blur_size;
    if (o.data == DataTerm::super_resolution) {
        given.observation.factor = o.factor;
        const int small = side / o.factor;
        given.z = {1, small, small, {}};
        for (int i = 0; i < small; ++i)
            for (int j = 0; j < small; ++j)
                given.z.values.push_back(observed[std::ptrdiff_t(i) * o.factor * side + j * o.factor]);
    }
    return restore(backend, solver, given, {}).x;
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
    const int maps = tv ? map_count(config.solver, config.map) : 1;  // that are drawn
    if (pictures > 0) check_example_size(folder, config.data.size, config.data.size);
    const Dataset data(config.data.test, config.data.size, config.data.limit.test, "data.test",
                       1 << halvings(config.network), config.data.picture_limit);
    Evaluation result;
    result.made_by = made_by;
    result.use = check_use(checkpoint, config);
    const int side = config.data.size;
    const std::int64_t pixels = std::int64_t(side) * side;

    std::vector<std::string> names;
    for (int i = 0; i < data.count(); ++i) names.push_back(data.name(i));

    Model model = Model::load(backend, config, checkpoint, side, side);
    Denoiser& denoiser = model.denoiser();
    if (stop) throw Interrupted("interrupted before the first image; nothing was written");
    prepare_outputs(evaluation_outputs(folder, names, pictures, maps));
    write_file(folder + "/config.yaml", config.to_yaml());

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

    const int group = std::min(images_at_once(backend, solver, side, side, search.count), data.count());
    const Observer observer(config.solver.observation);
    std::vector<float> clean(group * pixels), noisy(group * pixels), lambda(pixels * denoiser.maps()),
        denoised(pixels), weights(observer.weighs() ? group * pixels : 0);
    const auto weights_of = [&](int n) { return observer.weighs() ? &weights[n * pixels] : nullptr; };
    for (int first = 0; first < data.count(); first += group) {
        leave_if_asked();
        const int together = std::min(group, data.count() - first);
        std::vector<float> sigmas;
        for (int n = 0; n < together; ++n) {
            data.copy(first + n, &clean[n * pixels]);
            sigmas.push_back(make_noisy({config.noise, config.evaluate.sigma, config.seed, test_epoch}, data,
                                        first + n, pixels, &clean[n * pixels], &noisy[n * pixels]));
            observer.observe(config.seed, test_epoch, std::uint32_t(first + n), side, side,
                             &clean[n * pixels], &noisy[n * pixels], weights_of(n));
        }
        const std::vector<ScalarCurve> curves = scalar_search(
            backend, solver, {noisy.data(), clean.data(), together, side, side, weights_of(0)}, lambdas);
        const std::vector<Quality> of_noisy =
            measure(backend, noisy.data(), clean.data(), together, 1, side, side);

        for (int n = 0; n < together; ++n) {
            leave_if_asked();
            const float *truth = &clean[n * pixels], *z = &noisy[n * pixels];
            EvaluatedImage image;
            image.name = data.name(first + n);
            image.sigma = sigmas[n];
            image.noisy = of_noisy[n];
            image.curve = curves[n].quality;
            pick_best(image, result.lambdas);
            search_seconds.push_back(curves[n].seconds);

            const Stopwatch watch;
            denoiser.run(z, lambda.data(), denoised.data(), weights_of(n));
            map_seconds.push_back(watch.seconds());
            image.map = measure(backend, denoised.data(), truth, 1, 1, side, side).front();
            for (float value : lambda) image.lambda_mean += value / double(lambda.size());
            if (first + n < pictures) {
                const std::vector<float> scalar =
                    restore_by_scalar(backend, solver, z, weights_of(n), side, image.scalar_at.psnr);
                const std::vector<Figure> figures = write_example(
                    folder, image,
                    {truth, z, scalar.data(), denoised.data(), lambda.data(), side, side, maps});
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
