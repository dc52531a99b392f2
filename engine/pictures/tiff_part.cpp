// TIFF and BigTIFF by libtiff, in and out. Of several pages the first is taken; thumbnails and masks are no pages.
//     samples                               value
//     whole, unsigned, n = 1 … 32 bits      v / (2ⁿ − 1), from white to black where that is the order
//     floats (32, 64 bits), signed integers  v: they have no white
//     colours of a palette                  their 16 bits a channel / 65535
// Whatever libtiff complains of while it decodes pixels makes the picture a damaged one: it would fill the rest with grey.
#include <tiffio.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>

#include "engine/pictures/picture_part.h"

namespace tvmap {
namespace {

static_assert(std::endian::native == std::endian::little, "the lower bytes of a sample come first");

/// A file in memory, and what libtiff says of it.
struct TiffFile {
    std::string written;  // of a file that is made
    Bytes content;
    std::size_t at = 0;
    std::string error, warning;  // the first of each
};

TiffFile& file_of(thandle_t handle) { return *static_cast<TiffFile*>(handle); }

tmsize_t read_bytes(thandle_t handle, void* out, tmsize_t size) {
    TiffFile& file = file_of(handle);
    const std::size_t count =
        std::min(file.content.size() - std::min(file.at, file.content.size()), std::size_t(size));
    if (count > 0) std::memcpy(out, file.content.data() + file.at, count);
    file.at += count;
    return tmsize_t(count);
}
tmsize_t write_bytes(thandle_t handle, void* bytes, tmsize_t size) {
    TiffFile& file = file_of(handle);
    if (file.at + std::size_t(size) > file.written.size()) file.written.resize(file.at + std::size_t(size));
    std::memcpy(file.written.data() + file.at, bytes, std::size_t(size));
    file.content = file.written;
    file.at += std::size_t(size);
    return size;
}
toff_t seek(thandle_t handle, toff_t to, int from) {
    TiffFile& file = file_of(handle);
    const std::size_t start = from == SEEK_CUR ? file.at : from == SEEK_END ? file.content.size() : 0;
    return file.at = start + std::size_t(to);
}
toff_t size_of(thandle_t handle) { return file_of(handle).content.size(); }
int close_nothing(thandle_t) { return 0; }
int map_bytes(thandle_t handle, void** base, toff_t* size) {
    TiffFile& file = file_of(handle);
    *base = const_cast<char*>(file.content.data());  // read alone
    *size = file.content.size();
    return 1;
}
int map_nothing(thandle_t, void**, toff_t*) { return 0; }
void unmap_bytes(thandle_t, void*, toff_t) {}

/// The first message, in one line of plain characters.
int keep_message(TIFF*, void* kept, const char*, const char* format, va_list arguments) {
    auto& message = *static_cast<std::string*>(kept);
    if (!message.empty()) return 1;
    char line[200];
    std::vsnprintf(line, sizeof line, format, arguments);
    message = *line ? line : "libtiff gives no reason";
    for (char& c : message)
        if (c < ' ' || c > '~') c = '?';
    return 1;
}

using Tiff = std::unique_ptr<TIFF, decltype(&TIFFClose)>;

/// mode: as TIFFOpen has it. most: bytes that libtiff may take in one piece.
Tiff open_tiff(TiffFile& file, const char* mode, std::uint64_t most) {
    const std::unique_ptr<TIFFOpenOptions, decltype(&TIFFOpenOptionsFree)> options(TIFFOpenOptionsAlloc(),
                                                                                   TIFFOpenOptionsFree);
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_message, &file.error);
    TIFFOpenOptionsSetWarningHandlerExtR(options.get(), keep_message, &file.warning);
    TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), tmsize_t(std::min(most, std::uint64_t(PTRDIFF_MAX))));
    const bool reads = *mode == 'r';
    return {TIFFClientOpenExt("", mode, &file, read_bytes, write_bytes, seek, close_nothing, size_of,
                              reads ? map_bytes : map_nothing, unmap_bytes, options.get()),
            TIFFClose};
}

/// A value of each kind of sample. row: samples side by side, of `bits` each; those of less than a byte from the highest
/// bit on.
template <class T>
double number_at(const std::uint8_t* row, std::size_t k) {
    T value;
    std::memcpy(&value, row + k * sizeof(T), sizeof(T));
    return double(value);
}
template <int bits>
double part_of_byte(const std::uint8_t* row, std::size_t k) {
    const std::size_t bit = k * bits;
    return row[bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1);
}

