// Pictures: reading, preparing and writing. stb is used in image.cpp and png.cpp alone; libtiff and DCMTK in parts of the
// program that are opened when such a file comes (engine/pictures/picture_part.h).
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "engine/pictures/picture_limit.h"

namespace tvmap {

/// H×W×C values, C = 1 (grey) or 3 (RGB), row by row, channels innermost.
struct Picture {
    int height = 0, width = 0, channels = 1;
    int bits = 8;               ///< of a sample in the file it came from: 8, 16 or 32
    std::vector<float> values;  ///< in [0, 1], unless `real`
    bool real = false;     ///< the file has numbers without a white of their own: floats, or signed integers
    bool is_tiff = false;  ///< so that a result can be written alike
    int pages = 1;         ///< of the file, of which this is the first
};

/// Reads pictures within a limit of memory, whatever their files claim. The limit counts the file, the decoder and
/// the values, and threads that share a reader share it: pictures that do not fit in together are read one after the
/// other, and one that does not fit in alone is refused.
class PictureReader {
  public:
    /// limit: bytes; 0: none.
    explicit PictureReader(std::uint64_t limit = usual_picture_limit);

    /// Reads JPEG, PNG (both turned upright as EXIF says), BMP, TGA, PBM, PGM or PPM, and, where these parts were built,
    /// TIFF (upright as its tag says) and DICOM (see engine/pictures/dicom_part.cpp); also .npy arrays of H×W. An alpha
    /// channel is dropped.
    /// Hands the picture to `use`; its memory counts until that returns. The file is read once if it is no regular
    /// file. Throws Error (path and reason), also for a picture that is not complete.
    void read(const std::string& path, const std::function<void(Picture)>& use);

  private:
    friend class PictureAllowance;
    std::uint64_t limit_;
    std::atomic<std::uint64_t> left_;
    std::shared_mutex alone_;  // held by all that read together, or by the one that needs everything
};

/// One picture, by a reader of its own.
Picture read_picture(const std::string& path, std::uint64_t limit = usual_picture_limit);

/// A TIFF of the picture's own bits, or of 32-bit floats where it is `real`; else values are clamped to [0, 1] and
/// rounded to nearest. `path` opens messages. Throws Error where TIFF was not built in.
std::string encode_tiff(const std::string& path, const Picture& picture);

/// The library behind TIFF and DICOM and its version; or why there is none, in one line.
std::string tiff_status();
std::string dicom_status();

/// Throws Error where encode_tiff would have no library.
void check_tiff_can_be_written(const std::string& path);

/// A PNG of `bits` (8 or 16) per channel, values clamped to [0, 1] and rounded to nearest. `path` opens messages.
std::string encode_png(const std::string& path, const Picture& picture, int bits = 8);

/// Writes encode_png's result to a temporary name, then renames it.
void write_png(const std::string& path, const Picture& picture, int bits = 8);

/// Throws Error where a picture of this size is too large for write_png.
void check_png_size(const std::string& path, int height, int width, int channels, int bits);

/// Luma 0.299 R + 0.587 G + 0.114 B (ITU-R 601), a grey picture unchanged.
Picture to_grey(Picture picture);

/// The height×width pixels in the middle, no more than there are; and the largest centred square.
Picture centre_crop(Picture picture, int height, int width);
Picture centre_crop(Picture picture);

/// Bicubic (a = −0.5) with antialiasing: the kernel is widened by the scale factor when shrinking, as
/// Pillow's BICUBIC does.
Picture resize_bicubic(const Picture& picture, int height, int width);

/// Grey, centre-cropped, resized to size×size, clamped to [0, 1] and rounded to the file's own bit depth (to 16 bits
/// where it has more).
Picture prepare(Picture picture, int size);

/// The same without resizing: grey, and, where `size` is not 0, the centre of size×size of a picture that is no smaller.
Picture prepare_unresized(Picture picture, int size);

/// Throws Error for a picture of real numbers that reaches further beyond 0 … 1 than resampling does: where images are
/// taken as 0 … 1, they would be cut off.
void check_unit_range(const std::string& path, const Picture& picture);

/// Whether a file's name ends like a picture that read_picture knows.
bool is_picture_name(const std::string& path);

}  // namespace tvmap
