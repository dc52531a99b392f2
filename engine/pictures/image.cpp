// Pictures in and out: JPEG, PNG, BMP and TGA through stb_image, after the checks of
// engine/pictures/picture_formats.h.
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
#include "engine/files/npy.h"
#include "engine/pictures/picture_formats.h"
#include "engine/pictures/picture_part.h"
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

/// A NumPy array of H×W numbers.
Picture read_array(Bytes content, PictureAllowance& memory, const std::string& path) {
    memory.need(content.size() * sizeof(float));  // a value takes a byte at least
    NpyArray array = parse_npy(content, path);
    constexpr std::int64_t most = 1 << 30;
    if (array.shape.size() != 2 || std::max(array.shape[0], array.shape[1]) > most)
        fail(path, ": an array of ", array.shape.size(), " dimensions is no picture; give height×width");
    return {int(array.shape[0]), int(array.shape[1]), 1, 32, std::move(array.values), true};
}

Picture parse(Bytes content, PictureAllowance& memory, const std::string& path) {
    if (content.empty()) fail(path, ": the file is empty; copy or download it again");
    if (content.size() > 2 && content[0] == 'P' && content[1] >= '1' && content[1] <= '6')
        return read_pnm(content, memory, path);
    if (is_npy(content)) return read_array(content, memory, path);
    if (is_tiff(content)) return tiff_part(path).read(content, memory, path);
    if (is_dicom(content)) return dicom_part(path).read(content, memory, path);
    int orientation = 1;
    std::string palette;
    if (content.starts_with(png_signature)) {
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

bool is_picture_name(const std::string& path) {
    const std::size_t dot = path.find_last_of('.');
    if (dot == path.npos) return false;
    std::string ending = path.substr(dot + 1);
    std::transform(ending.begin(), ending.end(), ending.begin(), to_lower);
    for (const char* known :
         {"jpg", "jpeg", "png", "bmp", "tga", "pbm", "pgm", "ppm", "pnm", "tif", "tiff", "dcm", "dicom"})
        if (ending == known) return true;
    return false;
}

}  // namespace tvmap
