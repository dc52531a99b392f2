// Pictures in and out: JPEG, PNG, BMP and TGA through stb_image, PGM and PPM and the PNG writer here (stb
// reads no maxval and no 16-bit byte order in PGM, and writes no 16-bit PNG).
#include "engine/image.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "engine/checksum.h"
#include "engine/file.h"
#include "kernels/error.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_NO_STDIO
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_ONLY_TGA
#include "stb_image.h"
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include "stb_image_write.h"
#pragma GCC diagnostic pop

namespace tvmap {
namespace {

using Bytes = std::string_view;

/// A file in memory that remembers whether the decoder asked for more than there is. stb answers such
/// requests with zeros, and so would decode a truncated JPEG, BMP or TGA to a picture with a false lower
/// part.
struct Source {
    Bytes rest;
    bool overrun = false;
    const char* buffer = nullptr;  // stb's own: it is filled first, and may be filled in part

    static int read(void* user, char* out, int size) {
        Source& source = *static_cast<Source*>(user);
        if (source.buffer == nullptr) source.buffer = out;
        const std::size_t count = std::min(source.rest.size(), std::size_t(size));
        if (count < std::size_t(size) && (count == 0 || out != source.buffer)) source.overrun = true;
        std::memcpy(out, source.rest.data(), count);
        source.rest.remove_prefix(count);
        return int(count);
    }
    static void skip(void* user, int size) {
        Source& source = *static_cast<Source*>(user);
        if (size < 0) return;  // stb only unreads what its own buffer holds
        if (std::size_t(size) > source.rest.size()) source.overrun = true;
        source.rest.remove_prefix(std::min(source.rest.size(), std::size_t(size)));
    }
    static int eof(void* user) { return static_cast<Source*>(user)->rest.empty(); }
};
constexpr stbi_io_callbacks kCallbacks{Source::read, Source::skip, Source::eof};

[[noreturn]] void truncated(const std::string& path) {
    fail(path, ": the picture is truncated; copy or download the file again");
}
[[noreturn]] void damaged(const std::string& path, const char* what) {
    fail(path, ": not a picture that can be read (", what, "); give a JPEG, PNG, BMP, TGA, PGM or PPM file");
}

// ------------------------------------------------------------------------------------------------ JPEG

/// Walks the segments to the end-of-image marker, and refuses Huffman tables of more than 256 codes, which
/// stb would write past the end of its own.
void check_jpeg(Bytes content, const std::string& path) {
    const auto byte = [&](std::size_t at) {
        if (at >= content.size()) truncated(path);
        return unsigned(static_cast<unsigned char>(content[at]));
    };
    std::size_t at = 2;
    while (true) {
        // On past coded data, in which 0xFF is followed by 0 or by a restart marker.
        unsigned marker = 0;
        do marker = byte(at++) == 0xFF ? byte(at) : 0;
        while (marker == 0 || marker == 0xFF || (marker & 0xF8) == 0xD0);
        ++at;
        if (marker == 0xD9) return;
        if (marker == 0x01 || marker == 0xD8) continue;  // markers without a segment
        const std::size_t end = at + (byte(at) << 8 | byte(at + 1));
        if (end > content.size()) truncated(path);
        at += 2;
        while (marker == 0xC4 && at < end) {
            unsigned codes = 0;
            for (std::size_t length = 1; length <= 16; ++length) codes += byte(at + length);
            if (codes > 256) damaged(path, "a Huffman table of the JPEG is too long");
            at += 17 + codes;
        }
        at = std::max(at, end);
    }
}

// ------------------------------------------------------------------------------------------------ PGM, PPM

/// Binary PGM (P5) and PPM (P6) with any maxval; 16-bit samples are big-endian.
Picture read_pnm(Bytes content, const std::string& path) {
    Bytes rest = content.substr(2);
    const auto number = [&]() {
        while (!rest.empty() && (std::isspace(static_cast<unsigned char>(rest[0])) || rest[0] == '#'))
            rest.remove_prefix(rest[0] == '#' ? std::min(rest.find('\n'), rest.size()) : 1);
        int value = 0, digits = 0;
        for (; !rest.empty() && std::isdigit(static_cast<unsigned char>(rest[0])) && digits < 8; ++digits) {
            value = 10 * value + (rest[0] - '0');
            rest.remove_prefix(1);
        }
        if (digits == 0) damaged(path, "its PGM/PPM header is damaged");
        return value;
    };
    Picture picture;
    picture.channels = content[1] == '6' ? 3 : 1;
    picture.width = number();
    picture.height = number();
    const int maximum = number();
    if (picture.width < 1 || picture.height < 1 || maximum < 1 || maximum > 65535 || rest.empty())
        damaged(path, "its PGM/PPM header is damaged");
    rest.remove_prefix(1);  // one space or newline, then the samples

    const std::size_t width = maximum > 255 ? 2 : 1;
    const std::size_t count = std::size_t(picture.width) * picture.height * picture.channels;
    if (rest.size() < count * width) truncated(path);
    picture.bits = maximum > 255 ? 16 : 8;
    picture.values.resize(count);
    const auto byte = [&](std::size_t at) { return int(static_cast<unsigned char>(rest[at])); };
    for (std::size_t i = 0; i < count; ++i) {
        const int sample = width == 1 ? byte(i) : byte(2 * i) << 8 | byte(2 * i + 1);
        picture.values[i] = float(std::min(sample, maximum)) / float(maximum);
    }
    return picture;
}

// ------------------------------------------------------------------------------------------------ PNG

constexpr Bytes kPngSignature("\x89PNG\r\n\x1a\n", 8);

std::string big_endian(std::uint32_t value) {
    return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
}

/// Walks the chunks and compares their checksums, which stb does not.
void check_png(Bytes content, const std::string& path) {
    Bytes rest = content.substr(kPngSignature.size());
    while (true) {
        if (rest.size() < 12) truncated(path);
        std::uint32_t length = 0;
        for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(rest[i]);
        if (rest.size() - 12 < length) truncated(path);
        const Bytes body = rest.substr(4, std::size_t(length) + 4);
        if (rest.substr(std::size_t(length) + 8, 4) != big_endian(checksum<crc32_polynomial>(body)))
            damaged(path, "a checksum of the PNG is wrong");
        if (body.substr(0, 4) == "IEND") return;
        rest.remove_prefix(std::size_t(length) + 12);
    }
}

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

Picture read_picture(const std::string& path) {
    const std::string content = read_file(path);
    if (content.empty()) fail(path, ": the file is empty; copy or download it again");
    if (content.starts_with("P5") || content.starts_with("P6")) return read_pnm(content, path);
    if (content.starts_with(kPngSignature)) check_png(content, path);
    if (content.starts_with("\xFF\xD8")) check_jpeg(content, path);

    Source probe{content};
    Picture picture;
    picture.bits = stbi_is_16_bit_from_callbacks(&kCallbacks, &probe) != 0 ? 16 : 8;
    Source source{content};
    int stored = 0;  // channels in the file: grey, grey + alpha, RGB, RGB + alpha
    const auto keep = [&](auto* samples, float scale) {
        const std::unique_ptr<void, decltype(&stbi_image_free)> owner(samples, stbi_image_free);
        if (samples == nullptr) {
            if (source.overrun) truncated(path);
            damaged(path, stbi_failure_reason());
        }
        if (source.overrun) truncated(path);
        picture.channels = stored >= 3 ? 3 : 1;
        const std::size_t pixels = std::size_t(picture.height) * picture.width;
        picture.values.resize(pixels * picture.channels);
        for (std::size_t i = 0; i < pixels; ++i)
            for (int c = 0; c < picture.channels; ++c)
                picture.values[i * picture.channels + c] = float(samples[i * stored + c]) / scale;
    };
    if (picture.bits == 16)
        keep(stbi_load_16_from_callbacks(&kCallbacks, &source, &picture.width, &picture.height, &stored, 0),
             65535.0f);
    else
        keep(stbi_load_from_callbacks(&kCallbacks, &source, &picture.width, &picture.height, &stored, 0),
             255.0f);
    return picture;
}

void write_png(const std::string& path, const Picture& picture, int bits) {
    if (bits != 8 && bits != 16) fail("cannot write ", path, ": a PNG of ", bits, " bits; choose 8 or 16");
    check(picture);
    const std::size_t pixel = std::size_t(picture.channels) * (bits / 8);
    const std::size_t stride = pixel * picture.width;
    if ((stride + 1) * picture.height > std::size_t(1) << 30)
        fail("cannot write ", path, ": ", picture.height, "×", picture.width,
             " pixels are too many for one PNG; write a part");
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

    std::string png(kPngSignature);
    const char colour = picture.channels == 3 ? 2 : 0;
    append_chunk(png, "IHDR",
                 big_endian(std::uint32_t(picture.width)) + big_endian(std::uint32_t(picture.height)) +
                     std::string{char(bits), colour, 0, 0, 0});
    append_chunk(png, "IDAT", Bytes(reinterpret_cast<const char*>(zlib.get()), std::size_t(length)));
    append_chunk(png, "IEND", "");
    write_file(path, png);
}

bool is_picture_name(const std::string& path) {
    const std::size_t dot = path.find_last_of('.');
    if (dot == path.npos) return false;
    std::string ending = path.substr(dot + 1);
    std::transform(ending.begin(), ending.end(), ending.begin(),
                   [](unsigned char c) { return char(std::tolower(c)); });
    for (const char* known : {"jpg", "jpeg", "png", "bmp", "tga", "pgm", "ppm"})
        if (ending == known) return true;
    return false;
}

}  // namespace tvmap
