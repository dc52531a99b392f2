#include "engine/evaluation_files.h"

#include <algorithm>
#include <cmath>

#include "engine/csv.h"
#include "engine/figures.h"
#include "engine/file.h"
#include "engine/format.h"

namespace tvmap {
namespace {

struct Column {
    const char* name;
    std::function<double(const EvaluatedImage&)> pick;
};

const std::vector<Column>& columns() {
    static const std::vector<Column> list = {
        {"sigma", [](auto& i) { return i.sigma; }},
        {"noisy_psnr", [](auto& i) { return i.noisy.psnr; }},
        {"noisy_ssim", [](auto& i) { return i.noisy.ssim; }},
        {"noisy_ssim_uniform", [](auto& i) { return i.noisy.ssim_uniform; }},
        {"scalar_psnr", [](auto& i) { return i.scalar.psnr; }},
        {"scalar_ssim", [](auto& i) { return i.scalar.ssim; }},
        {"scalar_ssim_uniform", [](auto& i) { return i.scalar.ssim_uniform; }},
        {"scalar_lambda_psnr", [](auto& i) { return i.scalar_at.psnr; }},
        {"scalar_lambda_ssim", [](auto& i) { return i.scalar_at.ssim; }},
        {"map_psnr", [](auto& i) { return i.map.psnr; }},
        {"map_ssim", [](auto& i) { return i.map.ssim; }},
        {"map_ssim_uniform", [](auto& i) { return i.map.ssim_uniform; }},
        {"map_mean", [](auto& i) { return i.lambda_mean; }},
        {"gain_psnr", [](auto& i) { return i.map.psnr - i.scalar.psnr; }},
        {"gain_ssim", [](auto& i) { return i.map.ssim - i.scalar.ssim; }},
        {"gain_ssim_uniform", [](auto& i) { return i.map.ssim_uniform - i.scalar.ssim_uniform; }},
    };
    return list;
}

/// The mean curves over λ with the map's mean as a level.
void draw_curves(const std::string& folder, const Evaluation& evaluation) {
    const double psnr = statistic(evaluation.images, [](auto& i) { return i.map.psnr; }).mean;
    const double ssim = statistic(evaluation.images, [](auto& i) { return i.map.ssim; }).mean;
    draw_figure(
        folder, "curves", 900, 420,
        format("set datafile separator ','\nset grid\nset xlabel 'λ'\nset key below\nset style data lines\n"
               "set multiplot layout 1,2\n"
               "set ylabel 'PSNR, dB'\n"
               "plot 'curves.csv' skip 1 using 1:2 lw 2 title 'scalar λ', %.6f lw 2 title 'map Λ'\n"
               "set ylabel 'SSIM'\n"
               "plot 'curves.csv' skip 1 using 1:3 lw 2 title 'scalar λ', %.6f lw 2 title 'map Λ'\n"
               "unset multiplot\n",
               psnr, ssim));
}

}  // namespace

Picture map_picture(const float* lambda, int height, int width) {
    std::vector<float> logs(std::size_t(height) * width);
    std::transform(lambda, lambda + logs.size(), logs.begin(),
                   [](float v) { return std::log10(std::max(v, 1e-8f)); });
    std::vector<float> sorted = logs;
    std::sort(sorted.begin(), sorted.end());
    return false_colour(logs.data(), height, width, sorted[sorted.size() / 100],
                        sorted[sorted.size() - 1 - sorted.size() / 100]);
}

std::string Evaluation::table() const {
    auto row = [&](const char* name, Quality EvaluatedImage::*who) {
        const Statistic p = statistic(images, [&](auto& i) { return (i.*who).psnr; });
        const Statistic s = statistic(images, [&](auto& i) { return (i.*who).ssim; });
        const Statistic u = statistic(images, [&](auto& i) { return (i.*who).ssim_uniform; });
        return format("%s %6.2f ± %4.2f   %.3f ± %.3f     %.3f ± %.3f\n", name, p.mean, p.deviation, s.mean,
                      s.deviation, u.mean, u.deviation);
    };
    const Quality g = gain();
    const Statistic at = statistic(images, [](auto& i) { return i.scalar_at.psnr; });
    const auto wins =
        std::count_if(images.begin(), images.end(), [](auto& i) { return i.map.psnr > i.scalar.psnr; });
    // Names are padded by hand: printf counts the bytes of λ, not the characters.
    return format("%-16s PSNR, dB       SSIM (Gaussian)   SSIM (uniform)\n",
                  (std::to_string(images.size()) + " images").c_str()) +
           row("noisy           ", &EvaluatedImage::noisy) +
           row("best scalar λ   ", &EvaluatedImage::scalar) + row("map Λ           ", &EvaluatedImage::map) +
           format("map over scalar  %+6.2f          %+.3f            %+.3f\n", g.psnr, g.ssim,
                  g.ssim_uniform) +
           format("best scalar λ = %.3f ± %.3f; the map is better on %zd of %zu images\n", at.mean,
                  at.deviation, std::ptrdiff_t(wins), images.size());
}

void write_example(const std::string& folder, const EvaluatedImage& image, const ExamplePictures& p, int side,
                   int maps) {
    make_folder(folder + "/images");
    const std::string stem = folder + "/images/" + image.name;
    std::vector<Picture> all = {grey_picture(p.clean, side, side), grey_picture(p.noisy, side, side),
                                grey_picture(p.scalar, side, side), grey_picture(p.map, side, side),
                                map_picture(p.lambda, side, side)};
    const char* const names[] = {"clean", "noisy", "scalar", "map", "lambda"};
    for (int i = 0; i < 5; ++i) write_png(stem + "_" + names[i] + ".png", all[i]);
    if (maps == 2) {
        all.push_back(map_picture(p.lambda + std::size_t(side) * side, side, side));
        write_png(stem + "_lambda_horizontal.png", all.back());
    }
    write_png(stem + "_panel.png", panel(all));
}

void write_evaluation(const std::string& folder, const Evaluation& evaluation) {
    std::string csv = "name";
    for (const Column& column : columns()) csv += std::string(",") + column.name;
    csv += "\n";
    for (const EvaluatedImage& image : evaluation.images) {
        csv += csv_field(image.name);
        for (const Column& column : columns()) csv += format(",%.6g", column.pick(image));
        csv += "\n";
    }
    write_file(folder + "/per_image.csv", csv);

    csv = "quantity,mean,deviation\n";
    for (const Column& column : columns()) {
        const Statistic s = statistic(evaluation.images, column.pick);
        csv += format("%s,%.6g,%.6g\n", column.name, s.mean, s.deviation);
    }
    write_file(folder + "/summary.csv", csv);

    csv = "lambda,psnr,ssim,ssim_uniform\n";
    for (std::size_t l = 0; l < evaluation.lambdas.size(); ++l) {
        auto mean = [&](double Quality::*measure) {
            return statistic(evaluation.images, [&](auto& i) { return i.curve[l].*measure; }).mean;
        };
        csv += format("%.6g,%.6f,%.6f,%.6f\n", evaluation.lambdas[l], mean(&Quality::psnr),
                      mean(&Quality::ssim), mean(&Quality::ssim_uniform));
    }
    write_file(folder + "/curves.csv", csv);
    write_file(folder + "/summary.txt", evaluation.table());
    draw_curves(folder, evaluation);
}

}  // namespace tvmap
