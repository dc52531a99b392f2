// Whether a JPEG is whole. The decoder makes pixels of memory that nobody has written where a scan or a table is
// missing, and of zeros where a scan ends early. So all scans are walked here code by code (ITU-T T.81, F.2 and
// G.2), without making pixels: a scan must hold its last block, and at the end every coefficient of every
// component must have come with its last bit. Of the coefficients only those need to be known that are not zero,
// since refining scans have a bit for each of these.
#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "engine/pictures/picture_formats.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// A canonical Huffman code, at most 16 bits long. A table looks up the shorter ones.
class HuffmanCode {
  public:
    bool defined() const { return !symbols_.empty(); }

    HuffmanCode() = default;
    HuffmanCode(const std::array<unsigned, 17>& counts, std::vector<std::uint8_t> symbols)
        : symbols_(std::move(symbols)) {
        unsigned code = 0, index = 0;
        for (unsigned length = 1; length <= 16; ++length) {
            first_[length] = int(code);
            offset_[length] = int(index);
            count_[length] = int(counts[length]);
            for (unsigned i = 0; i < counts[length]; ++i, ++code, ++index)
                if (length <= looked_up) {
                    const unsigned begin = code << (looked_up - length);
                    for (unsigned k = begin; k < begin + (1u << (looked_up - length)) && k < table_.size();
                         ++k)
                        table_[k] = std::uint16_t(length << 8 | symbols_[index]);
                }
            code <<= 1;
        }
    }

    /// The symbol at the beginning of 16 bits and its length; a length of 0: there is none.
    struct Found {
        int symbol = 0, length = 0;
    };
    Found find(unsigned bits) const {
        if (const unsigned entry = table_[bits >> (16 - looked_up)])
            return {int(entry & 255), int(entry >> 8)};
        for (int length = looked_up + 1; length <= 16; ++length) {
            const int place = int(bits >> (16 - length)) - first_[length];
            if (place >= 0 && place < count_[length])
                return {symbols_[std::size_t(offset_[length]) + std::size_t(place)], length};
        }
        return {};
    }

  private:
    static constexpr int looked_up = 9;
    std::array<std::uint16_t, 1 << looked_up> table_{};
    std::array<int, 17> first_{}, offset_{}, count_{};
    std::vector<std::uint8_t> symbols_;
};

struct Component {
    int id = 0, across = 1, down = 1;  // sampling factors
    int quantisation = 0;
    int dc = 0, ac = 0;                  // Huffman codes of the scan at hand
    std::size_t blocks_across = 0;       // as stored by a scan of all components
    std::array<int, 64> open{};          // bits of each coefficient that are still to come; -1: none came yet
    std::vector<std::uint64_t> nonzero;  // coefficients of each block, progressive alone
};

/// The scan at hand.
struct Scan {
    std::vector<Component*> components;
    int begin = 0, end = 63, high = 0,
        low = 0;  // coefficients; the bits that were known before, and are open after
};

class JpegWalk {
  public:
    JpegWalk(Bytes content, PictureAllowance& memory, const std::string& path)
        : content_(content), memory_(memory), path_(path) {}

    int run() {
        at_ = 2;
        while (true) {
            const unsigned marker = next_marker();
            if (marker == 0xD9) break;
            if (marker == 0x01 || marker == 0xD8 || (marker & 0xF8) == 0xD0) continue;  // without a segment
            const std::size_t end = at_ + two(at_);
            if (end > content_.size()) truncated_picture(path_);
            at_ += 2;
            segment(marker, std::max(end, at_));
        }
        if (components_.empty()) damaged("the JPEG has no picture in it");
        for (const Component& c : components_)
            for (const int open : c.open)
                if (open != 0) damaged("the JPEG is not complete: a scan is missing");
        return orientation_;
    }

  private:
    [[noreturn]] void damaged(const char* what) const { damaged_picture(path_, what); }

    unsigned byte(std::size_t at) const {
        if (at >= content_.size()) truncated_picture(path_);
        return static_cast<unsigned char>(content_[at]);
    }
    unsigned two(std::size_t at) const { return byte(at) << 8 | byte(at + 1); }

    /// On past whatever is no marker: 0xFF is followed by 0 within coded data, and by itself as a filler.
    unsigned next_marker() {
        unsigned marker = 0;
        do marker = byte(at_++) == 0xFF ? byte(at_) : 0;
        while (marker == 0 || marker == 0xFF);
        ++at_;
        return marker;
    }

    void segment(unsigned marker, std::size_t end) {
        if (marker == 0xC4)
            while (at_ < end) huffman_code();
        else if (marker == 0xDB)
            while (at_ < end) quantisation_table();
        else if (marker == 0xDD)
            restart_interval_ = int(two(at_));
        else if (marker == 0xE1 && content_.substr(at_, 6) == Bytes("Exif\0\0", 6))
            orientation_ = exif_orientation(content_.substr(at_ + 6, end - std::min(end, at_ + 6)));
        else if (marker >= 0xC0 && marker <= 0xC2)
            frame(marker);
        else if (marker >= 0xC3 && marker <= 0xCF && marker != 0xC8 && marker != 0xCC)
            damaged("a kind of JPEG that is not read; only baseline and progressive ones are");
        else if (marker == 0xDA) {
            const Scan scan = read_scan();
            at_ = end;
            walk(scan);
            return;
        }
        at_ = end;
    }

