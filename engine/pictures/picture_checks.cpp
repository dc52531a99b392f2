// What the decoder does not check in PNG and BMP files, and EXIF's orientation.
#include <algorithm>
#include <cstdint>

#include "engine/files/checksum.h"
#include "engine/pictures/picture_formats.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

unsigned byte(Bytes bytes, std::size_t at) { return static_cast<unsigned char>(bytes[at]); }

std::uint32_t number(Bytes bytes, std::size_t at, int count, bool big_endian) {
    std::uint32_t value = 0;
    for (int i = 0; i < count; ++i)
        value = value << 8 | byte(bytes, at + std::size_t(big_endian ? i : count - 1 - i));
    return value;
}

constexpr std::size_t png_frame = 12;  // length, type, checksum of a chunk

/// The chunk at the beginning of `rest`: its type and data, unless they are cut off.
struct PngChunk {
    Bytes type, data;
    bool whole = false;
};
PngChunk png_chunk(Bytes rest) {
    if (rest.size() < png_frame) return {};
    const std::uint32_t length = number(rest, 0, 4, true);
    if (rest.size() - png_frame < length) return {};
    return {rest.substr(4, 4), rest.substr(8, length), true};
}

}  // namespace

int exif_orientation(Bytes tiff) {
    constexpr std::uint32_t tag_of_orientation = 0x0112;
    if (tiff.size() < 8 || (tiff.substr(0, 2) != "II" && tiff.substr(0, 2) != "MM")) return 1;
    const bool big = tiff[0] == 'M';
    const std::size_t directory = number(tiff, 4, 4, big);
    if (directory > tiff.size() - 2) return 1;
    const std::size_t entries = number(tiff, directory, 2, big);
    for (std::size_t i = 0; i < entries; ++i) {
        const std::size_t entry = directory + 2 + 12 * i;  // tag, type, count, value
        if (entry + 12 > tiff.size()) break;
        if (number(tiff, entry, 2, big) != tag_of_orientation) continue;
        const std::uint32_t orientation = number(tiff, entry + 8, 2, big);
        return orientation >= 1 && orientation <= 8 ? int(orientation) : 1;
    }
    return 1;
}

int check_png(Bytes content, const std::string& path) {
    int orientation = 1;
    for (Bytes rest = content.substr(png_signature.size());;) {
        const PngChunk chunk = png_chunk(rest);
        if (!chunk.whole) truncated_picture(path);
        const Bytes covered = rest.substr(4, chunk.data.size() + 4);
        if (rest.substr(chunk.data.size() + 8, 4) != big_endian(checksum<crc32_polynomial>(covered)))
            damaged_picture(path, "a checksum of the PNG is wrong");
        if (chunk.type == "eXIf") orientation = exif_orientation(chunk.data);
        if (chunk.type == "IEND") return orientation;
        rest.remove_prefix(chunk.data.size() + png_frame);
    }
}

std::string complete_png_palette(Bytes content, PictureAllowance& memory) {
    constexpr std::size_t colours = 256, type_of_colour = 9;
    const PngChunk header = png_chunk(content.substr(png_signature.size()));
    if (header.data.size() != 13 || header.data[type_of_colour] != 3) return "";
    memory.need(content.size() + 5 * colours);
    std::string complete(content.substr(0, png_signature.size()));
    for (Bytes rest = content.substr(png_signature.size());;) {
        const PngChunk chunk = png_chunk(rest);
        if (!chunk.whole) break;
        const std::size_t size = chunk.data.size() + png_frame;
        if (chunk.type == "PLTE" && chunk.data.size() <= 3 * colours) {
            const std::size_t own = chunk.data.size() / 3;
            std::string palette(chunk.data), opacity(own, '\xFF');
            palette.resize(3 * colours);
            opacity.resize(colours);
            // The decoder does not look at checksums.
            complete += big_endian(3 * colours) + "PLTE" + palette + "____";
            complete += big_endian(colours) + "tRNS" + opacity + "____";
        } else if (chunk.type != "tRNS") {
            complete += rest.substr(0, size);
        }
        rest.remove_prefix(size);
    }
    return complete;
}

void check_bmp(Bytes content, const std::string& path) {
    constexpr std::size_t file_header = 14;
    if (content.size() < file_header + 40)
        return;  // the decoder will find it too short, or of the oldest kind
    const auto at = [&](std::size_t place, int count) { return number(content, place, count, false); };
    const std::size_t pixels = at(10, 4), header = at(14, 4);
    const bool oldest = header == 12;
    const unsigned depth = oldest ? at(24, 2) : at(28, 2);
    if (depth != 1 && depth != 4 && depth != 8) return;
    const std::int64_t width = oldest ? at(18, 2) : std::int32_t(at(18, 4)),
                       height = oldest ? at(20, 2) : std::int32_t(at(22, 4));
    // As many colours as the decoder takes.
    const std::int64_t colours = oldest ? (std::int64_t(pixels) - 38) / 3
                                        : (std::int64_t(pixels) - std::int64_t(file_header + header)) / 4;
    if (width < 1 || height == 0 || colours < 1) damaged_picture(path, "the BMP's header is damaged");
    const std::int64_t stride = (width * depth + 31) / 32 * 4, rows = std::abs(height);
    for (std::int64_t i = 0; i < rows; ++i) {
        const std::size_t row = pixels + std::size_t(i * stride);
        if (row + std::size_t(stride) > content.size()) return;  // truncated: so will the decoder find
        for (std::int64_t j = 0; j < width; ++j) {
            const std::int64_t bit = j * depth;
            const unsigned colour =
                byte(content, row + std::size_t(bit / 8)) >> (8 - depth - bit % 8) & ((1u << depth) - 1);
            if (colour >= colours) damaged_picture(path, "the BMP has colours that its palette lacks");
        }
    }
}

}  // namespace tvmap
