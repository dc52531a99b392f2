#include "engine/evaluation/evaluation_files.h"

#include <algorithm>
#include <cmath>

#include "engine/evaluation/figures.h"
#include "engine/evaluation/statistics.h"
#include "engine/files/csv.h"
#include "engine/files/file.h"
#include "engine/files/format.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

struct Column {
    const char* name;
    std::function<double(const EvaluatedImage&)> pick;
};

const std::vector<Column>& columns() {
    static const std::vector<Column> list = {
        {"sigma", [](auto& i) { return i.sigma; }},
        {"noise", [](auto& i) { return i.noise; }},
        {"noise_estimated", [](auto& i) { return i.noise_estimated; }},
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

/// The mean curve over λ by each measure.
std::vector<Quality> mean_curve(const Evaluation& evaluation) {
    std::vector<Quality> means;
    for (std::size_t l = 0; l < evaluation.lambdas.size(); ++l) {
        std::vector<Quality> at;
        for (const EvaluatedImage& image : evaluation.images)
            if (image.counts()) at.push_back(image.curve[l]);
        means.push_back(mean_quality(at));
    }
    return means;
}

/// The mean curves with the map's mean as a level; only of measures that there are means of.
std::string draw_curves(const std::string& folder, const Evaluation& evaluation) {
    const auto part = [&](const char* name, int column, double Quality::*measure) -> std::string {
        const double level = statistic(evaluation.images, [&](auto& i) { return i.map.*measure; }).mean;
        if (!std::isfinite(level)) return "";
        return format(
            "set ylabel '%s'\n"
            "plot 'curves.csv' skip 1 using 1:%d lw 2 title 'scalar λ', %.6f lw 2 title 'map Λ'\n",
            name, column, level);
    };
    const std::string psnr = part("PSNR, dB", 2, &Quality::psnr), ssim = part("SSIM", 3, &Quality::ssim);
    if (psnr.empty())
        return text("figures missing in ", folder, ": no image counts in the means to be shown");
    return draw_figures(folder, {{"curves", 900, 420,
                                  "set datafile separator ','\nset grid\nset xlabel 'λ'\nset key below\n"
                                  "set style data lines\nset multiplot layout 1,2\n" +
                                      psnr + ssim + "unset multiplot\n"}});
}

/// "mean ± deviation" or, where there is none, a dash as wide.
std::string cell(const Statistic& s, int width, int digits) {
    const std::string numbers = format("%*.*f ± %.*f", width, digits, s.mean, digits, s.deviation);
    if (std::isfinite(s.mean)) return numbers;
    return std::string(std::size_t(std::max(width, 1) - 1), ' ') + "–" +
           std::string(std::size_t(digits + 5), ' ');
}

/// A signed number or, where there is none, a dash as wide.
std::string signed_cell(double value, int width, int digits) {
    if (std::isfinite(value)) return format("%+*.*f", width, digits, value);
    return std::string(std::size_t(std::max(width, 1) - 1), ' ') + "–";
}

/// "low … high" of a mean gain or, where there is none, a dash; `width` characters wide at least.
std::string interval_cell(const std::vector<double>& gains, std::size_t width, int digits) {
    const Interval interval = mean_interval(gains);
    if (!std::isfinite(interval.low)) return "–" + std::string(width - 1, ' ');
    const std::string low = format("%+.*f", digits, interval.low),
                      high = format("%+.*f", digits, interval.high);
    const std::size_t length = low.size() + 3 + high.size();
    return low + " … " + high + std::string(length < width ? width - length : 0, ' ');
}

constexpr int gap = 4;  // between the pictures of a panel

/// The files of an example; the panel of all the others is the last one.
std::vector<std::string> example_paths(const std::string& folder, const std::string& name, int maps) {
    std::vector<std::string> paths;
    for (const std::string_view part :
         {"clean", "noisy", "scalar", "map", "lambda", "lambda_horizontal", "panel"})
        if ((maps > 1 || part != "lambda_horizontal") && (maps > 0 || part != "lambda"))
            paths.push_back(folder + "/images/" + name + "_" + std::string(part) + ".png");
    return paths;
}

}  // namespace

Picture map_picture(const float* lambda, int height, int width) {
    std::vector<float> logs(std::size_t(height) * width);
    std::transform(lambda, lambda + logs.size(), logs.begin(),
                   [](float v) { return std::log10(v > 1e-8f ? v : 1e-8f); });  // NaN, too: it has no order
    std::vector<float> sorted = logs;
    std::sort(sorted.begin(), sorted.end());
    return false_colour(logs.data(), height, width, sorted[sorted.size() / 100],
                        sorted[sorted.size() - 1 - sorted.size() / 100]);
}

std::string Evaluation::table() const {
    auto row = [&](const char* name, Quality EvaluatedImage::*who) {
        auto of = [&](double Quality::*measure) {
            return statistic(images, [&](auto& i) { return (i.*who).*measure; });
        };
        return name + cell(of(&Quality::psnr), 7, 2) + "   " + cell(of(&Quality::ssim), 5, 3) + "     " +
               cell(of(&Quality::ssim_uniform), 5, 3) + "\n";
    };
    const Quality g = gain();
    const Statistic at = statistic(images, [](auto& i) { return i.scalar_at.psnr; });
    const std::vector<std::string> names = left_out();
    const std::size_t counted = images.size() - names.size();
    const auto wins = std::count_if(images.begin(), images.end(),
                                    [](auto& i) { return i.counts() && i.map.psnr > i.scalar.psnr; });
    // Names are padded by hand: printf counts the bytes of λ, not the characters.
    std::string table =
        format("%-16s PSNR, dB       SSIM (Gaussian)   SSIM (uniform)\n",
               (std::to_string(counted) + " images").c_str()) +
        row("noisy           ", &EvaluatedImage::noisy) + row("best scalar λ   ", &EvaluatedImage::scalar) +
        row("map Λ           ", &EvaluatedImage::map) + "map over scalar  " + signed_cell(g.psnr, 6, 2) +
        "         " + signed_cell(g.ssim, 7, 3) + "           " + signed_cell(g.ssim_uniform, 7, 3) + "\n";
    if (counted > 0) {
        const std::vector<double> gained = gains(&Quality::psnr);
        table += "its 95 % interval " + interval_cell(gained, 15, 2) +
                 interval_cell(gains(&Quality::ssim), 18, 3) +
                 interval_cell(gains(&Quality::ssim_uniform), 1, 3) + "\n" +
                 "best scalar λ = " + cell(at, 0, 3) +
                 format("; the map is better on %zd of %zu images, p = %.2g (sign flips)\n",
                        std::ptrdiff_t(wins), counted, sign_flip_p(gained));
    }
    const Statistic noise = statistic(images, [](auto&i) { return i.noise; }),
                    estimated = statistic(images, [](auto&i) { return i.noise_estimated; });
    if (std::isfinite(estimated.mean))
        table += "noise (white is 1) " + cell(noise, 0, 3) + ", estimated from the noisy images " +
                 cell(estimated, 0, 3) + "\n";
    if (!names.empty()) table += left_out_of_means(names) + "\n";
    if (const std::string line = use.line(); !line.empty()) table += line + "\n";
    return table;
}

void write_example(const std::string& folder, const EvaluatedImage& image, const ExamplePictures& p,
                   int height, int width, int maps) {
    make_folder(folder + "/images");
    std::vector<Picture> all;
    for (const float* part : {p.clean, p.noisy, p.scalar, p.map})
        all.push_back(grey_picture(part, height, width));
    for (int map = 0; map < maps; ++map)
        all.push_back(map_picture(p.lambda + std::size_t(map) * height * width, height, width));
    all.push_back(panel(all, gap));
    const std::vector<std::string> paths = example_paths(folder, image.name, maps);
    std::vector<std::string> contents;
    for (std::size_t i = 0; i < all.size(); ++i) contents.push_back(encode_png(paths[i], all[i]));
    std::vector<NewFile> files;
    for (std::size_t i = 0; i < all.size(); ++i) files.push_back({paths[i], {contents[i]}});
    write_files(files);
}

void check_example_size(const std::string& folder, int height, int width, int maps) {
    const std::int64_t across = (4 + maps) * (std::int64_t(width) + gap) - gap;
    check_png_size(folder + "/images", height, int(std::min<std::int64_t>(across, 1 << 30)), 3, 8);
}

std::vector<Output> evaluation_outputs(const std::string& folder, const std::vector<std::string>& names,
                                       int pictures, int maps) {
    std::vector<Output> outputs;
    for (const char* table : {"config.yaml", "per_image.csv", "summary.csv", "curves.csv", "summary.txt"})
        outputs.push_back({folder + "/" + table});
    for (std::size_t i = 0; i < names.size() && i < std::size_t(pictures); ++i)
        for (const std::string& path : example_paths(folder, names[i], maps)) outputs.push_back({path});
    return outputs;
}

std::string write_evaluation(const std::string& folder, const Evaluation& evaluation) {
    std::string images = "name", summary = "quantity,mean,deviation,low,high\n",
                curves = "lambda,psnr,ssim,ssim_uniform\n";
    for (const Column& column : columns()) images += std::string(",") + column.name;
    images += "\n";
    for (const EvaluatedImage& image : evaluation.images) {
        images += csv_field(image.name);
        for (const Column& column : columns()) images += "," + csv_number(column.pick(image));
        images += "\n";
    }
    for (const Column& column : columns()) {
        const Statistic s = statistic(evaluation.images, column.pick);
        const Interval interval = mean_interval(values_of(evaluation.images, column.pick));
        summary += column.name;
        summary += "," + csv_number(s.mean) + "," + csv_number(s.deviation);
        const bool known = std::isfinite(interval.low);  // of too few images there is none: two empty fields
        summary += "," + (known ? csv_number(interval.low) + "," + csv_number(interval.high) : ",") + "\n";
    }
    const std::vector<Quality> curve = mean_curve(evaluation);
    for (std::size_t l = 0; l < curve.size(); ++l)
        curves += csv_number(evaluation.lambdas[l]) + "," + csv_number(curve[l].psnr, 9) + "," +
                  csv_number(curve[l].ssim, 9) + "," + csv_number(curve[l].ssim_uniform, 9) + "\n";
    const std::string table = evaluation.table();
    write_files({{folder + "/per_image.csv", {images}},
                 {folder + "/summary.csv", {summary}},
                 {folder + "/curves.csv", {curves}},
                 {folder + "/summary.txt", {table}}});
    return draw_curves(folder, evaluation);
}

}  // namespace tvmap