struct SampleKind {
    unsigned bits, format;
    double (*at)(const std::uint8_t* row, std::size_t k);
};
constexpr SampleKind kinds[] = {
    {1, SAMPLEFORMAT_UINT, part_of_byte<1>},           {2, SAMPLEFORMAT_UINT, part_of_byte<2>},
    {4, SAMPLEFORMAT_UINT, part_of_byte<4>},           {8, SAMPLEFORMAT_UINT, number_at<std::uint8_t>},
    {16, SAMPLEFORMAT_UINT, number_at<std::uint16_t>}, {32, SAMPLEFORMAT_UINT, number_at<std::uint32_t>},
    {8, SAMPLEFORMAT_INT, number_at<std::int8_t>},     {16, SAMPLEFORMAT_INT, number_at<std::int16_t>},
    {32, SAMPLEFORMAT_INT, number_at<std::int32_t>},   {32, SAMPLEFORMAT_IEEEFP, number_at<float>},
    {64, SAMPLEFORMAT_IEEEFP, number_at<double>}};

class TiffReader {
  public:
    TiffReader(Bytes content, PictureAllowance& memory, const std::string& path)
        : memory_(memory), path_(path) {
        file_.content = content;
    }

    Picture read() {
        tiff_ = open_tiff(file_, "rm", memory_.left()).release();
        const Tiff owner(tiff_, TIFFClose);
        if (tiff_ == nullptr) damaged();
        const int pages = go_to_first_page();
        read_layout();
        Picture picture{height_, width_, channels_, 8, {}, real_, true, pages};
        picture.bits =
            photometric_ == PHOTOMETRIC_PALETTE || kind_->bits < 8 ? 8 : int(std::min(kind_->bits, 32u));
        const std::size_t values = std::size_t(height_) * width_ * channels_;
        memory_.need(values * sizeof(float));
        picture.values.resize(values);
        file_.warning.clear();
        if (TIFFIsTiled(tiff_))
            read_tiles(picture);
        else
            read_rows(picture);
        return orientation_ == 1 ? std::move(picture) : upright(picture);
    }

  private:
    [[noreturn]] void damaged() const {
        const std::string& said = file_.error.empty() ? file_.warning : file_.error;
        damaged_picture(path_, "TIFF: " + (said.empty() ? "libtiff gives no reason" : said));
    }
    template <class... Parts>
    [[noreturn]] void unknown(const Parts&... what) const {
        fail(path_, ": a TIFF ", what...,
             ", which is not read; convert it to grey or RGB of 8, 16 or 32 bits");
    }
    unsigned tag(std::uint32_t number) const {
        std::uint16_t value = 0;
        TIFFGetFieldDefaulted(tiff_, number, &value);
        return value;
    }

