// Reading against Pillow's values, writing by reading back and by a second look at the bytes, resizing
// against Pillow's own. The fixtures come from tools/make_image_fixtures.py.
#include "engine/pictures/image.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>

#include "engine/files/npy.h"
#include "kernels/base/error.h"
#include "tests/reference/png.h"
#include "tests/support/temporary_folder.h"

using tvmap::Picture;

namespace {

const std::string kFixtures = std::string(TVMAP_FIXTURES) + "/image/";

std::string plain_read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

void plain_write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    REQUIRE(a.size() == b.size());
    double largest = 0;
    for (std::size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(double(a[i]) - b[i]));
    return largest;
}

std::string message(const std::string& path) {
    try {
        tvmap::read_picture(path);
    } catch (const tvmap::Error& error) {
        const std::string what = error.what();
        CHECK(what.find(path) != what.npos);
        CHECK(what.find('\n') == what.npos);
        return what;
    }
    return "no error";
}

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

/// Values that differ from pixel to pixel and reach both ends.
Picture ramp(int height, int width, int channels) {
    Picture picture{height, width, channels, 8, {}};
    const int count = height * width * channels;
    for (int i = 0; i < count; ++i)
        picture.values.push_back(float((i * 7919) % count) / float(std::max(count - 1, 1)));
    return picture;
}

}  // namespace

TEST_CASE("pictures of every kind read as Pillow reads them") {
    struct Case {
        std::string name;
        int channels, bits;
        double tolerance;
    };
    // Lossless: only the float division may differ. JPEG: the standard lets two decoders' inverse transforms
    // differ by one level, and the conversion to RGB may round once more.
    const double exact = 1e-7, one_level = 1.01 / 255, two_levels = 2.01 / 255;
    for (const Case& c :
         {Case{"grey.png", 1, 8, exact}, Case{"deep.png", 1, 16, exact}, Case{"rgb.png", 3, 8, exact},
          Case{"rgba.png", 3, 8, exact}, Case{"grey_alpha.png", 1, 8, exact},
          Case{"palette.png", 3, 8, exact}, Case{"rgb.bmp", 3, 8, exact}, Case{"rgb.tga", 3, 8, exact},
          Case{"grey.pgm", 1, 8, exact}, Case{"rgb.ppm", 3, 8, exact}, Case{"ten_bits.pgm", 1, 16, exact},
          Case{"grey.jpeg", 1, 8, one_level}, Case{"colour.jpg", 3, 8, two_levels},
          Case{"progressive.jpg", 3, 8, two_levels}}) {
        CAPTURE(c.name);
        const Picture picture = tvmap::read_picture(kFixtures + c.name);
        const tvmap::NpyArray expected = tvmap::read_npy(kFixtures + c.name + ".npy");
        CHECK(picture.height == expected.shape[0]);
        CHECK(picture.width == expected.shape[1]);
        CHECK(picture.channels == c.channels);
        CHECK(picture.bits == c.bits);
        CHECK(largest_difference(picture.values, expected.values) <= c.tolerance);
    }
}

TEST_CASE("every truncation of every kind is refused") {
    const TemporaryFolder folder;
    for (const std::string name : {"grey.png", "deep.png", "palette.png", "rgb.bmp", "rgb.tga", "grey.pgm",
                                   "ten_bits.pgm", "grey.jpeg", "colour.jpg", "progressive.jpg"}) {
        const std::string whole = plain_read(kFixtures + name);
        std::size_t needed = whole.size();
        if (name == "rgb.tga") needed = 18 + 13 * 19 * 3;  // a header, the pixels; then comes a footer
        for (std::size_t size = 0; size < needed; ++size) {
            plain_write(folder / name, whole.substr(0, size));
            CAPTURE(name);
            CAPTURE(size);
            CHECK(message(folder / name) != "no error");
        }
        plain_write(folder / name, whole.substr(0, needed - 1));
        CHECK(contains(message(folder / name), "truncated"));
        plain_write(folder / name, whole + "what some cameras append");
        CHECK(message(folder / name) == "no error");
    }
}

