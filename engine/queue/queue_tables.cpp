#include "engine/queue/queue_tables.h"

#include <algorithm>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

void add_values(Table& table, const std::vector<std::string>& keys, const std::vector<std::string>& values) {
    table.begin_row();
    for (std::size_t i = 0; i < keys.size(); ++i) table.add_text(keys[i], keys[i], values[i]);
}

Statistic statistic_of(const Evaluation& evaluation, Quality EvaluatedImage::*who, double Quality::*measure) {
    return statistic(evaluation.images, [&](const EvaluatedImage& image) { return (image.*who).*measure; });
}

double counted(const Evaluation& evaluation) {
    return double(evaluation.images.size() - evaluation.left_out().size());
}

void add_gain(Table& table, const Evaluation& evaluation, double Quality::*measure, const std::string& column,
              const std::string& title, int decimals) {
    const std::vector<double> gains = evaluation.gains(measure);
    table.add_number(column, title, statistic(gains).mean, decimals, true);
    table.add_interval(column, "its 95 % interval", mean_interval(gains), decimals);
}

}  // namespace

Table piece_table(const std::vector<std::string>& keys, const std::vector<PieceLine>& lines) {
    constexpr double none = std::numeric_limits<double>::quiet_NaN();
    const bool folds =
        std::any_of(lines.begin(), lines.end(), [](const PieceLine& line) { return line.fold > 0; });
    const auto title = [&](const char* of_folds) { return folds ? of_folds : ""; };
    Table table;
    for (const PieceLine& line : lines) {
        Evaluation evaluation;
        evaluation.images = line.images;
        add_values(table, keys, line.values);
        table.add_text("run", "", line.run);
        table.add_number("fold", title("fold"), line.fold > 0 ? line.fold : none, 0);
        table.add_number("validation_psnr", "validation, dB", line.best_psnr, 2);
        table.add_number("best_epoch", "in epoch", line.best_epoch, 0);
        table.add_number("steps", "steps", line.steps, 0);
        if (!folds) continue;
        table.add_number("images", "images", line.images.empty() ? none : counted(evaluation), 0);
        const auto mean = [&](const char* column, const char* name, Quality EvaluatedImage::*who,
                              double Quality::*measure, int decimals) {
            table.add_number(column, name, statistic_of(evaluation, who, measure).mean, decimals);
        };
        mean("noisy_psnr", "noisy, dB", &EvaluatedImage::noisy, &Quality::psnr, 2);
        mean("scalar_psnr", "best scalar λ, dB", &EvaluatedImage::scalar, &Quality::psnr, 2);
        mean("map_psnr", "map Λ, dB", &EvaluatedImage::map, &Quality::psnr, 2);
        mean("map_ssim", "SSIM", &EvaluatedImage::map, &Quality::ssim, 3);
        add_gain(table, evaluation, &Quality::psnr, "gain_psnr", "gain, dB", 2);
        add_gain(table, evaluation, &Quality::ssim, "gain_ssim", "gain, SSIM", 3);
    }
    return table;
}

std::vector<double> paired_differences(const std::vector<EvaluatedImage>& first,
                                       const std::vector<EvaluatedImage>& other) {
    const auto same = [](const EvaluatedImage& a, const EvaluatedImage& b) {
        return a.name == b.name && a.sigma == b.sigma && a.noisy.psnr == b.noisy.psnr;
    };
    if (!std::equal(first.begin(), first.end(), other.begin(), other.end(), same)) return {};
    std::vector<double> differences;
    for (std::size_t i = 0; i < first.size(); ++i)
        if (first[i].counts() && other[i].counts())
            differences.push_back(other[i].map.psnr - first[i].map.psnr);
    return differences;
}

Table folds_table(const std::vector<std::string>& keys, const std::vector<FoldsLine>& lines) {
    Table table;
    for (const FoldsLine& line : lines) {
        Evaluation evaluation;
        evaluation.images = line.images;
        add_values(table, keys, line.values);
        table.add_number("images", "all images", counted(evaluation), 0);
        const auto of = [&](const char* column, const char* name, Quality EvaluatedImage::*who,
                            double Quality::*measure, int decimals) {
            table.add_statistic(column, name, statistic_of(evaluation, who, measure), decimals);
        };
        of("noisy_psnr", "noisy, dB", &EvaluatedImage::noisy, &Quality::psnr, 2);
        of("scalar_psnr", "best scalar λ, dB", &EvaluatedImage::scalar, &Quality::psnr, 2);
        of("map_psnr", "map Λ, dB", &EvaluatedImage::map, &Quality::psnr, 2);
        of("map_ssim", "SSIM", &EvaluatedImage::map, &Quality::ssim, 3);
        add_gain(table, evaluation, &Quality::psnr, "gain_psnr", "gain, dB", 2);
        add_gain(table, evaluation, &Quality::ssim, "gain_ssim", "gain, SSIM", 3);
        const std::vector<double> gains = evaluation.gains(&Quality::psnr);
        table.add_number(
            "better", "better on",
            double(std::count_if(gains.begin(), gains.end(), [](double gain) { return gain > 0; })), 0);
        table.add_probability("p", "p", sign_flip_p(gains));
        if (lines.size() == 1) continue;
        const std::vector<double> above =
            &line == &lines[0] ? std::vector<double>() : paired_differences(lines[0].images, line.images);
        table.add_number("above_first_psnr", "above the first, dB", statistic(above).mean, 2, true);
        table.add_interval("above_first_psnr", "its 95 % interval", mean_interval(above), 2);
        table.add_probability("above_first_p", "p", sign_flip_p(above));
    }
    return table;
}

std::string about_folds(bool several) {
    std::string sentences =
        "Each image is tested once, by the fold that was not trained on it; the weights tested are those of "
        "the best validation, on images that the fold does not test. Mean ± standard deviation over the "
        "images, "
        "a bootstrap-t interval of the mean, and p by sign flips.";
    if (several)
        sentences +=
            " Above the first: PSNR of the map, image by image, above the first line's, where images and "
            "noise "
            "are the same.";
    return sentences + "\n";
}

}  // namespace tvmap
