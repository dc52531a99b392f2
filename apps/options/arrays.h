// Images and maps as the commands take and give them: pictures, .npy arrays, numbers.
#pragma once
#include <string>

#include "apps/options/image_options.h"
#include "engine/files/outputs.h"
#include "engine/solver/solver.h"

namespace tvmap {

/// A stack and what it came from, so that a result can be written alike.
struct InputImages : ImageStack {
    bool is_picture = false;          ///< its images are then the colour channels of one picture
    bool is_single = false;           ///< of two dimensions in its file
    int bits = 8;                     ///< of the picture
    bool real = false;                ///< numbers without a white of their own: an array, or Picture::real
    const char* own_ending = ".png";  ///< of a file that holds as much: .npy, .tif or .png
    int pages = 1;                    ///< of the picture's file, of which this is the first
    double peak = 1;                  ///< what real numbers were divided by

    std::vector<std::int64_t> shape() const;
};

/// A picture (each colour channel is an image) or a .npy array H×W or N×H×W.
InputImages read_images(const std::string& path, const ImageOptions& options);

/// The output that write_images makes, for prepare_outputs. Throws UsageError for an ending that is not .npy,
/// .png or .tif and for a stack that is to become a picture, Error for one too large for a picture.
Output image_output(const std::string& path, const InputImages& input);

/// The output that so many float32 values make, in whatever format.
Output float_output(const std::string& path, std::size_t values);

/// The file of `values`, which have the input's shape, by the ending of `path`: an array, a PNG (clamped to [0, 1]), or a
/// TIFF of the input's own samples. Real numbers are multiplied by what the input was divided by.
std::string encode_images(const std::string& path, const InputImages& input,
                          const std::vector<float>& values);
void write_images(const std::string& path, const InputImages& input, const std::vector<float>& values);

/// `lambda`: a number, a .npy map H×W, or 2×H×W (vertical, horizontal). `lambda_y`, unless empty: the
/// horizontal part, a number or H×W; `lambda` is then the vertical part.
Map read_map(const std::string& lambda, const std::string& lambda_y, int height, int width);

bool ends_with(const std::string& path, const std::string& ending);

}  // namespace tvmap
