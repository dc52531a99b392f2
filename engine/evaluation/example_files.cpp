#include "engine/evaluation/example_files.h"

#include <algorithm>
#include <cmath>
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

/// |a − b| of each pixel.
std::vector<float> distance(const float* a, const float* b, std::size_t pixels) {
    std::vector<float> result(pixels);
    std::transform(a, a + pixels, b, result.begin(), [](float x, float y) { return std::abs(x - y); });
    return result;
}

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

/// The square with the greatest sum of squared differences between neighbours, a quarter of the image's side.
Square busiest_square(const float* image, int side) {
    const int size = std::max(side / 4, std::min(side, 8)), step = std::max(size / 8, 1);
    std::vector<double> sums(std::size_t(side + 1) *
                             (side + 1));  // over all rows above and columns to the left
    const auto at = [&](int i, int j) { return double(image[std::size_t(i) * side + j]); };
    for (int i = 0; i < side; ++i)
        for (int j = 0; j < side; ++j) {
            const double down = i + 1 < side ? at(i + 1, j) - at(i, j) : 0,
                         right = j + 1 < side ? at(i, j + 1) - at(i, j) : 0;
            const std::size_t place = std::size_t(i) * (side + 1) + j;
            sums[place + side + 2] =
                down * down + right * right + sums[place + 1] + sums[place + side + 1] - sums[place];
        }
    Square best{0, 0, size};
    double most = -1;
    for (int top = 0; top + size <= side; top += step)
        for (int left = 0; left + size <= side; left += step) {
            const auto corner = [&](int i, int j) { return sums[std::size_t(i) * (side + 1) + j]; };
            const double sum = corner(top + size, left + size) - corner(top, left + size) -
                               corner(top + size, left) + corner(top, left);
            if (sum > most) most = sum, best = {top, left, size};
        }
    return best;
}

}  // namespace

std::vector<std::string> example_paths(const std::string& folder, const std::string& name, int maps) {
    std::vector<std::string> paths;
    for (const char* part : {"clean.png", "noisy.png", "scalar.png", "map.png", "lambda.png", "lambda.npy",
                             "error.npy", "histogram.csv"})
        paths.push_back(folder + "/images/" + name + "_" + part);
    if (maps == 2) paths.push_back(folder + "/images/" + name + "_lambda_horizontal.png");
    return paths;
}

std::vector<Figure> write_example(const std::string& folder, const EvaluatedImage& image,
                                  const ExamplePictures& p) {
    make_folder(folder + "/images");
    const int side = p.side;
    const std::size_t pixels = std::size_t(side) * side;
    const std::vector<std::string> paths = example_paths(folder, image.name, p.maps);
    const auto plane = [&](int map) { return p.lambda + std::size_t(map) * pixels; };
    const auto shape = [&](int planes) {
        return planes == 1 ? std::vector<std::int64_t>{side, side}
                           : std::vector<std::int64_t>{planes, side, side};
    };

    ExampleScales scales;
    std::vector<float> errors;
    std::vector<const float*> judged{p.scalar, p.map};
    if (p.maps == 1) judged.insert(judged.begin(), p.noisy);
    for (const float* picture : judged) {
        const std::vector<float> error = distance(picture, p.clean, pixels);
        errors.insert(errors.end(), error.begin(), error.end());
    }
    scales.error = {0, middle_span({errors.end() - std::ptrdiff_t(2 * pixels), errors.end()}, 0).to};
    scales.lambda = middle_span({p.lambda, p.lambda + p.maps * pixels}, least_lambda);
    scales.detail = busiest_square(p.clean, side);
    std::vector<std::vector<float>> logs;
    for (int map = 0; map < p.maps; ++map) logs.push_back(logarithms(plane(map), pixels));
    const Span log = log_span(logs);
    scales.all_lambda = {std::pow(10, log.from), std::pow(10, log.to)};

    std::vector<std::string> contents;
    for (const Picture& picture : {grey_picture(p.clean, side, side), grey_picture(p.noisy, side, side),
                                   grey_picture(p.scalar, side, side), grey_picture(p.map, side, side),
                                   map_picture(p.lambda, side, side)})
        contents.push_back(encode_png(paths[contents.size()], picture));
    contents.push_back(encode_npy(shape(p.maps), p.lambda));
    contents.push_back(encode_npy(shape(int(judged.size())), errors.data()));
    contents.push_back(histogram_csv(logs, log));
    if (p.maps == 2) contents.push_back(encode_png(paths.back(), map_picture(plane(1), side, side)));

    scales.header = contents[5].size() - p.maps * pixels * sizeof(float);
    scales.error_header = contents[6].size() - errors.size() * sizeof(float);
    std::vector<NewFile> files;
    for (std::size_t i = 0; i < paths.size(); ++i) files.push_back({paths[i], {contents[i]}});
    write_files(files);
    return {panel_figure(image, side, p.maps, scales), map_figure(image, side, p.maps, scales)};
}

void check_example_size(const std::string& folder, int side) {
    check_png_size(folder + "/images", side, side, 3, 8);
}

}  // namespace tvmap
