// PBM, PGM and PPM: a header of numbers and comments, then samples as text or in binary, 16-bit ones big-endian. Of a
// bitmap (PBM) 1 is black, and the bits of a binary row fill whole bytes.
#include <algorithm>

#include "engine/files/ascii.h"
#include "engine/pictures/picture_formats.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

class PnmReader {
  public:
    PnmReader(Bytes content, PictureAllowance& memory, const std::string& path)
        : kind_(content[1]), rest_(content.substr(2)), memory_(memory), path_(path) {}

    Picture read() {
        const bool bitmap = kind_ == '1' || kind_ == '4', plain = kind_ <= '3';
        Picture picture;
        picture.channels = kind_ == '3' || kind_ == '6' ? 3 : 1;
        picture.width = number();
        picture.height = number();
        const int maximum = bitmap ? 1 : number();
        if (picture.width < 1 || picture.height < 1 || maximum < 1 || maximum > 65535 || rest_.empty())
            damaged();
        rest_.remove_prefix(1);  // one space or newline, then the samples
        picture.bits = maximum > 255 ? 16 : 8;

        const std::size_t row = std::size_t(picture.width) * picture.channels,
                          rows = std::size_t(picture.height);
        // The least that they take in the file; so the file bounds what is allocated.
        const std::size_t least = kind_ == '4' ? (row + 7) / 8 : maximum > 255 && !plain ? 2 * row : row;
        if (rest_.size() / least < rows) truncated_picture(path_);
        memory_.need(row * rows * sizeof(float));
        picture.values.resize(row * rows);
        for (std::size_t i = 0; i < rows; ++i)
            for (std::size_t j = 0; j < row; ++j) {
                const int sample = plain    ? plain_sample(bitmap)
                                   : bitmap ? byte(i * least + j / 8) >> (7 - j % 8) & 1
                                   : maximum > 255
                                       ? byte(i * least + 2 * j) << 8 | byte(i * least + 2 * j + 1)
                                       : byte(i * least + j);
                const int bounded = std::min(sample, maximum);
                picture.values[i * row + j] = float(bitmap ? 1 - bounded : bounded) / float(maximum);
            }
        return picture;
    }

  private:
    [[noreturn]] void damaged() const { damaged_picture(path_, "its PBM/PGM/PPM header is damaged"); }

    int byte(std::size_t at) const { return int(static_cast<unsigned char>(rest_[at])); }

    void skip_space() {
        while (!rest_.empty() && (is_space(rest_[0]) || rest_[0] == '#'))
            rest_.remove_prefix(rest_[0] == '#' ? std::min(rest_.find('\n'), rest_.size()) : 1);
    }

    bool at_digit() const { return !rest_.empty() && is_digit(rest_[0]); }

    int number() {
        skip_space();
        int value = 0, digits = 0;
        for (; at_digit() && digits < 8; ++digits) {
            value = 10 * value + (rest_[0] - '0');
            rest_.remove_prefix(1);
        }
        if (digits == 0) damaged();
        return value;
    }

    /// The bits of a bitmap need no space between them.
    int plain_sample(bool bitmap) {
        skip_space();
        if (rest_.empty()) truncated_picture(path_);
        if (!at_digit()) damaged_picture(path_, "among its samples is something that is no number");
        if (!bitmap) return number();
        const int bit = rest_[0] - '0';
        rest_.remove_prefix(1);
        return bit;
    }

    char kind_;  // 1 to 3: bits, grey, colour as text; 4 to 6: the same in binary
    Bytes rest_;
    PictureAllowance& memory_;
    const std::string& path_;
};

}  // namespace

Picture read_pnm(Bytes content, PictureAllowance& memory, const std::string& path) {
    return PnmReader(content, memory, path).read();
}

}  // namespace tvmap
