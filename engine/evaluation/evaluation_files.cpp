#include "engine/evaluation/evaluation_files.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <utility>

#include "engine/evaluation/evaluation_figures.h"
#include "engine/evaluation/example_files.h"
#include "engine/evaluation/statistics.h"
#include "engine/figures/colours.h"
#include "engine/files/csv.h"
#include "engine/files/csv_table.h"
#include "engine/files/file.h"
#include "engine/files/format.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

struct Column {
    const char* name;
    std::function<double(const EvaluatedImage&)> pick;
    std::function<void(EvaluatedImage&, double)> put;  ///< none for what follows from other columns
    bool of_draws = false;                             ///< there with evaluate.draws alone
};

/// A column of a member, to which `member` gives a reference.
template <class Member>
Column column(const char* name, Member member) {
    return {name, [member](const EvaluatedImage& image) { return member(image); },
            [member](EvaluatedImage& image, double value) { member(image) = value; }};
}

Column of_draws(Column column) {
    column.of_draws = true;
    return column;
}

const std::vector<Column>& columns() {
    static const std::vector<Column> list = {
        column(
            "sigma", [](auto& i) -> auto& { return i.sigma; }),
        column(
            "noise", [](auto& i) -> auto& { return i.noise; }),
        column(
            "noise_estimated", [](auto& i) -> auto& { return i.noise_estimated; }),
        column(
            "noisy_psnr", [](auto& i) -> auto& { return i.noisy.psnr; }),
        column(
            "noisy_ssim", [](auto& i) -> auto& { return i.noisy.ssim; }),
        column(
            "noisy_ssim_uniform", [](auto& i) -> auto& { return i.noisy.ssim_uniform; }),
        column(
            "scalar_psnr", [](auto& i) -> auto& { return i.scalar.psnr; }),
        column(
            "scalar_ssim", [](auto& i) -> auto& { return i.scalar.ssim; }),
        column(
            "scalar_ssim_uniform", [](auto& i) -> auto& { return i.scalar.ssim_uniform; }),
        column(
            "scalar_lambda_psnr", [](auto& i) -> auto& { return i.scalar_at.psnr; }),
        column(
            "scalar_lambda_ssim", [](auto& i) -> auto& { return i.scalar_at.ssim; }),
        column(
            "map_psnr", [](auto& i) -> auto& { return i.map.psnr; }),
        column(
            "map_ssim", [](auto& i) -> auto& { return i.map.ssim; }),
        column(
            "map_ssim_uniform", [](auto& i) -> auto& { return i.map.ssim_uniform; }),
        column(
            "map_mean", [](auto& i) -> auto& { return i.lambda_mean; }),
        column(
            "map_median", [](auto& i) -> auto& { return i.lambda_median; }),
        of_draws(column(
            "map_spread", [](auto& i) -> auto& { return i.stability.spread; })),
        of_draws(column(
            "map_psnr_spread", [](auto& i) -> auto& { return i.stability.psnr_spread; })),
        {"gain_psnr", [](auto& i) { return i.map.psnr - i.scalar.psnr; }, {}},
        {"gain_ssim", [](auto& i) { return i.map.ssim - i.scalar.ssim; }, {}},
        {"gain_ssim_uniform", [](auto& i) { return i.map.ssim_uniform - i.scalar.ssim_uniform; }, {}},
    };
    return list;
}

/// Those that say something of these images.
std::vector<Column> columns_of(const std::vector<EvaluatedImage>& images) {
    const bool drawn = std::any_of(images.begin(), images.end(),
                                   [](const EvaluatedImage& i) { return std::isfinite(i.stability.spread); });
    std::vector<Column> list;
    for (const Column& column : columns())
        if (drawn || !column.of_draws) list.push_back(column);
    return list;
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

}  // namespace

std::vector<float> logarithms(const float* lambda, std::size_t count) {
    std::vector<float> logs(count);
    std::transform(lambda, lambda + count, logs.begin(),
                   [](float v) { return std::log10(v > least_lambda ? v : least_lambda); });
    return logs;
}

