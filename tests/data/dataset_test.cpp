// A folder of pictures: order, depth, crops, deviation, and clear refusals.
#include "engine/data/dataset.h"

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/files/npy.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;
using tvmap::Dataset;
using tvmap::Picture;

namespace {

/// Levels that depend on the picture and the pixel.
Picture picture(int number, int height, int width, double levels) {
    Picture made{height, width, 1, 8, {}};
    for (int i = 0; i < height * width; ++i)
        made.values.push_back(
            float(std::fmod(37.0 * number + 11.0 * i + 0.37 * levels * (i % 5), levels) / levels));
    return made;
}

std::string message(const std::string& folder, int size = 16, int limit = 100, const std::string& key = "",
                    int least_side = 8) {
    try {
        const Dataset data(folder, size, limit, key, least_side);
    } catch (const tvmap::Error& error) {
        const std::string what = error.what();
        CHECK(what.find('\n') == what.npos);
        return what;
    }
    return "no error";
}

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

double deviation(const std::vector<float>& values) {
    double mean = 0, squares = 0;
    for (const float value : values) mean += value;
    mean /= double(values.size());
    for (const float value : values) squares += (value - mean) * (value - mean);
    return std::sqrt(squares / double(values.size() - 1));
}

}  // namespace

TEST_CASE("pictures come sorted by name, limited, prepared, in bytes") {
    const TemporaryFolder folder;
    tvmap::write_png(folder / "b.png", picture(1, 16, 16, 255));
    tvmap::write_png(folder / "a10.png", picture(2, 20, 31, 255));
    tvmap::write_png(folder / "a2.PNG", picture(3, 40, 16, 255));
    tvmap::write_png(folder / "c.png", picture(4, 9, 9, 255));
    tvmap::write_png(folder / ".hidden.png", picture(5, 16, 16, 255));
    std::ofstream(folder / "notes.txt") << "no picture";

    const Dataset data(folder.path.string(), 16, 3);
    REQUIRE(data.count() == 3);
    CHECK(data.size() == 16);
    CHECK(data.name(0) == "a10");
    CHECK(data.name(1) == "a2");
    CHECK(data.name(2) == "b");
    CHECK(data.bytes() == 3 * 16 * 16);
    const char* files[] = {"a10.png", "a2.PNG", "b.png"};
    for (int image = 0; image < 3; ++image) {
        std::vector<float> values(16 * 16 + 1, -7.0f);
        data.copy(image, values.data());
        CHECK(values.back() == -7.0f);
        values.pop_back();
        CHECK(values == tvmap::prepare(tvmap::read_picture(folder / files[image]), 16).values);
        CHECK(data.deviation(image) ==
              doctest::Approx(deviation(values)).epsilon(1e-7));  // float values there
    }
    CHECK(Dataset(folder.path.string(), 16, 100).count() == 4);
}

TEST_CASE("one picture of 16 bits makes all 16 bits wide and changes no value") {
    const TemporaryFolder folder;
    tvmap::write_png(folder / "a.png", picture(1, 12, 12, 255));
    tvmap::write_png(folder / "b.png", picture(2, 12, 12, 65535), 16);
    const Dataset data(folder.path.string(), 12, 2);
    CHECK(data.bytes() == 2 * 2 * 12 * 12);
    for (int image = 0; image < 2; ++image) {
        std::vector<float> values(12 * 12);
        data.copy(image, values.data());
        CHECK(values == tvmap::read_picture(folder / (image == 0 ? "a.png" : "b.png")).values);
        CHECK(data.deviation(image) == doctest::Approx(deviation(values)).epsilon(1e-7));
    }
}

TEST_CASE("arrays in a list are pictures of 16 bits, and must be 0 to 1") {
    const TemporaryFolder folder;
    const Picture one = picture(2, 12, 12, 65535);
    tvmap::write_npy(folder / "a.npy", {12, 12}, one.values.data());
    std::ofstream(folder / "list.txt") << "a.npy\n";
    const Dataset data(folder / "list.txt", 12, 2);
    CHECK(data.bytes() == 2 * 12 * 12);
    std::vector<float> values(12 * 12);
    data.copy(0, values.data());
    for (std::size_t i = 0; i < values.size(); ++i)
        CHECK(std::abs(values[i] - one.values[i]) <= 0.5001 / 65535);
    std::vector<float> wide = one.values;
    wide[5] = 1.2f;
    tvmap::write_npy(folder / "a.npy", {12, 12}, wide.data());
    CHECK(contains(message(folder / "list.txt", 12), "a.npy: values from"));
    tvmap::write_npy(folder / "a.npy", {1, 12, 12}, wide.data());
    CHECK(contains(message(folder / "list.txt", 12), "3 dimensions"));
}