    void huffman_code() {
        const unsigned place = byte(at_++);
        std::array<unsigned, 17> counts{};
        unsigned total = 0;
        for (std::size_t length = 1; length <= 16; ++length) total += counts[length] = byte(at_++);
        if (total > 256) damaged("a Huffman table of the JPEG is too long");
        std::vector<std::uint8_t> symbols;
        for (unsigned i = 0; i < total; ++i) symbols.push_back(std::uint8_t(byte(at_++)));
        if ((place >> 4) > 1 || (place & 15) > 3) damaged("a Huffman table of the JPEG has no place");
        codes_[place >> 4][place & 15] = HuffmanCode(counts, std::move(symbols));
    }

    void quantisation_table() {
        const unsigned place = byte(at_++);
        if ((place & 15) > 3) damaged("a quantisation table of the JPEG has no place");
        quantisation_[place & 15] = true;
        at_ += 64 * ((place >> 4) + 1);
    }

    void frame(unsigned marker) {
        if (!components_.empty()) damaged("the JPEG has two pictures in one");
        progressive_ = marker == 0xC2;
        height_ = int(two(at_ + 1));
        width_ = int(two(at_ + 3));
        const std::size_t count = byte(at_ + 5);
        if (height_ == 0 || width_ == 0 || count == 0 || count > 4) damaged("the JPEG has no size");
        components_.resize(count);
        for (std::size_t i = 0; i < count; ++i) {
            Component& c = components_[i];
            const std::size_t place = at_ + 6 + 3 * i;
            c.id = int(byte(place));
            c.across = int(byte(place + 1) >> 4);
            c.down = int(byte(place + 1) & 15);
            c.quantisation = int(byte(place + 2));
            if (c.across < 1 || c.across > 4 || c.down < 1 || c.down > 4 || c.quantisation > 3)
                damaged("the JPEG's header is damaged");
            c.open.fill(-1);
            most_across_ = std::max(most_across_, c.across);
            most_down_ = std::max(most_down_, c.down);
        }
        for (Component& c : components_) {
            c.blocks_across = std::size_t(units(width_, 8 * most_across_)) * std::size_t(c.across);
            const std::size_t blocks =
                c.blocks_across * std::size_t(units(height_, 8 * most_down_)) * std::size_t(c.down);
            if (!progressive_) continue;
            memory_.need(blocks * sizeof(std::uint64_t));
            c.nonzero.resize(blocks);
        }
    }

    static int units(int length, int unit) { return (length + unit - 1) / unit; }

    Scan read_scan() {
        Scan scan;
        const std::size_t count = byte(at_);
        for (std::size_t i = 0; i < count; ++i) {
            const int id = int(byte(at_ + 1 + 2 * i));
            const auto c = std::find_if(components_.begin(), components_.end(),
                                        [&](const Component& known) { return known.id == id; });
            const unsigned codes = byte(at_ + 2 + 2 * i);
            if (c == components_.end() || (codes >> 4) > 3 || (codes & 15) > 3)
                damaged("a scan of the JPEG is of nothing that it has");
            c->dc = int(codes >> 4);
            c->ac = int(codes & 15);
            if (!quantisation_[std::size_t(c->quantisation)])
                damaged("a quantisation table of the JPEG is missing");
            scan.components.push_back(&*c);
        }
        if (scan.components.empty()) damaged("a scan of the JPEG is of nothing that it has");
        if (progressive_) {
            const std::size_t place = at_ + 1 + 2 * count;
            scan.begin = int(byte(place));
            scan.end = int(byte(place + 1));
            scan.high = int(byte(place + 2) >> 4);
            scan.low = int(byte(place + 2) & 15);
            if (scan.begin > scan.end || scan.end > 63 || (scan.begin == 0 && scan.end > 0) ||
                (scan.begin > 0 && count > 1))
                damaged("a scan of the JPEG is damaged");
        }
        for (Component* c : scan.components)
            for (int k = scan.begin; k <= scan.end; ++k) {
                if (scan.high == 0 ? c->open[std::size_t(k)] >= 0 : c->open[std::size_t(k)] != scan.high)
                    damaged("the scans of the JPEG do not follow one another");
                c->open[std::size_t(k)] = scan.low;
            }
        return scan;
    }

    void walk(const Scan& scan) {
        held_ = 0;
        end_of_band_ = 0;
        const bool single = scan.components.size() == 1;
        const Component& first = *scan.components[0];
        // A component by itself has no blocks beyond its own edge; several together fill whole units.
        const int across = single ? units(units(width_ * first.across, most_across_), 8)
                                  : units(width_, 8 * most_across_),
                  down = single ? units(units(height_ * first.down, most_down_), 8)
                                : units(height_, 8 * most_down_);
        int left = restart_interval_;
        for (int i = 0; i < down; ++i)
            for (int j = 0; j < across; ++j) {
                if (restart_interval_ > 0 && left-- == 0) {
                    restart();
                    left = restart_interval_ - 1;
                }
                if (single) {
                    block(scan, *scan.components[0], i, j);
                    continue;
                }
                for (Component* c : scan.components)
                    for (int k = 0; k < c->down; ++k)
                        for (int l = 0; l < c->across; ++l)
                            block(scan, *c, i * c->down + k, j * c->across + l);
            }
    }

