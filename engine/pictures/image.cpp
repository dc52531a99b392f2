// Pictures in and out: JPEG, PNG, BMP and TGA through stb_image, after the checks of
// engine/pictures/picture_formats.h; the PNG writer is here (stb writes no 16-bit PNG).
#include "engine/pictures/image.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string_view>

#include "engine/files/ascii.h"
#include "engine/files/checksum.h"
#include "engine/files/file.h"
#include "engine/pictures/picture_formats.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// The allowance that the decoder of this thread takes its memory from, and what it was refused by.
thread_local PictureAllowance* allowance = nullptr;
thread_local bool exceeded = false, out_of_memory = false;

/// The decoder's memory: counted, and zeros. In front of each piece stands its size.
constexpr std::size_t size_room = alignof(std::max_align_t);

void* take_memory(std::size_t bytes) {
    if (allowance == nullptr || !allowance->take(bytes + size_room)) {
        exceeded = true;
        return nullptr;
    }
    char* piece = static_cast<char*>(std::calloc(bytes + size_room, 1));
    if (piece == nullptr) {
        allowance->give(bytes + size_room);
        out_of_memory = true;
        return nullptr;
    }
    std::memcpy(piece, &bytes, sizeof bytes);
    return piece + size_room;
}

void give_memory(void* memory) {
    if (memory == nullptr) return;
    char* piece = static_cast<char*>(memory) - size_room;
    std::size_t bytes = 0;
    std::memcpy(&bytes, piece, sizeof bytes);
    allowance->give(bytes + size_room);
    std::free(piece);
}

void* move_memory(void* memory, std::size_t old_bytes, std::size_t bytes) {
    void* moved = take_memory(bytes);
    if (moved == nullptr) return nullptr;
    if (memory != nullptr) std::memcpy(moved, memory, std::min(old_bytes, bytes));
    give_memory(memory);
    return moved;
}

}  // namespace
}  // namespace tvmap

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
#define STBI_MALLOC(bytes) tvmap::take_memory(bytes)
#define STBI_FREE(memory) tvmap::give_memory(memory)
#define STBI_REALLOC_SIZED(memory, old_bytes, bytes) tvmap::move_memory(memory, old_bytes, bytes)
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

constexpr Bytes kPngSignature("\x89PNG\r\n\x1a\n", 8);

std::string big_endian(std::uint32_t value) {
    return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
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

/// Where the value at row i, column j of the upright picture stands in the stored one, of H×W pixels.
std::size_t stored_place(int orientation, int i, int j, int height, int width) {
    const bool turned = orientation >= 5;  // rows become columns
    int row = turned ? j : i, column = turned ? i : j;
    if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) row = height - 1 - row;
    if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
        column = width - 1 - column;
    return std::size_t(row) * std::size_t(width) + std::size_t(column);
}

/// Whatever stb reads; `whole_palette`: a pixel without opacity has a colour that the file lacks.
Picture decode(Bytes content, int orientation, bool whole_palette, PictureAllowance& memory,
               const std::string& path) {
    Source probe{content};
    Picture picture;
    picture.bits = stbi_is_16_bit_from_callbacks(&kCallbacks, &probe) != 0 ? 16 : 8;
    Source source{content};
    int height = 0, width = 0, stored = 0;  // channels in the file: grey, grey + alpha, RGB, RGB + alpha
    const auto keep = [&](auto* samples, float scale) {
        const std::unique_ptr<void, decltype(&stbi_image_free)> owner(samples, stbi_image_free);
        if (samples == nullptr && exceeded) throw PictureAllowance::Exceeded();
        if (samples == nullptr && out_of_memory) throw std::bad_alloc();
        if (source.overrun) truncated_picture(path);
        if (samples == nullptr) {
            const char* const reason = stbi_failure_reason();
            damaged_picture(path, reason ? reason : "its decoder gives no reason");
        }
        if (height < 1 || width < 1) damaged_picture(path, "it has no pixels");
        picture.channels = stored >= 3 ? 3 : 1;
        picture.height = orientation < 5 ? height : width;
        picture.width = orientation < 5 ? width : height;
        const std::size_t pixels = std::size_t(height) * width;
        memory.need(pixels * picture.channels * sizeof(float));
        picture.values.resize(pixels * picture.channels);
        float* value = picture.values.data();
        for (int i = 0; i < picture.height; ++i)
            for (int j = 0; j < picture.width; ++j) {
                const auto* pixel = samples + stored_place(orientation, i, j, height, width) * stored;
                if (whole_palette && pixel[3] == 0)
                    damaged_picture(path, "the PNG has colours that its palette lacks");
                for (int c = 0; c < picture.channels; ++c) *value++ = float(pixel[c]) / scale;
            }
    };
    if (picture.bits == 16)
        keep(stbi_load_16_from_callbacks(&kCallbacks, &source, &width, &height, &stored, 0), 65535.0f);
    else
        keep(stbi_load_from_callbacks(&kCallbacks, &source, &width, &height, &stored, 0), 255.0f);
    return picture;
}

