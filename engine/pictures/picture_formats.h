// The formats of pictures, as far as read_picture takes them apart itself: what the decoder does not check, and
// what it cannot read. For engine/pictures/image.cpp and the files that belong to it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "engine/pictures/image.h"
#include "kernels/base/error.h"

namespace tvmap {

/// The content of a file.
using Bytes = std::string_view;

/// What one reading may still take of a PictureReader's memory; gives everything back when it ends.
class PictureAllowance {
  public:
    explicit PictureAllowance(PictureReader& reader) : reader_(reader) {}
    ~PictureAllowance() { give(taken_); }
    PictureAllowance(const PictureAllowance&) = delete;
    PictureAllowance& operator=(const PictureAllowance&) = delete;

    /// False, and nothing taken, where so much is not left.
    bool take(std::size_t bytes) noexcept {
        std::uint64_t left = reader_.left_;
        do
            if (bytes > left) return false;
        while (!reader_.left_.compare_exchange_weak(left, left - bytes));
        taken_ += bytes;
        return true;
    }
    void give(std::size_t bytes) noexcept {
        taken_ -= bytes;
        reader_.left_ += bytes;
    }
    /// What could still be taken.
    std::uint64_t left() const { return reader_.left_; }

    /// Thrown by need(): the reading is to be tried again alone, or refused.
    struct Exceeded {};
    /// Takes, or throws Exceeded.
    void need(std::size_t bytes) {
        if (!take(bytes)) throw Exceeded();
    }

  private:
    PictureReader& reader_;
    std::size_t taken_ = 0;
};

/// What a PNG begins with.
inline constexpr Bytes png_signature("\x89PNG\r\n\x1a\n", 8);
/// A number as PNG has it.
inline std::string big_endian(std::uint32_t value) {
    return {char(value >> 24), char(value >> 16), char(value >> 8), char(value)};
}

[[noreturn]] inline void truncated_picture(const std::string& path) {
    fail(path, ": the picture is truncated; copy or download the file again");
}
[[noreturn]] inline void damaged_picture(const std::string& path, const std::string& what) {
    fail(path, ": not a picture that can be read (", what,
         "); give a JPEG, PNG, TIFF, BMP, TGA, PBM, PGM, PPM or DICOM file");
}

/// Where the value at row i, column j of the upright picture stands in the stored one, of H×W pixels. orientation: see
/// exif_orientation.
inline std::size_t stored_place(int orientation, int i, int j, int height, int width) {
    const bool turned = orientation >= 5;  // rows become columns
    int row = turned ? j : i, column = turned ? i : j;
    if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) row = height - 1 - row;
    if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
        column = width - 1 - column;
    return std::size_t(row) * std::size_t(width) + std::size_t(column);
}

/// How a picture is to be turned to stand upright: EXIF's number, 1 (as it is) to 8, from the TIFF structure that
/// EXIF data are; 1 also where they do not say.
int exif_orientation(Bytes tiff);

/// Throws Error unless every scan of a JPEG is there to its last block, with the tables that it needs, and no
/// coefficient waits for another scan. Returns the orientation.
int check_jpeg(Bytes content, PictureAllowance& memory, const std::string& path);

/// Throws Error unless every chunk of a PNG is there with its checksum. Returns the orientation.
int check_png(Bytes content, const std::string& path);

/// "" for a PNG without a palette. Otherwise the same picture with a palette of 256 colours: its own opaque, those
/// that it lacks transparent, so that pixels of such colours are told apart (the decoder takes them from memory
/// that nobody has written).
std::string complete_png_palette(Bytes content, PictureAllowance& memory);

/// Throws Error for a BMP whose pixels have colours that its palette lacks.
void check_bmp(Bytes content, const std::string& path);

/// Whether a file says that it is TIFF (or BigTIFF); DICOM.
inline bool is_tiff(Bytes content) {
    for (const Bytes mark : {Bytes("II*\0", 4), Bytes("MM\0*", 4), Bytes("II+\0", 4), Bytes("MM\0+", 4)})
        if (content.starts_with(mark)) return true;
    return false;
}
inline bool is_dicom(Bytes content) {
    constexpr std::size_t preamble = 128;
    return content.size() > preamble && content.substr(preamble).starts_with("DICM");
}

/// PBM, PGM and PPM, plain (P1, P2, P3) and binary (P4, P5, P6), with any maxval.
Picture read_pnm(Bytes content, PictureAllowance& memory, const std::string& path);

}  // namespace tvmap