Picture map_picture(const float* lambda, int height, int width) {
    const std::vector<float> logs = logarithms(lambda, std::size_t(height) * width);
    std::vector<float> sorted = logs;
    std::sort(sorted.begin(), sorted.end());
    return false_colour(logs.data(), height, width, sorted[sorted.size() / 100],
                        sorted[sorted.size() - 1 - sorted.size() / 100]);
}

std::string Evaluation::search_line() const {
    if (lambdas.empty()) return "";
    const auto at = [&](double lambda) {
        return std::count_if(images.begin(), images.end(),
                             [&](auto& i) { return i.counts() && i.scalar_at.psnr == lambda; });
    };
    std::string line;
    if (const auto most = at(lambdas.back()); most > 0 && lambdas.size() > 1)
        line += text("best scalar λ at the end of the search, ", lambdas.back(), ", on ", most,
                     " images: a better one may lie above (evaluate.search.to)\n");
    if (const auto least = at(lambdas.front()); least > 0 && lambdas.front() > 0 && lambdas.size() > 1)
        line += text("best scalar λ at the start of the search, ", lambdas.front(), ", on ", least,
                     " images: a better one may lie below (evaluate.search.from)\n");
    return line;
}

std::string Evaluation::map_lines() const {
    std::string lines;
    const Statistic scalar = statistic(images, [](auto&i) { return i.scalar_at.psnr / i.noise; }),
                    map = statistic(images, [](auto&i) { return i.lambda_median / i.noise; }),
                    spread = statistic(images, [](auto&i) { return 100 * i.stability.spread; }),
                    psnr = statistic(images, [](auto&i) { return i.stability.psnr_spread; });
    if (weighs_squares && map.mean > 0 && std::isfinite(map.mean))
        lines += "over the noise: best scalar " + cell(scalar, 0, 2) + ", median of the map " +
                 cell(map, 0, 2) + "\n";
    if (std::isfinite(spread.mean))
        lines += "by other draws of the noise the map changes by " + cell(spread, 0, 1) +
                 " % and its PSNR by " + format("%.2f dB (standard deviations)\n", psnr.mean);
    return lines;
}

std::string Evaluation::table() const {
    auto row = [&](const char* name, Quality EvaluatedImage::*who) {
        auto of = [&](double Quality::*measure) {
            return statistic(images, [&](auto& i) { return (i.*who).*measure; });
        };
        return name + cell(of(&Quality::psnr), 7, 2) + "   " + cell(of(&Quality::ssim), 5, 3) + "     " +
               cell(of(&Quality::ssim_uniform), 5, 3) + "\n";
    };
    const bool by_map = method != "network";
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
        row(by_map ? "map Λ           " : "network         ", &EvaluatedImage::map) +
        (by_map ? "map over scalar  " : "gain over scalar ") + signed_cell(g.psnr, 6, 2) + "         " +
        signed_cell(g.ssim, 7, 3) + "           " + signed_cell(g.ssim_uniform, 7, 3) + "\n";
    if (counted > 0) {
        const std::vector<double> gained = gains(&Quality::psnr);
        table += "its 95 % interval " + interval_cell(gained, 15, 2) +
                 interval_cell(gains(&Quality::ssim), 18, 3) +
                 interval_cell(gains(&Quality::ssim_uniform), 1, 3) + "\n" +
                 "best scalar λ = " + cell(at, 0, 3) +
                 format("; the %s is better on %zd of %zu images, p = %.2g (sign flips)\n",
                        by_map ? "map" : "network", std::ptrdiff_t(wins), counted, sign_flip_p(gained));
    }
    const Statistic noise = statistic(images, [](auto&i) { return i.noise; }),
                    estimated = statistic(images, [](auto&i) { return i.noise_estimated; });
    if (std::isfinite(estimated.mean))
        table += "noise (white is 1) " + cell(noise, 0, 3) + ", estimated from the noisy images " +
                 cell(estimated, 0, 3) + "\n";
    table += map_lines();
    table += search_line();
    if (int(images.size()) < asked)
        table += text("interrupted: these are the first ", images.size(), " of ", asked, " images\n");
    if (!names.empty()) table += left_out_of_means(names) + "\n";
    if (const std::string line = use.line(); !line.empty()) table += line + "\n";
    return table;
}