    void restart() {
        held_ = 0;
        end_of_band_ = 0;
        if ((next_marker() & 0xF8) != 0xD0) truncated_picture(path_);
    }

    void block(const Scan& scan, Component& c, int row, int column) {
        if (!progressive_) return whole_block(c);
        if (scan.begin == 0) return skip(scan.high == 0 ? decode(0, c.dc) : 1);
        std::uint64_t& nonzero = c.nonzero[std::size_t(row) * c.blocks_across + std::size_t(column)];
        if (scan.high == 0)
            first_bits(scan, c, nonzero);
        else
            more_bits(scan, c, nonzero);
    }

    void whole_block(const Component& c) {
        skip(decode(0, c.dc));
        for (int k = 1; k < 64;) {
            const int code = decode(1, c.ac), bits = code & 15;
            if (bits == 0 && code != 0xF0) break;
            k += (code >> 4) + 1;
            skip(bits);
        }
    }

    /// Blocks whose band ends here, this one included.
    int band_ends(int run) { return (1 << run) + int(take(run)); }

    void first_bits(const Scan& scan, const Component& c, std::uint64_t& nonzero) {
        if (end_of_band_ > 0) {
            --end_of_band_;
            return;
        }
        for (int k = scan.begin; k <= scan.end;) {
            const int code = decode(1, c.ac), run = code >> 4, bits = code & 15;
            if (bits == 0 && run < 15) {
                end_of_band_ = band_ends(run) - 1;
                return;
            }
            k += run;
            if (bits > 0 && k < 64) nonzero |= std::uint64_t(1) << k;
            skip(bits);
            ++k;
        }
    }

    void more_bits(const Scan& scan, const Component& c, std::uint64_t& nonzero) {
        int k = scan.begin;
        const auto known = [&] { return nonzero >> k & 1; };
        while (end_of_band_ == 0 && k <= scan.end) {
            const int code = decode(1, c.ac), bits = code & 15;
            int run = code >> 4;
            if (bits == 0 && run < 15) {
                end_of_band_ = band_ends(run);
                break;
            }
            skip(bits);  // the sign of a new one
            for (; k <= scan.end && (known() || run > 0); ++k)
                if (known())
                    skip(1);
                else
                    --run;
            if (bits > 0 && k <= scan.end) nonzero |= std::uint64_t(1) << k;
            ++k;
        }
        if (end_of_band_ == 0) return;
        for (; k <= scan.end; ++k)
            if (known()) skip(1);
        --end_of_band_;
    }

    // ---- bits ----

    /// Fills up to the next marker.
    void fill() {
        while (held_ <= 48 && at_ < content_.size()) {
            const unsigned value = static_cast<unsigned char>(content_[at_]);
            if (value == 0xFF) {
                if (at_ + 1 < content_.size() && content_[at_ + 1] != 0) return;
                ++at_;
            }
            ++at_;
            bits_ = bits_ << 8 | value;
            held_ += 8;
        }
    }

    void drop(int count) {
        if (count > held_) truncated_picture(path_);
        held_ -= count;
    }

    void skip(int count) {
        if (count > held_) fill();
        drop(count);
    }

    unsigned take(int count) {
        skip(count);
        return unsigned(bits_ >> held_) & ((1u << count) - 1);
    }

    int decode(int kind, int place) {
        const HuffmanCode& code = codes_[std::size_t(kind)][std::size_t(place)];
        if (!code.defined()) damaged("a Huffman table of the JPEG is missing");
        if (held_ < 16) fill();
        const std::uint64_t bits = held_ >= 16 ? bits_ >> (held_ - 16) : bits_ << (16 - held_);
        const auto [symbol, length] = code.find(unsigned(bits & 0xFFFF));
        if (length == 0 && held_ >= 16) damaged("a code of the JPEG is unknown");
        drop(length == 0 ? 16 : length);
        return symbol;
    }

    Bytes content_;
    PictureAllowance& memory_;
    const std::string& path_;
    std::size_t at_ = 0;
    std::array<std::array<HuffmanCode, 4>, 2> codes_;  // of DC and AC coefficients
    std::array<bool, 4> quantisation_{};
    std::vector<Component> components_;
    bool progressive_ = false;
    int height_ = 0, width_ = 0, most_across_ = 1, most_down_ = 1;
    int restart_interval_ = 0, orientation_ = 1;
    std::uint64_t bits_ = 0;  // the last held_ ones are still to be read
    int held_ = 0;
    int end_of_band_ = 0;
};

}  // namespace

int check_jpeg(Bytes content, PictureAllowance& memory, const std::string& path) {
    return JpegWalk(content, memory, path).run();
}

}  // namespace tvmap
