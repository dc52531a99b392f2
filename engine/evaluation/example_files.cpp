#include "engine/evaluation/example_files.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "engine/evaluation/evaluation_files.h"
#include "engine/evaluation/example_figures.h"
#include "engine/figures/colours.h"
#include "engine/figures/distribution.h"
#include "engine/files/csv.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr int log_bins = 60;

/// Of log₁₀ Λ, over all maps; never empty.
Span log_span(const std::vector<std::vector<float>>& logs) {
    float from = INFINITY, to = -INFINITY;
    for (const std::vector<float>& map : logs)
        for (const float value : map) from = std::min(from, value), to = std::max(to, value);
    return to > from ? Span{from, to} : Span{from - 0.5, to + 0.5};
}

/// By log₁₀ Λ: the bins' edges, and a column of counts for each map.
std::string histogram_csv(const std::vector<std::vector<float>>& logs, const Span& span) {
    std::vector<std::vector<Bin>> bins;
    for (const std::vector<float>& map : logs) bins.push_back(histogram(map, span.from, span.to, log_bins));
    std::string csv = logs.size() == 2 ? "from,to,vertical,horizontal\n" : "from,to,count\n";
    for (int b = 0; b < log_bins; ++b) {
        csv += csv_number(bins[0][b].from, 9) + "," + csv_number(bins[0][b].to, 9);
        for (const std::vector<Bin>& map : bins) csv += text(",", map[b].count);
        csv += "\n";
    }
    return csv;
}

/// A quarter of the image's sides, where the sum of squared differences between neighbours is greatest.
Part busiest_part(const float* image, int height, int width) {
    const auto quarter = [](int side) { return std::max(side / 4, std::min(side, 8)); };
    Part best{0, 0, quarter(height), quarter(width)};
    const int down_step = std::max(best.height / 8, 1), right_step = std::max(best.width / 8, 1);
    std::vector<double> sums(std::size_t(height + 1) *
                             (width + 1));  // over all rows above and columns to the left
    const auto sum = [&](int i, int j) -> double& { return sums[std::size_t(i) * (width + 1) + j]; };
    const auto at = [&](int i, int j) { return double(image[std::size_t(i) * width + j]); };
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) {
            const double down = i + 1 < height ? at(i + 1, j) - at(i, j) : 0,
                         right = j + 1 < width ? at(i, j + 1) - at(i, j) : 0;
            sum(i + 1, j + 1) = down * down + right * right + sum(i, j + 1) + sum(i + 1, j) - sum(i, j);
        }
    double most = -1;
    const int h = best.height, w = best.width;
    for (int top = 0; top + h <= height; top += down_step)
        for (int left = 0; left + w <= width; left += right_step) {
            const double within =
                sum(top + h, left + w) - sum(top, left + w) - sum(top + h, left) + sum(top, left);
            if (within > most) most = within, best = {top, left, h, w};
        }
    return best;
}

/// |picture − clean| of those pictures that are judged, one plane each.
std::vector<float> errors_of(const ExamplePictures& p) {
    std::vector<const float*> judged{p.scalar, p.map};
    if (p.maps < 2) judged.insert(judged.begin(), p.noisy);
    const std::size_t pixels = std::size_t(p.height) * p.width;
    std::vector<float> errors;
    for (const float* picture : judged)
        std::transform(picture, picture + pixels, p.clean, std::back_inserter(errors),
                       [](float x, float clean) { return std::abs(x - clean); });
    return errors;
}

/// The file of H×W planes, without the first dimension where there is one.
std::string planes_file(const float* values, int planes, int height, int width) {
    return planes == 1 ? encode_npy({height, width}, values) : encode_npy({planes, height, width}, values);
}

/// A file's name behind the image's, and its content.
using NamedContents = std::vector<std::pair<std::string, std::string>>;

/// Adds the files of the maps, and what is known of them.
void add_maps(const ExamplePictures& p, NamedContents& files, ExampleScales& scales) {
    const std::size_t pixels = std::size_t(p.height) * p.width, values = p.maps * pixels;
    std::vector<std::vector<float>> logs;
    for (int map = 0; map < p.maps; ++map) logs.push_back(logarithms(p.lambda + map * pixels, pixels));
    const Span log = log_span(logs);
    scales.lambda = middle_span({p.lambda, p.lambda + values}, least_lambda);
    scales.all_lambda = {std::pow(10, log.from), std::pow(10, log.to)};
    for (int map = 0; map < p.maps; ++map) {
        const char* name = map == 0 ? "lambda.png" : "lambda_horizontal.png";
        files.emplace_back(name, encode_png(name, map_picture(p.lambda + map * pixels, p.height, p.width)));
    }
    files.emplace_back("lambda.npy", planes_file(p.lambda, p.maps, p.height, p.width));
    scales.header = files.back().second.size() - values * sizeof(float);
    files.emplace_back("histogram.csv", histogram_csv(logs, log));
}

std::string example_path(const std::string& folder, const std::string& name, const std::string& part) {
    return folder + "/images/" + name + "_" + part;
}

}  // namespace

std::vector<std::string> example_paths(const std::string& folder, const std::string& name, int maps) {
    std::vector<std::string> parts{"clean.png", "noisy.png", "scalar.png", "map.png", "error.npy"};
    if (maps > 0) parts.insert(parts.end(), {"lambda.png", "lambda.npy", "histogram.csv"});
    if (maps > 1) parts.push_back("lambda_horizontal.png");
    std::vector<std::string> paths;
    for (const std::string& part : parts) paths.push_back(example_path(folder, name, part));
    return paths;
}

std::vector<Figure> write_example(const std::string& folder, const EvaluatedImage& image,
                                  const ExamplePictures& p) {
    make_folder(folder + "/images");
    ExampleScales scales;
    scales.height = p.height, scales.width = p.width, scales.maps = p.maps;
    NamedContents contents;
    for (const auto& [name, values] : {std::pair("clean.png", p.clean),
                                       {"noisy.png", p.noisy},
                                       {"scalar.png", p.scalar},
                                       {"map.png", p.map}})
        contents.emplace_back(name, encode_png(name, grey_picture(values, p.height, p.width)));
    const std::size_t pixels = std::size_t(p.height) * p.width;
    const std::vector<float> errors = errors_of(p);
    const std::size_t judged = errors.size() / pixels;
    contents.emplace_back("error.npy", planes_file(errors.data(), int(judged), p.height, p.width));
    scales.error_header = contents.back().second.size() - errors.size() * sizeof(float);
    scales.error = {0, middle_span({errors.end() - std::ptrdiff_t(2 * pixels), errors.end()}, 0).to};
    scales.detail = busiest_part(p.clean, p.height, p.width);
    if (p.maps > 0) add_maps(p, contents, scales);

    std::vector<NewFile> files;
    for (const auto& [name, content] : contents)
        files.push_back({example_path(folder, image.name, name), {content}});
    write_files(files);
    std::vector<Figure> figures{panel_figure(image, scales)};
    if (p.maps > 0) figures.push_back(maps_figure(image, scales));
    return figures;
}

void check_example_size(const std::string& folder, int height, int width) {
    check_png_size(folder + "/images", height, width, 3, 8);
}

}  // namespace tvmap