std::vector<Output> evaluation_outputs(const std::string& folder, const std::vector<std::string>& names,
                                       int pictures, int maps) {
    std::vector<Output> outputs;
    for (const char* table :
         {"config.yaml", "per_image.csv", "summary.csv", "curves.csv", "summary.txt", "provenance.csv"})
        outputs.push_back({folder + "/" + table});
    for (std::size_t i = 0; i < names.size() && i < std::size_t(pictures); ++i)
        for (const std::string& path : example_paths(folder, names[i], maps)) outputs.push_back({path});
    return outputs;
}

std::vector<EvaluatedImage> read_evaluated_images(const std::string& folder) {
    const CsvTable table(folder + "/per_image.csv");
    std::vector<EvaluatedImage> images(table.rows());
    for (std::size_t r = 0; r < images.size(); ++r) {
        images[r].name = table.at(r, "name");
        for (const Column& column : columns())
            if (column.put && (!column.of_draws || table.has(column.name)))
                column.put(images[r], csv_value(table.at(r, column.name)));
    }
    return images;
}

std::string write_evaluation(const std::string& folder, const Evaluation& evaluation,
                             const std::vector<Figure>& examples) {
    std::string images = "name", summary = "quantity,mean,deviation,low,high\n";
    const std::vector<Column> columns = columns_of(evaluation.images);
    for (const Column& column : columns) images += std::string(",") + column.name;
    images += "\n";
    for (const EvaluatedImage& image : evaluation.images) {
        images += csv_field(image.name);
        for (const Column& column : columns) images += "," + csv_number(column.pick(image));
        images += "\n";
    }
    for (const Column& column : columns) {
        const Statistic s = statistic(evaluation.images, column.pick);
        const Interval interval = mean_interval(values_of(evaluation.images, column.pick));
        summary += column.name;
        summary += "," + csv_number(s.mean) + "," + csv_number(s.deviation);
        const bool known = std::isfinite(interval.low);  // of too few images there is none: two empty fields
        summary += "," + (known ? csv_number(interval.low) + "," + csv_number(interval.high) : ",") + "\n";
    }
    Provenance made_by = evaluation.made_by;
    if (!evaluation.lambdas.empty()) {  // else it is put together from others
        made_by.emplace_back("search_seconds", csv_number(evaluation.search_seconds));
        made_by.emplace_back("map_seconds", csv_number(evaluation.map_seconds));
    }
    if (const std::string line = evaluation.use.line(); !line.empty()) made_by.emplace_back("use", line);
    const int images_done = int(evaluation.images.size());
    if (images_done < evaluation.asked)
        made_by.emplace_back("interrupted", text("after ", images_done, " of ", evaluation.asked, " images"));
    std::string provenance = "name,value\n";
    for (const auto& [name, value] : made_by) provenance += csv_field(name) + "," + csv_field(value) + "\n";
    std::vector<std::pair<std::string, std::string>> tables = {{"config.yaml", evaluation.config},
                                                               {"per_image.csv", images},
                                                               {"summary.csv", summary},
                                                               {"summary.txt", evaluation.table()},
                                                               {"provenance.csv", provenance}};
    std::vector<Figure> figures;
    for (Drawing& drawing : evaluation_drawings(evaluation)) {
        if (!drawing.figure.name.empty()) figures.push_back(std::move(drawing.figure));
        std::move(drawing.data.begin(), drawing.data.end(), std::back_inserter(tables));
    }
    std::vector<NewFile> files;
    for (const auto& [name, content] : tables) files.push_back({folder + "/" + name, {content}});
    write_files(files);
    for (const char* name : {"curves.csv", "gain.csv"})  // those that not every evaluation has
        if (std::none_of(tables.begin(), tables.end(),
                         [&](const auto& table) { return table.first == name; }))
            std::filesystem::remove(folder + "/" + name);
    for (const std::string& name : evaluation_figure_names()) remove_figure(folder, name);
    if (figures.empty())
        return text("figures missing in ", folder, ": no image counts in the means to be shown");
    figures.insert(figures.end(), examples.begin(), examples.end());
    return draw_figures(folder, figures);
}

}  // namespace tvmap
