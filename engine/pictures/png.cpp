// Pictures out, as PNG: stb writes none of 16 bits, so only its zlib is taken.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "engine/files/checksum.h"
#include "engine/files/file.h"
#include "engine/pictures/image.h"
#include "engine/pictures/picture_formats.h"
#include "kernels/base/error.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include "stb_image_write.h"
#pragma GCC diagnostic pop

namespace tvmap {
namespace {

void append_chunk(std::string& png, Bytes type, Bytes data) {
    const std::string body = std::string(type).append(data);
    png += big_endian(std::uint32_t(data.size()));
    png += body;
    png += big_endian(checksum<crc32_polynomial>(body));
}

/// The PNG predictor of `filter` (0 none, 1 sub, 2 up, 3 average, 4 Paeth) for a byte with left, upper and
/// upper left neighbours.
int predict(int filter, int left, int up, int corner) {
    switch (filter) {
        case 1:
            return left;
        case 2:
            return up;
        case 3:
            return (left + up) / 2;
        case 4: {
            const int toward_left = std::abs(up - corner), toward_up = std::abs(left - corner);
            const int toward_corner = std::abs(left + up - 2 * corner);
            if (toward_left <= toward_up && toward_left <= toward_corner) return left;
            return toward_up <= toward_corner ? up : corner;
        }
        default:
            return 0;
    }
}

/// Rows of `stride` bytes, each preceded by the filter whose residuals have the least sum of magnitudes;
/// `pixel` is the distance to the left neighbour in bytes.
std::string filter_rows(const std::vector<std::uint8_t>& rows, std::size_t stride, std::size_t pixel) {
    std::string filtered;
    filtered.reserve(rows.size() + rows.size() / stride);
    std::string best(stride, '\0'), candidate(stride, '\0');
    const std::vector<std::uint8_t> zeros(stride);
    for (std::size_t begin = 0; begin < rows.size(); begin += stride) {
        const std::uint8_t* row = rows.data() + begin;
        const std::uint8_t* above = begin > 0 ? row - stride : zeros.data();
        long least = -1;
        char chosen = 0;
        for (int filter = 0; filter < 5; ++filter) {
            long sum = 0;
            for (std::size_t j = 0; j < stride; ++j) {
                const int left = j >= pixel ? row[j - pixel] : 0, corner = j >= pixel ? above[j - pixel] : 0;
                const auto residual =
                    static_cast<signed char>(row[j] - predict(filter, left, above[j], corner));
                candidate[j] = char(residual);
                sum += std::abs(int(residual));
            }
            if (least < 0 || sum < least) {
                least = sum;
                chosen = char(filter);
                best.swap(candidate);
            }
        }
        filtered += chosen;
        filtered += best;
    }
    return filtered;
}

void check(const Picture& picture) {
    const std::size_t count =
        std::size_t(std::max(picture.height, 0)) * std::max(picture.width, 0) * picture.channels;
    if (picture.height < 1 || picture.width < 1 || (picture.channels != 1 && picture.channels != 3) ||
        picture.values.size() != count)
        fail("a picture of ", picture.height, "×", picture.width, "×", picture.channels, " with ",
             picture.values.size(), " values; give H×W×1 or H×W×3 values");
}

}  // namespace

void check_png_size(const std::string& path, int height, int width, int channels, int bits) {
    const std::size_t stride = std::size_t(channels) * (bits / 8) * width;
    if ((stride + 1) * height > std::size_t(1) << 30)
        fail("cannot write ", path, ": ", height, "×", width,
             " pixels are too many for one PNG; write a part");
}

std::string encode_png(const std::string& path, const Picture& picture, int bits) {
    if (bits != 8 && bits != 16) fail("cannot write ", path, ": a PNG of ", bits, " bits; choose 8 or 16");
    check(picture);
    const std::size_t pixel = std::size_t(picture.channels) * (bits / 8);
    const std::size_t stride = pixel * picture.width;
    check_png_size(path, picture.height, picture.width, picture.channels, bits);
    std::vector<std::uint8_t> rows(stride * picture.height);
    const float scale = bits == 8 ? 255.0f : 65535.0f;
    for (std::size_t i = 0; i < picture.values.size(); ++i) {
        // The comparison that is false for NaN comes first: NaN is written as 0.
        const float value = picture.values[i] > 0 ? std::min(picture.values[i], 1.0f) : 0.0f;
        const unsigned sample = unsigned(std::lround(value * scale));
        if (bits == 8) {
            rows[i] = std::uint8_t(sample);
        } else {
            rows[2 * i] = std::uint8_t(sample >> 8);
            rows[2 * i + 1] = std::uint8_t(sample & 0xff);
        }
    }
    std::string filtered = filter_rows(rows, stride, pixel);
    int length = 0;
    const std::unique_ptr<unsigned char, decltype(&std::free)> zlib(
        stbi_zlib_compress(reinterpret_cast<unsigned char*>(filtered.data()), int(filtered.size()), &length,
                           8),
        std::free);
    if (!zlib) fail("cannot write ", path, ": out of memory while compressing; write a smaller picture");

    std::string png(png_signature);
    const char colour = picture.channels == 3 ? 2 : 0;
    append_chunk(png, "IHDR",
                 big_endian(std::uint32_t(picture.width)) + big_endian(std::uint32_t(picture.height)) +
                     std::string{char(bits), colour, 0, 0, 0});
    append_chunk(png, "IDAT", Bytes(reinterpret_cast<const char*>(zlib.get()), std::size_t(length)));
    append_chunk(png, "IEND", "");
    return png;
}

void write_png(const std::string& path, const Picture& picture, int bits) {
    write_file(path, encode_png(path, picture, bits));
}

}  // namespace tvmap