Picture parse(Bytes content, PictureAllowance& memory, const std::string& path) {
    if (content.empty()) fail(path, ": the file is empty; copy or download it again");
    if (content.size() > 2 && content[0] == 'P' && content[1] >= '1' && content[1] <= '6')
        return read_pnm(content, memory, path);
    int orientation = 1;
    std::string palette;
    if (content.starts_with(kPngSignature)) {
        orientation = check_png(content, path);
        palette = complete_png_palette(content, memory);
    }
    // The decoder passes over filling bytes before a JPEG's first marker.
    const std::size_t marker = content.find_first_not_of('\xFF');
    if (marker > 0 && marker < content.size() && content[marker] == '\xD8') {
        content.remove_prefix(marker - 1);
        orientation = check_jpeg(content, memory, path);
    }
    if (content.starts_with("BM")) check_bmp(content, path);
    return decode(palette.empty() ? content : palette, orientation, !palette.empty(), memory, path);
}

/// The decoder's memory of this thread, for as long as it lasts.
struct DecoderMemory {
    explicit DecoderMemory(PictureAllowance& memory) {
        allowance = &memory;
        exceeded = out_of_memory = false;
    }
    ~DecoderMemory() { allowance = nullptr; }
};

}  // namespace

void truncated_picture(const std::string& path) {
    fail(path, ": the picture is truncated; copy or download the file again");
}
void damaged_picture(const std::string& path, const std::string& what) {
    fail(path, ": not a picture that can be read (", what,
         "); give a JPEG, PNG, BMP, TGA, PBM, PGM or PPM file");
}

bool PictureAllowance::take(std::size_t bytes) noexcept {
    std::uint64_t left = reader_.left_;
    do
        if (bytes > left) return false;
    while (!reader_.left_.compare_exchange_weak(left, left - bytes));
    taken_ += bytes;
    return true;
}
void PictureAllowance::give(std::size_t bytes) noexcept {
    taken_ -= bytes;
    reader_.left_ += bytes;
}
void PictureAllowance::need(std::size_t bytes) {
    if (!take(bytes)) throw Exceeded();
}

PictureReader::PictureReader(std::uint64_t limit)
    : limit_(limit > 0 ? limit : std::numeric_limits<std::uint64_t>::max()), left_(limit_) {}

void PictureReader::read(const std::string& path, const std::function<void(Picture)>& use) {
    std::error_code not_regular;
    const std::uintmax_t size = std::filesystem::file_size(path, not_regular);
    std::optional<std::string> content;
    const auto attempt = [&] {
        PictureAllowance memory(*this);
        if (!not_regular) memory.need(size);
        if (!content) content = read_file(path, limit_);
        if (not_regular) memory.need(content->size());
        Picture picture;
        {
            const DecoderMemory decoder(memory);
            picture = parse(*content, memory, path);
        }
        if (!not_regular) content.reset();
        use(std::move(picture));
    };
    try {
        const std::shared_lock together(alone_);
        return attempt();
    } catch (const PictureAllowance::Exceeded&) {
        if (!not_regular) content.reset();
    }
    const std::unique_lock alone(alone_);
    try {
        attempt();
    } catch (const PictureAllowance::Exceeded&) {
        fail(path, ": reading this picture takes more than the limit of ", limit_,
             " bytes; give a smaller one or a higher limit (data.picture_limit, or --picture-limit)");
    }
}

Picture read_picture(const std::string& path, std::uint64_t limit) {
    Picture read;
    PictureReader(limit).read(path, [&](Picture picture) { read = std::move(picture); });
    return read;
}

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

    std::string png(kPngSignature);
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

bool is_picture_name(const std::string& path) {
    const std::size_t dot = path.find_last_of('.');
    if (dot == path.npos) return false;
    std::string ending = path.substr(dot + 1);
    std::transform(ending.begin(), ending.end(), ending.begin(), to_lower);
    for (const char* known : {"jpg", "jpeg", "png", "bmp", "tga", "pbm", "pgm", "ppm", "pnm"})
        if (ending == known) return true;
    return false;
}

}  // namespace tvmap
