// Pictures: reading, preparing and writing. stb is used here alone.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tvmap {

/// H×W×C values in [0, 1], C = 1 (grey) or 3 (RGB), row by row, channels innermost.
struct Picture {
    int height = 0, width = 0, channels = 1;
    int bits = 8;  ///< of the file it came from: 8 or 16
    std::vector<float> values;
};

/// Reads JPEG, PNG, BMP, TGA, PGM, …; an alpha channel is dropped. Throws Error (path and reason), also for a
/// truncated file.
Picture read_picture(const std::string& path);

/// Writes a PNG of `bits` (8 or 16) per channel, values clamped to [0, 1] and rounded to nearest; to a
/// temporary name, then renamed.
void write_png(const std::string& path, const Picture& picture, int bits = 8);

/// Luma 0.299 R + 0.587 G + 0.114 B (ITU-R 601), a grey picture unchanged.
Picture to_grey(const Picture& picture);

/// The largest centred square.
Picture centre_crop(const Picture& picture);

/// Bicubic (a = −0.5) with antialiasing: the kernel is widened by the scale factor when shrinking, as
/// Pillow's BICUBIC does.
Picture resize_bicubic(const Picture& picture, int height, int width);

/// Grey, centre-cropped, resized to size×size, clamped to [0, 1] and rounded to the file's own bit depth.
Picture prepare(const Picture& picture, int size);

/// Whether a file's name ends like a picture that read_picture knows.
bool is_picture_name(const std::string& path);

}  // namespace tvmap