TEST_CASE("damaged pictures and other files are refused by name") {
    const TemporaryFolder folder;
    std::string png = plain_read(kFixtures + "grey.png");
    png[png.size() / 2] = char(png[png.size() / 2] ^ 1);
    plain_write(folder / "flipped.png", png);
    CHECK(contains(message(folder / "flipped.png"), "checksum"));
    // 16 lengths of 255 codes: more than the 256 that a decoder has room for.
    std::string jpeg = plain_read(kFixtures + "grey.jpeg");
    const std::size_t table = jpeg.find("\xFF\xC4");
    REQUIRE(table != jpeg.npos);
    jpeg.replace(table + 5, 16, 16, '\xFF');
    plain_write(folder / "codes.jpeg", jpeg);
    CHECK(contains(message(folder / "codes.jpeg"), "Huffman"));
    plain_write(folder / "text.png", "this is not a picture, whatever its name says");
    CHECK(contains(message(folder / "text.png"), "not a picture"));
    plain_write(folder / "empty.png", "");
    CHECK(contains(message(folder / "empty.png"), "empty"));
    for (const std::string header : {"P5\n0 4 255\n", "P5\n4 4 0\n", "P5\n4 4 70000\n", "P5\nx 4 255\n"}) {
        plain_write(folder / "bad.pgm", header + std::string(64, 'x'));
        CHECK(contains(message(folder / "bad.pgm"), "header is damaged"));
    }
    CHECK(contains(message(folder / "missing.png"), "No such file"));
    CHECK(contains(message(folder.path.string()), "folder"));
}

TEST_CASE("a PNG reads back as it was, rounded to its depth") {
    const TemporaryFolder folder;
    for (const int bits : {8, 16})
        for (const int channels : {1, 3})
            for (const auto& [height, width] : {std::pair{1, 1}, {7, 5}, {1, 40}, {33, 1}, {61, 47}}) {
                CAPTURE(bits);
                CAPTURE(height);
                const Picture picture = ramp(height, width, channels);
                tvmap::write_png(folder / "a.png", picture, bits);
                const Picture back = tvmap::read_picture(folder / "a.png");
                CHECK(back.height == height);
                CHECK(back.width == width);
                CHECK(back.channels == channels);
                CHECK(back.bits == bits);
                // Half a step of the depth, plus one rounding of the division.
                const double step = bits == 8 ? 1.0 / 255 : 1.0 / 65535;
                CHECK(largest_difference(back.values, picture.values) <= 0.5 * step + 1e-7);

                const auto chunks = reference::png_chunks(plain_read(folder / "a.png"));
                REQUIRE(chunks.size() == 3);
                CHECK(chunks[0].type == "IHDR");
                CHECK(chunks[0].data.size() == 13);
                CHECK(reference::png_number(chunks[0].data, 0) == std::uint32_t(width));
                CHECK(reference::png_number(chunks[0].data, 4) == std::uint32_t(height));
                CHECK(int(chunks[0].data[8]) == bits);
                CHECK(int(chunks[0].data[9]) == (channels == 3 ? 2 : 0));
                CHECK(chunks[1].type == "IDAT");
                CHECK(chunks[2].type == "IEND");
            }
}

TEST_CASE("values outside [0, 1] are clamped, NaN is black") {
    const TemporaryFolder folder;
    constexpr float inf = std::numeric_limits<float>::infinity();
    const Picture picture{
        1, 7, 1, 8, {-1.0f, 2.0f, inf, -inf, std::numeric_limits<float>::quiet_NaN(), 0.5f, 100.4f / 255}};
    tvmap::write_png(folder / "a.png", picture);
    const std::vector<float> expected{0, 1, 1, 0, 0, 128 / 255.0f, 100 / 255.0f};
    CHECK(tvmap::read_picture(folder / "a.png").values == expected);
}

TEST_CASE("a filtered PNG is smaller than its samples where they are smooth") {
    const TemporaryFolder folder;
    Picture smooth{64, 64, 1, 8, std::vector<float>(64 * 64)};
    for (int i = 0; i < 64; ++i)
        for (int j = 0; j < 64; ++j) smooth.values[i * 64 + j] = float(2 * i + j) / 255;
    tvmap::write_png(folder / "a.png", smooth);
    CHECK(tvmap::read_picture(folder / "a.png").values == smooth.values);
    CHECK(std::filesystem::file_size(folder / "a.png") < 64 * 64 / 8);  // a plane is all but constant
}

TEST_CASE("bad pictures and depths are not written") {
    const TemporaryFolder folder;
    CHECK_THROWS_AS(tvmap::write_png(folder / "a.png", ramp(4, 4, 1), 12), tvmap::Error);
    CHECK_THROWS_AS(tvmap::write_png(folder / "a.png", Picture{}, 8), tvmap::Error);
    Picture short_one = ramp(4, 4, 1);
    short_one.values.pop_back();
    CHECK_THROWS_AS(tvmap::write_png(folder / "a.png", short_one, 8), tvmap::Error);
    CHECK(std::filesystem::is_empty(folder.path));
}

