#include "apps/options/arrays.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "apps/program/command.h"
#include "engine/files/ascii.h"
#include "engine/files/decimal.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "engine/pictures/image.h"
#include "kernels/base/shapes.h"

namespace tvmap {
namespace {

int as_side(const std::string& path, std::int64_t side) {
    if (side < 1 || side > 1 << 30) fail(path, ": a side of ", side, " is impossible; give 1 to 2^30");
    return int(side);
}

std::optional<float> as_number(const std::string& given) {
    const std::optional<double> value = parse_float32(given);
    return value ? std::optional(float(*value)) : std::nullopt;
}

/// A map from a file, checked against the images.
NpyArray read_map_array(const std::string& path, int height, int width, bool may_be_two) {
    if (!ends_with(path, ".npy"))
        fail("lambda: '", path,
             "' is neither a number nor a .npy map; give one of these (pictures cannot hold maps)");
    NpyArray map = read_npy(path);
    const std::vector<std::int64_t> plane{height, width}, pair{2, height, width};
    if (map.shape != plane && !(may_be_two && map.shape == pair))
        fail(path, ": a map of ", shape_text(map.shape), " does not fit images of ", shape_text(plane),
             "; give ", shape_text(plane), may_be_two ? " or " + shape_text(pair) : "");
    return map;
}

void divide(InputImages& input, double peak) {
    input.peak = peak;
    if (peak == 1) return;
    for (float& value : input.values) value = float(value / peak);
}

bool is_tiff_name(const std::string& path) { return ends_with(path, ".tif") || ends_with(path, ".tiff"); }

/// Of a PNG, which has no more than 16.
int png_bits(const InputImages& input) { return std::min(input.bits, 16); }

}  // namespace

bool ends_with(const std::string& path, const std::string& ending) {
    return path.size() >= ending.size() && std::equal(ending.rbegin(), ending.rend(), path.rbegin(),
                                                      [](char a, char b) { return a == to_lower(b); });
}

std::vector<std::int64_t> InputImages::shape() const {
    if (is_single) return {height, width};
    return {images, height, width};
}

InputImages read_images(const std::string& path, const ImageOptions& options) {
    InputImages input;
    if (!ends_with(path, ".npy")) {
        const Picture picture = read_picture(path, options.picture_limit);
        input.images = picture.channels;
        input.height = picture.height;
        input.width = picture.width;
        input.is_picture = true;
        input.is_single = picture.channels == 1;
        input.bits = picture.bits;
        input.real = picture.real;
        input.pages = picture.pages;
        if (picture.is_tiff) input.own_ending = ".tif";
        input.values.resize(picture.values.size());
        for (std::int64_t i = 0; i < input.pixels(); ++i)
            for (int c = 0; c < input.images; ++c)
                input.values[c * input.pixels() + i] = picture.values[i * input.images + c];
        if (input.real) divide(input, options.peak);
        return input;
    }
    NpyArray array = read_npy(path);
    if (array.shape.size() != 2 && array.shape.size() != 3)
        fail(path, ": an array of ", shape_text(array.shape),
             " holds no images; give height×width or images×height×width");
    input.is_single = array.shape.size() == 2;
    if (input.is_single) array.shape.insert(array.shape.begin(), 1);
    input.images = as_side(path, array.shape[0]);
    input.height = as_side(path, array.shape[1]);
    input.width = as_side(path, array.shape[2]);
    input.bits = 16;
    input.real = true;
    input.own_ending = ".npy";
    input.values = std::move(array.values);
    divide(input, options.peak);
    return input;
}

Output float_output(const std::string& path, std::size_t values) { return {path, sizeof(float) * values}; }

Output image_output(const std::string& path, const InputImages& input) {
    if (ends_with(path, ".npy")) return float_output(path, input.values.size());
    if (!ends_with(path, ".png") && !is_tiff_name(path))
        throw UsageError(text("--out ", path, ": give a name that ends in .npy, .png or .tif"));
    if (!input.is_picture && input.images != 1)
        throw UsageError(
            text("--out ", path, ": a picture cannot hold ", input.images, " images; give a .npy name"));
    if (is_tiff_name(path))
        check_tiff_can_be_written(path);
    else
        check_png_size(path, input.height, input.width, input.images, png_bits(input));
    return {path};
}

std::string encode_images(const std::string& path, const InputImages& input,
                          const std::vector<float>& values) {
    std::vector<float> multiplied;
    if (input.peak != 1 && !ends_with(path, ".png"))
        for (const float value : values) multiplied.push_back(float(value * input.peak));
    const std::vector<float>& written = multiplied.empty() ? values : multiplied;
    if (ends_with(path, ".npy")) return encode_npy(input.shape(), written.data());
    Picture picture;
    picture.height = input.height;
    picture.width = input.width;
    picture.channels = input.images;
    picture.bits = input.bits;
    picture.real = input.real;
    picture.values.resize(written.size());
    for (std::int64_t i = 0; i < input.pixels(); ++i)
        for (int c = 0; c < input.images; ++c)
            picture.values[i * input.images + c] = written[c * input.pixels() + i];
    return is_tiff_name(path) ? encode_tiff(path, picture) : encode_png(path, picture, png_bits(input));
}

void write_images(const std::string& path, const InputImages& input, const std::vector<float>& values) {
    write_file(path, encode_images(path, input, values));
}

Map read_map(const std::string& lambda, const std::string& lambda_y, int height, int width) {
    const std::size_t pixels = std::size_t(height) * width;
    const auto plane = [&](const std::string& given) {
        if (const auto value = as_number(given)) return std::vector<float>(pixels, *value);
        return read_map_array(given, height, width, false).values;
    };
    if (!lambda_y.empty()) {
        std::vector<float> planes = plane(lambda);
        const std::vector<float> horizontal = plane(lambda_y);
        planes.insert(planes.end(), horizontal.begin(), horizontal.end());
        return {MapKind::separate, std::move(planes)};
    }
    if (const auto value = as_number(lambda)) return {MapKind::scalar, {*value}};
    NpyArray map = read_map_array(lambda, height, width, true);
    return {map.shape.size() == 2 ? MapKind::shared : MapKind::separate, std::move(map.values)};
}

}  // namespace tvmap
