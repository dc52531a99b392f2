#include "engine/evaluator.h"

#include <algorithm>
#include <cmath>

#include "engine/batches.h"
#include "engine/checkpoint.h"
#include "engine/denoiser.h"
#include "engine/evaluation_files.h"
#include "engine/file.h"
#include "engine/search.h"
#include "engine/solver.h"
#include "engine/stopwatch.h"
#include "kernels/error.h"

namespace tvmap {
namespace {

/// One λ for the whole image.
std::vector<float> denoise_by_scalar(const SolverConfig& solver, const std::vector<float>& noisy, int side,
                                     double lambda) {
    return solve(solver, {1, side, side, noisy}, {MapKind::scalar, {float(lambda)}}, {}).x;
}

}  // namespace

Statistic statistic(const std::vector<EvaluatedImage>& images,
                    const std::function<double(const EvaluatedImage&)>& pick) {
    Statistic s;
    for (const auto& image : images) s.mean += pick(image) / double(images.size());
    for (const auto& image : images) s.deviation += (pick(image) - s.mean) * (pick(image) - s.mean);
    s.deviation = images.size() > 1 ? std::sqrt(s.deviation / double(images.size() - 1)) : 0;
    return s;
}

Quality Evaluation::gain() const {
    auto mean_gain = [&](double Quality::*measure) {
        return statistic(images, [&](const EvaluatedImage& i) { return i.map.*measure - i.scalar.*measure; })
            .mean;
    };
    return {mean_gain(&Quality::psnr), mean_gain(&Quality::ssim), mean_gain(&Quality::ssim_uniform)};
}

Evaluation evaluate(const Config& config, const std::string& checkpoint, const std::string& folder,
                    int pictures, const std::function<void(int, int)>& report,
                    const std::atomic<bool>& stop) {
    const auto backend = make_backend(config.device);
    const Dataset data(config.data.test, config.data.size, config.data.limit.test, "data.test",
                       1 << halvings(config.network));
    const int side = config.data.size;
    const std::int64_t pixels = std::int64_t(side) * side;

    Algorithms algorithms = Algorithms::of_machine();
    Denoiser denoiser(*backend, algorithms, config, side, side);
    algorithms.save_for_machine();
    Parameters parameters(*backend, denoiser.graph().parameters(), false);
    read_checkpoint(checkpoint, parameters, false);
    const Arena arena(*backend, denoiser.arena_bytes());
    denoiser.bind(arena, parameters);
    if (stop) throw Interrupted("interrupted before the first image; nothing was written");
    make_folder(folder);

    Evaluation result;
    const EvaluateConfig::Search& search = config.evaluate.search;
    result.lambdas = equally_spaced(search.from, search.to, search.count);
    const std::vector<float> lambdas(result.lambdas.begin(), result.lambdas.end());
    SolverConfig solver = config.solver;
    solver.iterations = config.evaluate.iterations;
    std::vector<double> search_seconds, map_seconds;
    std::vector<float> clean(pixels), noisy(pixels), denoised(pixels), lambda(pixels * denoiser.maps());
    const auto finish = [&] {
        result.search_seconds = median(search_seconds);
        result.map_seconds = median(map_seconds);
        write_evaluation(folder, result);
    };
    for (int i = 0; i < data.count(); ++i) {
        if (stop && i > 0) {
            finish();
            throw Interrupted(text("interrupted; the tables and pictures in ", folder, " are of the first ",
                                   i, " of ", data.count(), " images"));
        }
        EvaluatedImage image;
        image.name = data.name(i);
        data.copy(i, clean.data());
        image.sigma = make_noisy(config.noise, config.evaluate.sigma, config.seed, test_epoch, data, i,
                                 pixels, clean.data(), noisy.data());
        const ScalarCurve curve =
            scalar_search(solver, noisy.data(), clean.data(), side, side, lambdas, 1, {});
        image.curve = curve.quality;
        search_seconds.push_back(curve.seconds);
        const int best_psnr = best_of(image.curve, &Quality::psnr),
                  best_ssim = best_of(image.curve, &Quality::ssim),
                  best_uniform = best_of(image.curve, &Quality::ssim_uniform);
        image.scalar = {image.curve[best_psnr].psnr, image.curve[best_ssim].ssim,
                        image.curve[best_uniform].ssim_uniform};
        image.scalar_at = {result.lambdas[best_psnr], result.lambdas[best_ssim],
                           result.lambdas[best_uniform]};

        const Stopwatch watch;
        denoiser.run(noisy.data(), lambda.data(), denoised.data());
        map_seconds.push_back(watch.seconds());
        image.noisy = quality(noisy.data(), clean.data(), side, side);
        image.map = quality(denoised.data(), clean.data(), side, side);
        for (float value : lambda) image.lambda_mean += value / double(lambda.size());
        if (i < pictures)
            write_example(folder, image,
                          {clean.data(), noisy.data(),
                           denoise_by_scalar(solver, noisy, side, result.lambdas[best_psnr]).data(),
                           denoised.data(), lambda.data()},
                          side, denoiser.maps());
        result.images.push_back(std::move(image));
        report(i + 1, data.count());
    }
    finish();
    return result;
}

}  // namespace tvmap