TEST_CASE("bicubic resizing is Pillow's") {
    const tvmap::NpyArray source = tvmap::read_npy(kFixtures + "resize.npy");
    const Picture picture{29, 37, 1, 8, source.values};
    for (const auto& [height, width] : {std::pair{11, 17}, {64, 50}, {7, 80}, {29, 12}, {41, 37}, {1, 1}}) {
        CAPTURE(height);
        const Picture resized = tvmap::resize_bicubic(picture, height, width);
        CHECK(resized.height == height);
        CHECK(resized.width == width);
        const tvmap::NpyArray expected = tvmap::read_npy(kFixtures + "resize_" + std::to_string(height) +
                                                         "x" + std::to_string(width) + ".npy");
        // Both sum in double and round to float after each of two passes.
        CHECK(largest_difference(resized.values, expected.values) <= 2.5e-7);
    }
    CHECK(tvmap::resize_bicubic(picture, 29, 37).values == picture.values);
    CHECK_THROWS_AS(tvmap::resize_bicubic(picture, 0, 3), tvmap::Error);
}

TEST_CASE("colours are resized apart") {
    const tvmap::NpyArray source = tvmap::read_npy(kFixtures + "resize.npy");
    const Picture grey{29, 37, 1, 8, source.values};
    Picture colour{29, 37, 3, 8, {}};
    for (const float value : grey.values)
        colour.values.insert(colour.values.end(), {value, 1 - value, 0.25f * value});
    const Picture expected = tvmap::resize_bicubic(grey, 13, 20),
                  resized = tvmap::resize_bicubic(colour, 13, 20);
    for (std::size_t i = 0; i < expected.values.size(); ++i) {
        CHECK(resized.values[3 * i] == expected.values[i]);
        // The weights sum to 1 in double; two float roundings remain.
        CHECK(resized.values[3 * i + 1] == doctest::Approx(1 - expected.values[i]).epsilon(1e-6));
        CHECK(resized.values[3 * i + 2] == 0.25f * expected.values[i]);  // a power of two rounds nowhere
    }
}

TEST_CASE("grey, crop and the whole preparation") {
    const Picture colour{1, 3, 3, 8, {1, 0, 0, 0, 1, 0, 0, 0, 1}};
    CHECK(tvmap::to_grey(colour).values == std::vector<float>{0.299f, 0.587f, 0.114f});
    const Picture grey = ramp(5, 8, 1);
    CHECK(tvmap::to_grey(grey).values == grey.values);

    // 5×8: one column goes on the left, two on the right; 8×5 likewise with rows.
    const Picture wide = tvmap::centre_crop(grey), tall = tvmap::centre_crop(ramp(8, 5, 3));
    REQUIRE(wide.values.size() == 25);
    for (int i = 0; i < 5; ++i)
        for (int j = 0; j < 5; ++j) CHECK(wide.values[i * 5 + j] == grey.values[i * 8 + j + 1]);
    REQUIRE(tall.values.size() == 75);
    CHECK(std::equal(tall.values.begin(), tall.values.end(), ramp(8, 5, 3).values.begin() + 15));

    for (const int bits : {8, 16}) {
        Picture picture = ramp(30, 23, 3);
        picture.bits = bits;
        const Picture prepared = tvmap::prepare(picture, 17);
        CHECK(prepared.height == 17);
        CHECK(prepared.width == 17);
        CHECK(prepared.channels == 1);
        const Picture plain = tvmap::resize_bicubic(tvmap::centre_crop(tvmap::to_grey(picture)), 17, 17);
        const double levels = bits == 8 ? 255 : 65535;
        for (std::size_t i = 0; i < plain.values.size(); ++i) {
            const double level = prepared.values[i] * levels;
            CHECK(std::abs(level - std::round(level)) <
                  0.01);  // float holds a 16-bit level to 2⁻²⁴·65535 = 0.004
            CHECK(std::abs(level - std::clamp(double(plain.values[i]), 0.0, 1.0) * levels) <= 0.51);
        }
    }
}

TEST_CASE("names of pictures") {
    for (const char* yes : {"a.png", "/b/c.JPEG", "x.y.jpg", "d.Bmp", "e.tga", "f.pgm", "g.ppm"})
        CHECK(tvmap::is_picture_name(yes));
    for (const char* no : {"a.npy", "png", "a.png.txt", "a.gif", "", "a.png/b"})
        CHECK(!tvmap::is_picture_name(no));
}
