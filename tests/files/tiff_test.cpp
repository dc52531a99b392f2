// TIFF files of libtiff's tools and ImageMagick against NumPy's values, their broken twins, and what is written read back.
// The fixtures come from tools/make_format_fixtures.py.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "engine/files/npy.h"
#include "engine/pictures/image.h"
#include "tests/support/refusal.h"
#include "tests/support/temporary_folder.h"

using tvmap::Picture;

namespace {

const std::string fixtures = std::string(TVMAP_FIXTURES) + "/formats/";

std::string content_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void write(const std::string& path, const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
}

/// What reading a file of this content says, in one line that opens with its path.
std::string complaint(const std::string& content, std::uint64_t limit = tvmap::usual_picture_limit) {
    const TemporaryFolder folder;
    write(folder / "a.tif", content);
    const std::string said = refusal([&] { tvmap::read_picture(folder / "a.tif", limit); });
    if (said != "accepted") CHECK(said.starts_with(folder / "a.tif"));
    CHECK(said.find('\n') == said.npos);
    return said;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(double(a[i]) - b[i]));
    return largest;
}

/// A whole number of a little-endian file in place of another.
void put(std::string& content, std::size_t at, std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) content[at + std::size_t(i)] = char(value >> (8 * i));
}

/// Where a little-endian classic TIFF with one directory keeps the entry of a tag: tag, type, count, value.
std::size_t entry_of(const std::string& tiff, unsigned tag) {
    const auto number = [&](std::size_t at, int bytes) {
        std::uint32_t value = 0;
        for (int i = bytes; i-- > 0;)
            value = value << 8 | static_cast<unsigned char>(tiff[at + std::size_t(i)]);
        return value;
    };
    const std::size_t directory = number(4, 4);
    for (std::size_t i = 0; i < number(directory, 2); ++i)
        if (number(directory + 2 + 12 * i, 2) == tag) return directory + 2 + 12 * i;
    FAIL("no such tag");
    return 0;
}

}  // namespace

TEST_CASE("TIFFs of every kind read as their makers wrote them") {
    struct Case {
        std::string name, expected;
        int channels, bits;
        bool real;
        double tolerance;
    };
    // Only the division may differ; a JPEG is of quality 95, on a smooth picture.
    const double exact = 1e-7, lossy = 6.0 / 255;
    for (const Case& c : {Case{"grey8", "grey8", 1, 8, false, exact},
                          {"grey16", "grey16", 1, 16, false, exact},
                          {"grey32", "grey32", 1, 32, false, exact},
                          {"signed16", "signed16", 1, 16, true, 0},
                          {"float32", "float32", 1, 32, true, 0},
                          {"float64", "float64", 1, 32, true, 0},
                          {"rgb8", "rgb8", 3, 8, false, exact},
                          {"rgb16", "rgb16", 3, 16, false, exact},
                          {"grey16_lzw_big_endian", "grey16", 1, 16, false, exact},
                          {"grey16_tiles", "grey16", 1, 16, false, exact},
                          {"grey16_bigtiff", "grey16", 1, 16, false, exact},
                          {"float32_predictor", "float32", 1, 32, true, 0},
                          {"rgb8_planes", "rgb8", 3, 8, false, exact},
                          {"rgb8_planes_tiles", "rgb8", 3, 8, false, exact},
                          {"rgba", "rgb8", 3, 8, false, exact},
                          {"bilevel", "bilevel", 1, 8, false, 0},
                          {"four_bits", "four_bits", 1, 8, false, exact},
                          {"palette", "palette", 3, 8, false, exact},
                          {"jpeg", "jpeg", 3, 8, false, lossy}}) {
        CAPTURE(c.name);
        const Picture picture = tvmap::read_picture(fixtures + c.name + ".tif");
        const tvmap::NpyArray expected = tvmap::read_npy(fixtures + c.expected + ".npy");
        CHECK(picture.height == expected.shape[0]);
        CHECK(picture.width == expected.shape[1]);
        CHECK(picture.channels == c.channels);
        CHECK(picture.bits == c.bits);
        CHECK(picture.real == c.real);
        CHECK(picture.is_tiff);
        CHECK(picture.pages == 1);
        CHECK(largest_difference(picture.values, expected.values) <= c.tolerance);
    }
}

TEST_CASE("of several pages the first is taken, and a thumbnail is none") {
    const std::vector<float> first = tvmap::read_npy(fixtures + "grey16.npy").values;
    const Picture pages = tvmap::read_picture(fixtures + "pages.tif");
    CHECK(pages.pages == 3);
    CHECK(pages.bits == 16);
    CHECK(largest_difference(pages.values, first) <= 1e-7);
    const Picture behind = tvmap::read_picture(fixtures + "thumbnail.tif");
    CHECK(behind.pages == 1);
    CHECK(largest_difference(behind.values, first) <= 1e-7);
}

TEST_CASE("a TIFF stands upright, as its tag says") {
    const Picture stored = tvmap::read_picture(fixtures + "grey8.tif");
    const int h = stored.height, w = stored.width;
    for (int orientation = 2; orientation <= 8; ++orientation) {
        CAPTURE(orientation);
        const Picture seen = tvmap::read_picture(fixtures + "turned" + std::to_string(orientation) + ".tif");
        REQUIRE(seen.height == (orientation < 5 ? h : w));
        REQUIRE(seen.width == (orientation < 5 ? w : h));
        for (int y = 0; y < h; ++y)
            for (int x = 0; x < w; ++x) {
                // Where row 0 and column 0 of what is stored are seen (TIFF 6.0, page 36).
                const int bottom = h - 1 - y, right = w - 1 - x;
                const std::pair<int, int> places[] = {{y, x}, {y, right},  {bottom, right}, {bottom, x},
                                                      {x, y}, {x, bottom}, {right, bottom}, {right, y}};
                const auto [i, j] = places[orientation - 1];
                CHECK(seen.values[std::size_t(i) * seen.width + j] == stored.values[std::size_t(y) * w + x]);
            }
    }
}