    /// Returns how many pages there are.
    int go_to_first_page() {
        int pages = 0;
        tdir_t first = 0;
        do {
            std::uint32_t kind = 0;
            TIFFGetField(tiff_, TIFFTAG_SUBFILETYPE, &kind);
            if ((kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK)) == 0 && pages++ == 0)
                first = TIFFCurrentDirectory(tiff_);
        } while (TIFFReadDirectory(tiff_));
        if (!file_.error.empty()) damaged();
        if (!TIFFSetDirectory(tiff_, first)) damaged();
        return std::max(pages, 1);  // a thumbnail alone is the picture
    }

    void read_layout() {
        std::uint32_t width = 0, height = 0;
        TIFFGetField(tiff_, TIFFTAG_IMAGEWIDTH, &width);
        TIFFGetField(tiff_, TIFFTAG_IMAGELENGTH, &height);
        if (width < 1 || height < 1 || width > most_side || height > most_side)
            damaged_picture(path_, text("TIFF: ", height, "×", width, " pixels"));
        height_ = int(height);
        width_ = int(width);
        samples_ = tag(TIFFTAG_SAMPLESPERPIXEL);
        apart_ = tag(TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE && samples_ > 1;
        orientation_ = int(tag(TIFFTAG_ORIENTATION));
        if (orientation_ < 1 || orientation_ > 8) orientation_ = 1;
        std::uint16_t photometric = PHOTOMETRIC_MINISBLACK;
        TIFFGetField(tiff_, TIFFTAG_PHOTOMETRIC, &photometric);
        photometric_ = photometric;
        if (photometric_ == PHOTOMETRIC_YCBCR && tag(TIFFTAG_COMPRESSION) == COMPRESSION_JPEG) {
            TIFFSetField(tiff_, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);  // libjpeg converts
            photometric_ = PHOTOMETRIC_RGB;
        }

        const unsigned bits = tag(TIFFTAG_BITSPERSAMPLE);
        unsigned format = tag(TIFFTAG_SAMPLEFORMAT);
        if (format == SAMPLEFORMAT_VOID) format = SAMPLEFORMAT_UINT;
        kind_ = std::find_if(std::begin(kinds), std::end(kinds),
                             [&](const SampleKind& k) { return k.bits == bits && k.format == format; });
        if (kind_ == std::end(kinds)) unknown("of samples of ", bits, " bits, format ", format);
        real_ = format != SAMPLEFORMAT_UINT;
        switch (photometric_) {
            case PHOTOMETRIC_MINISWHITE:
                if (real_) unknown("of real numbers with white for the least");
                [[fallthrough]];
            case PHOTOMETRIC_MINISBLACK:
                if (samples_ != 1 && samples_ != 2) unknown("of ", samples_, " channels without colours");
                channels_ = 1;
                break;
            case PHOTOMETRIC_RGB:
                if (samples_ != 3 && samples_ != 4) unknown("of ", samples_, " channels in colour");
                channels_ = 3;
                break;
            case PHOTOMETRIC_PALETTE:
                if (samples_ != 1 || bits > 8 || real_) unknown("with a palette of its own kind");
                if (!TIFFGetField(tiff_, TIFFTAG_COLORMAP, &palette_[0], &palette_[1], &palette_[2]))
                    damaged();
                channels_ = 3;
                break;
            default:
                unknown("in colours of kind ", photometric_);
        }
        check_size();
    }

    /// A file that is not packed holds all of its samples.
    void check_size() const {
        const std::uint64_t bits = std::uint64_t(kind_->bits) * samples_ * std::uint64_t(width_);
        if (tag(TIFFTAG_COMPRESSION) == COMPRESSION_NONE &&
            (bits + 7) / 8 * std::uint64_t(height_) > file_.content.size())
            truncated_picture(path_);
    }

    void check_decoded(tmsize_t result) const {
        if (result < 0 || !file_.error.empty() || !file_.warning.empty()) damaged();
    }

    /// A row's samples as values of the picture: `count` pixels from column j of row i on, of plane `plane` where planes
    /// stand apart.
    void keep(Picture& picture, const std::uint8_t* row, int i, int j, int count, int plane) const {
        const double white = real_ ? 1 : double((std::uint64_t(1) << kind_->bits) - 1);
        float* out = &picture.values[(std::size_t(i) * width_ + j) * channels_];
        for (int pixel = 0; pixel < count; ++pixel)
            for (int c = 0; c < channels_; ++c) {
                if (apart_ && c != plane) continue;
                const bool shared = palette_[0] != nullptr;  // one sample says all of a pixel's colour
                const std::size_t k =
                    apart_ ? std::size_t(pixel) : std::size_t(pixel) * samples_ + (shared ? 0 : c);
                const double sample = kind_->at(row, k);
                double value = sample / white;
                if (shared) value = palette_[c][std::size_t(sample)] / 65535.0;
                if (photometric_ == PHOTOMETRIC_MINISWHITE) value = 1 - value;
                const float kept = float(value);
                if (!std::isfinite(kept))
                    fail(path_, ": the sample at row ", i, ", column ", j + pixel, " is ", sample,
                         "; replace it with a finite number");
                out[std::size_t(pixel) * channels_ + c] = kept;
            }
    }

    int planes() const { return apart_ ? channels_ : 1; }

    void read_rows(Picture& picture) {
        const std::size_t bytes = std::size_t(TIFFScanlineSize64(tiff_));
        memory_.need(bytes + std::size_t(TIFFStripSize64(tiff_)));  // some decoders unpack whole strips
        std::vector<std::uint8_t> row(std::max(bytes, row_bytes(width_)));
        for (int plane = 0; plane < planes(); ++plane)
            for (int i = 0; i < height_; ++i) {
                check_decoded(TIFFReadScanline(tiff_, row.data(), std::uint32_t(i), std::uint16_t(plane)));
                keep(picture, row.data(), i, 0, width_, plane);
            }
    }

    void read_tiles(Picture& picture) {
        std::uint32_t tile_width = 0, tile_height = 0;
        TIFFGetField(tiff_, TIFFTAG_TILEWIDTH, &tile_width);
        TIFFGetField(tiff_, TIFFTAG_TILELENGTH, &tile_height);
        if (tile_width < 1 || tile_height < 1 || tile_width > most_side || tile_height > most_side)
            damaged_picture(path_, text("TIFF: tiles of ", tile_height, "×", tile_width, " pixels"));
        const std::size_t stride = row_bytes(int(tile_width));
        const std::size_t bytes = std::max(std::size_t(TIFFTileSize64(tiff_)), stride * tile_height);
        memory_.need(2 * bytes);
        std::vector<std::uint8_t> tile(bytes);
        for (int plane = 0; plane < planes(); ++plane)
            for (int top = 0; top < height_; top += int(tile_height))
                for (int left = 0; left < width_; left += int(tile_width)) {
                    check_decoded(TIFFReadTile(tiff_, tile.data(), std::uint32_t(left), std::uint32_t(top), 0,
                                               std::uint16_t(plane)));
                    const int rows = std::min(int(tile_height), height_ - top),
                              columns = std::min(int(tile_width), width_ - left);
                    for (int i = 0; i < rows; ++i)
                        keep(picture, &tile[std::size_t(i) * stride], top + i, left, columns, plane);
                }
    }

    std::size_t row_bytes(int width) const {
        return (std::size_t(width) * (apart_ ? 1 : samples_) * kind_->bits + 7) / 8;
    }

    Picture upright(const Picture& stored) {
        memory_.need(stored.values.size() * sizeof(float));
        Picture seen = stored;
        if (orientation_ >= 5) std::swap(seen.height, seen.width);
        float* out = seen.values.data();
        for (int i = 0; i < seen.height; ++i)
            for (int j = 0; j < seen.width; ++j, out += channels_)
                std::copy_n(&stored.values[stored_place(orientation_, i, j, height_, width_) * channels_],
                            channels_, out);
        return seen;
    }

    static constexpr std::uint32_t most_side = 1u << 30;

    TiffFile file_;
    PictureAllowance& memory_;
    const std::string& path_;
    TIFF* tiff_ = nullptr;
    int height_ = 0, width_ = 0, channels_ = 1, orientation_ = 1;
    unsigned samples_ = 1, photometric_ = PHOTOMETRIC_MINISBLACK;
    bool apart_ = false, real_ = false;
    const SampleKind* kind_ = nullptr;
    const std::uint16_t* palette_[3] = {};
};