TEST_CASE("squares are turned counterclockwise, after they are mirrored") {
    const TemporaryFolder folder;
    for (const int bits : {8, 16}) {
        tvmap::write_png(folder / "a.png", picture(3, 16, 16, bits == 8 ? 255 : 65535), bits);
        const Dataset data(folder.path.string(), 16, 1);
        for (const bool mirror : {false, true})
            for (const int side : {1, 7}) {
                std::vector<float> square(side * side), turned(side * side + 1, -7.0f);
                data.copy(0, 5, 3, side, mirror, square.data());
                for (int quarters = 0; quarters < 4; ++quarters) {
                    data.copy(0, 5, 3, side, mirror, turned.data(), quarters);
                    CHECK(turned.back() == -7.0f);
                    CHECK(std::equal(square.begin(), square.end(), turned.begin()));
                    const std::vector<float> before = square;
                    for (int i = 0; i < side; ++i)
                        for (int j = 0; j < side; ++j) square[i * side + j] = before[j * side + side - 1 - i];
                }
            }
    }
}

TEST_CASE("squares are cut and mirrored in place") {
    const TemporaryFolder folder;
    for (const int bits : {8, 16}) {
        tvmap::write_png(folder / "a.png", picture(3, 16, 16, bits == 8 ? 255 : 65535), bits);
        const Dataset data(folder.path.string(), 16, 1);
        std::vector<float> whole(16 * 16);
        data.copy(0, whole.data());
        for (const bool mirror : {false, true})
            for (const auto& [top, left, side] :
                 {std::array<int, 3>{0, 0, 16}, {5, 3, 7}, {15, 15, 1}, {0, 9, 7}}) {
                std::vector<float> cut(side * side + 1, -7.0f);
                data.copy(0, top, left, side, mirror, cut.data());
                CHECK(cut.back() == -7.0f);
                for (int i = 0; i < side; ++i)
                    for (int j = 0; j < side; ++j)
                        CHECK(cut[i * side + j] ==
                              whole[(top + i) * 16 + left + (mirror ? side - 1 - j : j)]);
            }
        float one = 0;
        CHECK_THROWS_AS(data.copy(0, 10, 0, 7, false, &one), tvmap::Error);
        CHECK_THROWS_AS(data.copy(0, 0, -1, 7, false, &one), tvmap::Error);
        CHECK_THROWS_AS(data.copy(1, 0, 0, 7, false, &one), tvmap::Error);
    }
}

TEST_CASE("what cannot be a data set is refused by name") {
    const TemporaryFolder folder;
    CHECK(contains(message(folder / "missing"), (folder / "missing") + " does not exist"));
    CHECK(contains(message(folder.path.string()), "no pictures in " + folder.path.string()));
    std::ofstream(folder / "file.txt") << "text";
    CHECK(contains(message(folder / "file.txt"), "file.txt, line 1"));
    CHECK(contains(message(folder.path.string()), "no pictures"));

    for (const char* name : {"a.png", "b.png", "c.png"})
        tvmap::write_png(folder / name, picture(1, 16, 16, 255));
    CHECK(message(folder.path.string()) == "no error");
    CHECK(contains(message(folder.path.string(), 7), "at least 8"));
    CHECK(contains(message(folder.path.string(), 16, 0), "limit"));
    CHECK(contains(message(folder.path.string(), 16, 3, "data.val", 17), "data.val: images of 16×16"));
    CHECK(contains(message("", 16, 3, "data.test"), "data.test: no image folder is given"));
    CHECK(message(folder / "missing", 16, 3, "data.val").starts_with("data.val: the image folder"));

    // Two pictures of one name are refused where both would be read.
    tvmap::write_png(folder / "b-1.png", picture(1, 16, 16, 255));
    fs::copy(folder / "b.png", folder / "b.bmp");  // the ending says nothing on the content
    CHECK(contains(message(folder.path.string()), "b.bmp and b.png"));
    CHECK(message(folder.path.string(), 16, 3) == "no error");
    fs::remove(folder / "b.bmp");
    fs::remove(folder / "b-1.png");

    // Of several bad pictures the first is named, whichever thread finds one first.
    fs::resize_file(folder / "b.png", fs::file_size(folder / "b.png") - 20);
    tvmap::write_png(folder / "c.png", picture(1, 7, 30, 255));
    for (int again = 0; again < 5; ++again) CHECK(contains(message(folder.path.string()), folder / "b.png"));
    fs::remove(folder / "b.png");
    CHECK(contains(message(folder.path.string()),
                   (folder / "c.png") + ": a picture of 7×30 pixels is too small"));
    CHECK(message(folder.path.string(), 16, 100, "", 4) == "no error");  // two halvings leave it a pixel
    fs::create_directory(folder / "d.png");
    fs::remove(folder / "c.png");
    CHECK(contains(message(folder.path.string()), "it is a folder"));
}