TEST_CASE("a truncated TIFF is refused, unless all of its pixels are there") {
    const TemporaryFolder folder;
    for (const std::string name : {"grey16", "grey16_lzw_big_endian", "grey16_tiles", "grey16_bigtiff",
                                   "float32_predictor", "jpeg", "bilevel", "rgb8_planes", "pages"}) {
        const std::string whole = content_of(fixtures + name + ".tif");
        const std::vector<float> values = tvmap::read_picture(fixtures + name + ".tif").values;
        std::size_t refused = 0;
        for (std::size_t size = 4; size < whole.size(); ++size) {
            CAPTURE(name);
            CAPTURE(size);
            write(folder / "a.tif", whole.substr(0, size));
            std::vector<float> read;
            const std::string said = refusal([&] { read = tvmap::read_picture(folder / "a.tif").values; });
            if (said == "accepted")
                CHECK(
                    (read == values));  // the end of the directory is missing, or what says nothing of pixels
            else
                ++refused;
            CHECK(said.find('\n') == said.npos);
        }
        CHECK(refused > whole.size() / 3);
    }
}

TEST_CASE("samples that end early are refused, though decoders go on with grey") {
    constexpr unsigned strip_bytes = 279;
    for (const std::string name : {"jpeg", "bilevel", "palette"}) {
        CAPTURE(name);
        std::string content = content_of(fixtures + name + ".tif");
        const std::size_t at = entry_of(content, strip_bytes) + 8;
        const auto bytes = std::uint32_t(static_cast<unsigned char>(content[at])) |
                           std::uint32_t(static_cast<unsigned char>(content[at + 1])) << 8;
        put(content, at, bytes * 2 / 3, 2);
        CHECK(complaint(content) != "accepted");
    }
    std::string damaged = content_of(fixtures + "bilevel.tif");
    damaged[15] = 0;  // of which libtiff merely warns
    CHECK(has(complaint(damaged), "Premature EOL"));
}

TEST_CASE("what cannot be a picture is refused by what it is") {
    CHECK(has(refusal([] { tvmap::read_picture(fixtures + "not_finite.tif"); }), "row 2, column 3 is nan"));
    CHECK(has(refusal([] { tvmap::read_picture(fixtures + "cmyk.tif"); }), "in colours of kind 5"));
    const std::string whole = content_of(fixtures + "grey16.tif");
    constexpr unsigned width = 256, height = 257, bits = 258, samples = 277, strips = 273, format = 339;
    const auto with = [&](unsigned tag, std::uint32_t value) {
        std::string content = whole;
        put(content, entry_of(content, tag) + 8, value, 2);
        return complaint(content);
    };
    CHECK(with(width, 13) == "accepted");
    CHECK(with(width, 0) != "accepted");
    CHECK(with(width, 65535) != "accepted");
    CHECK(with(height, 0) != "accepted");
    CHECK(with(height, 65535) != "accepted");
    CHECK(has(with(bits, 13), "13 bits"));
    CHECK(has(with(format, 5), "format 5"));
    CHECK(has(with(samples, 3), "3 channels"));
    CHECK(with(strips, 60000) != "accepted");
    // A directory that is its own successor is one page.
    std::string circle = whole;
    put(circle, circle.size() - 4, std::uint32_t(entry_of(circle, width) - 2), 4);
    CHECK(complaint(circle) == "accepted");
}

TEST_CASE("sizes that a TIFF only claims take no memory") {
    // 60000 × 60000 pixels in some hundred bytes, packed, so that the file's size says nothing.
    std::string content = content_of(fixtures + "float32_predictor.tif");
    for (const unsigned side : {256u, 257u}) {
        const std::size_t entry = entry_of(content, side);
        put(content, entry + 2, 4, 2);  // LONG
        put(content, entry + 8, 60000, 4);
    }
    CHECK(has(complaint(content), "data.picture_limit"));
    CHECK(has(complaint(content, 1 << 20), "data.picture_limit"));
}

TEST_CASE("what is written reads back: 8, 16 and 32 bits, floats, grey and colour") {
    const TemporaryFolder folder;
    for (const int channels : {1, 3})
        for (const int bits : {8, 16, 32})
            for (const bool real : {false, true}) {
                if (real && bits != 32) continue;
                CAPTURE(bits);
                CAPTURE(real);
                Picture picture{7, 5, channels, bits, {}, real};
                for (int i = 0; i < 35 * channels; ++i)
                    picture.values.push_back(float(i * 37 % 101) / 100 + (real ? -3.7f : 0.0f));
                write(folder / "a.tif", tvmap::encode_tiff("a.tif", picture));
                const Picture back = tvmap::read_picture(folder / "a.tif");
                CHECK(back.height == 7);
                CHECK(back.width == 5);
                CHECK(back.channels == channels);
                CHECK(back.bits == bits);
                CHECK(back.real == real);
                // Half a step of the samples, or of a float's mantissa.
                const double step = real ? 0 : std::max(0.5 / (std::ldexp(1.0, bits) - 1), 6e-8);
                CHECK(largest_difference(back.values, picture.values) <= step * 1.0001);
            }
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    write(folder / "a.tif", tvmap::encode_tiff("a.tif", {1, 4, 1, 8, {-1, 2, nan, 0.5f}}));
    CHECK(tvmap::read_picture(folder / "a.tif").values == std::vector<float>{0, 1, 0, 128 / 255.0f});
}
