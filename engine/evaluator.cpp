#include "engine/evaluator.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <exception>

#include "engine/batches.h"
#include "engine/checkpoint.h"
#include "engine/denoiser.h"
#include "engine/evaluation_files.h"
#include "engine/file.h"
#include "kernels/error.h"
#include "kernels/metrics.h"

namespace tvmap {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
    if (values.empty()) return 0;
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

Quality quality(const float* image, const float* clean, int side) {
    return {cpu::psnr(image, clean, std::int64_t(side) * side), cpu::ssim_gaussian(image, clean, side, side),
            cpu::ssim_uniform(image, clean, side, side)};
}

std::vector<double> equally_spaced(const EvaluateConfig::Search& search) {
    std::vector<double> values(search.count);
    for (int i = 0; i < search.count; ++i)
        values[i] = search.count == 1 ? search.from
                                      : search.from + (search.to - search.from) * i / (search.count - 1);
    return values;
}

/// Solves one image for every λ in one batch.
class ScalarSearch {
  public:
    ScalarSearch(Backend& backend, const Config& config, const std::vector<double>& lambdas)
        : backend_(backend),
          iterations_(config.evaluate.iterations),
          side_(config.data.size),
          problem_(pdhg_problem(config.solver, config.map, int(lambdas.size()), side_, side_)) {
        problem_.solves_per_image = problem_.solves;
        problem_.map = MapKind::scalar;
        const std::size_t pixels = problem_.pixels();
        arena_ = std::make_unique<Arena>(backend,
                                         sizeof(float) * (pixels * (1 + problem_.solves) + aligned_count()) +
                                             backend.pdhg_workspace_bytes(problem_));
        workspace_ = static_cast<std::byte*>(arena_->memory());
        lambda_ =
            reinterpret_cast<float*>(workspace_ + (backend.pdhg_workspace_bytes(problem_) + 63) / 64 * 64);
        z_ = lambda_ + aligned_count();
        x_ = z_ + pixels;
        const std::vector<float> values(lambdas.begin(), lambdas.end());
        backend.upload(lambda_, values.data(), sizeof(float) * values.size());
        results_.resize(pixels * problem_.solves);
    }

    /// Fills curve and best; returns the seconds of the solves.
    double run(const float* noisy, const float* clean, EvaluatedImage& image) {
        const std::size_t pixels = problem_.pixels();
        const auto start = std::chrono::steady_clock::now();
        backend_.upload(z_, noisy, sizeof(float) * pixels);
        backend_.pdhg_forward(problem_, iterations_, z_, lambda_, x_, nullptr, workspace_);
        backend_.download(results_.data(), x_, sizeof(float) * results_.size());
        const double seconds = seconds_since(start);
        image.curve.resize(problem_.solves);
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < problem_.solves; ++i)
            image.curve[i] = quality(&results_[i * pixels], clean, side_);
        return seconds;
    }

    const float* result(int lambda) const { return &results_[lambda * problem_.pixels()]; }

  private:
    std::size_t aligned_count() const { return std::size_t(problem_.solves + 15) / 16 * 16; }

    Backend& backend_;
    int iterations_, side_;
    PdhgProblem problem_;
    std::unique_ptr<Arena> arena_;
    std::byte* workspace_;
    float *lambda_, *z_, *x_;
    std::vector<float> results_;
};

/// The place of the best entry of a curve.
int best_of(const std::vector<Quality>& curve, double Quality::*measure) {
    int best = 0;
    for (int i = 1; i < int(curve.size()); ++i)
        if (curve[i].*measure > curve[best].*measure) best = i;
    return best;
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
    const Dataset data(config.data.test, config.data.size, config.data.limit.test);
    const int side = config.data.size;
    const std::int64_t pixels = std::int64_t(side) * side;

    Algorithms algorithms = Algorithms::of_machine();
    Denoiser denoiser(*backend, algorithms, config, side, side);
    algorithms.save_for_machine();
    Parameters parameters(*backend, denoiser.graph().parameters(), false);
    read_checkpoint(checkpoint, parameters, false);
    const Arena arena(*backend, denoiser.arena_bytes());
    denoiser.bind(arena, parameters);
    make_folder(folder);

    Evaluation result;
    result.lambdas = equally_spaced(config.evaluate.search);
    ScalarSearch search(*backend, config, result.lambdas);
    std::vector<double> search_seconds, map_seconds;
    std::vector<float> clean(pixels), noisy(pixels), denoised(pixels), lambda(pixels * denoiser.maps());
    for (int i = 0; i < data.count(); ++i) {
        if (stop)
            fail("evaluation interrupted after ", i, " of ", data.count(), " images; nothing was written");
        EvaluatedImage image;
        image.name = data.name(i);
        data.copy(i, clean.data());
        image.sigma = make_noisy(config.noise, config.evaluate.sigma, config.seed, test_epoch, data, i,
                                 pixels, clean.data(), noisy.data());
        search_seconds.push_back(search.run(noisy.data(), clean.data(), image));
        const int best_psnr = best_of(image.curve, &Quality::psnr),
                  best_ssim = best_of(image.curve, &Quality::ssim),
                  best_uniform = best_of(image.curve, &Quality::ssim_uniform);
        image.scalar = {image.curve[best_psnr].psnr, image.curve[best_ssim].ssim,
                        image.curve[best_uniform].ssim_uniform};
        image.scalar_at = {result.lambdas[best_psnr], result.lambdas[best_ssim],
                           result.lambdas[best_uniform]};

        const auto start = std::chrono::steady_clock::now();
        denoiser.run(noisy.data(), lambda.data(), denoised.data());
        map_seconds.push_back(seconds_since(start));
        image.noisy = quality(noisy.data(), clean.data(), side);
        image.map = quality(denoised.data(), clean.data(), side);
        for (float value : lambda) image.lambda_mean += value / double(lambda.size());
        if (i < pictures)
            write_example(
                folder, image,
                {clean.data(), noisy.data(), search.result(best_psnr), denoised.data(), lambda.data()}, side,
                denoiser.maps());
        result.images.push_back(std::move(image));
        report(i + 1, data.count());
    }
    result.search_seconds = median(search_seconds);
    result.map_seconds = median(map_seconds);
    write_evaluation(folder, result);
    return result;
}

}  // namespace tvmap