TEST_CASE("pictures at their own sizes, and their centres, keep every sample") {
    const TemporaryFolder folder;
    const std::array<Picture, 3> pictures{picture(1, 17, 30, 255), picture(2, 31, 20, 255),
                                          picture(3, 40, 16, 255)};
    for (int i = 0; i < 3; ++i) tvmap::write_png(folder / (char('a' + i) + std::string(".png")), pictures[i]);
    const std::string path = folder.path.string();
    const Dataset whole(path, 16, 3, "", 8, 0, tvmap::Preparation::none);
    const Dataset centre(path, 16, 3, "", 8, 0, tvmap::Preparation::centre);
    CHECK(whole.size() == 0);
    CHECK(whole.bytes() == 17 * 30 + 31 * 20 + 40 * 16);
    for (int n = 0; n < 3; ++n) {
        const Picture read = tvmap::read_picture(folder / (char('a' + n) + std::string(".png")));
        const int h = read.height, w = read.width;
        REQUIRE(whole.height(n) == h);
        REQUIRE(whole.width(n) == w);
        std::vector<float> values(whole.pixels(n)), square(16 * 16), corner(13 * 13);
        whole.copy(n, values.data());
        CHECK(values == read.values);
        CHECK(whole.deviation(n) == doctest::Approx(deviation(read.values)));
        centre.copy(n, square.data());
        whole.copy(n, h - 13, w - 13, 13, true, corner.data());
        for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 16; ++j)
                CHECK(square[16 * i + j] == read.values[((h - 16) / 2 + i) * w + (w - 16) / 2 + j]);
        for (int i = 0; i < 13; ++i)
            for (int j = 0; j < 13; ++j)
                CHECK(corner[13 * i + j] == read.values[(h - 13 + i) * w + w - 1 - j]);
    }
    std::vector<float> square(18 * 18);
    CHECK_THROWS_WITH_AS(whole.copy(0, 0, 0, 18, false, square.data()), doctest::Contains("reaches out of"),
                         tvmap::Error);
    CHECK_THROWS_WITH_AS(Dataset(path, 17, 3, "", 8, 0, tvmap::Preparation::centre),
                         doctest::Contains("c.png: a picture of 40×16 pixels, of which the centre of 17×17"),
                         tvmap::Error);
    CHECK_THROWS_WITH_AS(Dataset(path, 0, 3, "", 17, 0, tvmap::Preparation::none),
                         doctest::Contains("both sides must be at least 17"), tvmap::Error);

    // A matter of the digest, too, though the samples are the same in the same order.
    const TemporaryFolder turned;
    Picture flat = pictures[0];
    std::swap(flat.height, flat.width);
    tvmap::write_png(turned / "a.png", flat);
    CHECK(Dataset(path, 0, 1, "", 8, 0, tvmap::Preparation::none).digest() !=
          Dataset(turned.path.string(), 0, 1, "", 8, 0, tvmap::Preparation::none).digest());
}

TEST_CASE("the digest is the samples', in their order, and nothing else's") {
    const TemporaryFolder folder;
    const auto write = [&](const std::string& name, const std::vector<Picture>& pictures) {
        fs::create_directory(folder / name);
        for (std::size_t i = 0; i < pictures.size(); ++i)
            tvmap::write_png((folder / name) + "/" + char('a' + char(i)) + name + ".png", pictures[i],
                             pictures[i].bits);
        return Dataset(folder / name, 16, 100).digest();
    };
    std::vector<Picture> two{picture(1, 16, 16, 255), picture(2, 16, 16, 255)};
    for (Picture& one : two)  // to levels that 8 bits have
        for (float& value : one.values) value = std::round(value * 255) / 255;
    const std::string digest = write("two", two);
    CHECK(digest.starts_with("2 images of 16x16, "));
    CHECK(write("renamed", two) == digest);
    CHECK(write("swapped", {two[1], two[0]}) != digest);
    CHECK(write("one", {two[0]}) != digest);

    // The same samples in 16 bits, and another last bit.
    std::vector<Picture> deep = two;
    deep[1].bits = 16;
    CHECK(write("deep", deep) == digest);
    deep[1].values[77] += 1.0f / 65535;
    CHECK(write("deeper", deep) != digest);

    // Changes that keep the standard deviation: each pixel from elsewhere, or inverted.
    const auto at = [](int i, int j) { return 16 * ((i + 16) % 16) + (j + 16) % 16; };
    const auto moved = [&](const std::string& name, auto from) {
        std::vector<Picture> changed = two;
        for (int i = 0; i < 16; ++i)
            for (int j = 0; j < 16; ++j) changed[1].values[at(i, j)] = two[1].values[from(i, j)];
        return write(name, changed);
    };
    CHECK(moved("same", at) == digest);
    CHECK(moved("mirrored", [&](int i, int j) { return at(i, 15 - j); }) != digest);
    CHECK(moved("rotated", [&](int i, int j) { return at(15 - i, 15 - j); }) != digest);
    CHECK(moved("shifted", [&](int i, int j) { return at(i - 1, j); }) != digest);
    CHECK(moved("transposed", [&](int i, int j) { return at(j, i); }) != digest);
    std::vector<Picture> inverted = two;
    for (float& value : inverted[0].values) value = 1 - value;
    CHECK(write("inverted", inverted) != digest);
}