Picture read_tiff(Bytes content, PictureAllowance& memory, const std::string& path) {
    return TiffReader(content, memory, path).read();
}

/// Deflated rows, integers as differences from their left neighbours.
std::string write_tiff(const std::string& path, const Picture& picture) {
    const std::size_t row_values = std::size_t(picture.width) * picture.channels;
    const unsigned bits = picture.real ? 32 : unsigned(picture.bits);
    TiffFile file;
    const bool large = row_values * std::size_t(picture.height) * (bits / 8) > std::size_t(1) << 31;
    Tiff tiff = open_tiff(file, large ? "w8m" : "wm", PTRDIFF_MAX);
    const auto check = [&](bool done) {
        if (!done) fail("cannot write ", path, ": ", file.error, "; choose another format, like .npy");
    };
    check(tiff != nullptr);
    for (const auto& [tag, value] :
         {std::pair<unsigned, unsigned>{TIFFTAG_IMAGEWIDTH, picture.width},
          {TIFFTAG_IMAGELENGTH, picture.height},
          {TIFFTAG_SAMPLESPERPIXEL, picture.channels},
          {TIFFTAG_BITSPERSAMPLE, bits},
          {TIFFTAG_SAMPLEFORMAT, picture.real ? SAMPLEFORMAT_IEEEFP : SAMPLEFORMAT_UINT},
          {TIFFTAG_PHOTOMETRIC, picture.channels == 3 ? PHOTOMETRIC_RGB : PHOTOMETRIC_MINISBLACK},
          {TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG},
          {TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT},
          {TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE},
          {TIFFTAG_PREDICTOR, picture.real ? PREDICTOR_NONE : PREDICTOR_HORIZONTAL}})
        check(TIFFSetField(tiff.get(), tag, value));
    check(TIFFSetField(tiff.get(), TIFFTAG_ROWSPERSTRIP, TIFFDefaultStripSize(tiff.get(), 0)));
    const double white = double((std::uint64_t(1) << bits) - 1);
    std::vector<std::uint8_t> row(row_values * (bits / 8));
    for (int i = 0; i < picture.height; ++i) {
        for (std::size_t k = 0; k < row_values; ++k) {
            const float value = picture.values[std::size_t(i) * row_values + k];
            std::uint8_t* const place = &row[k * (bits / 8)];
            if (picture.real) {
                std::memcpy(place, &value, sizeof value);
                continue;
            }
            // The comparison that is false for NaN comes first: NaN is written as 0.
            const double bounded = value > 0 ? std::min(double(value), 1.0) : 0.0;
            const auto sample = std::uint32_t(std::llround(bounded * white));
            std::memcpy(place, &sample, bits / 8);  // the lower bytes come first
        }
        check(TIFFWriteScanline(tiff.get(), row.data(), std::uint32_t(i), 0) >= 0);
    }
    check(TIFFFlush(tiff.get()));
    tiff.reset();
    return std::move(file.written);
}

/// "libtiff 4.5.0" of "LIBTIFF, Version 4.5.0\nCopyright …".
std::string description() {
    const std::string_view version = TIFFGetVersion();
    const std::size_t begin = std::min(version.find_first_of("0123456789"), version.size());
    return "libtiff " + std::string(version.substr(begin, version.find('\n') - begin));
}

constexpr PicturePart part{TVMAP_PICTURES, description, read_tiff, write_tiff};

}  // namespace
}  // namespace tvmap

extern "C" const tvmap::PicturePart* tvmap_picture_part() { return &tvmap::part; }
