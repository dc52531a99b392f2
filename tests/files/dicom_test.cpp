// DICOM files of DCMTK's tools against NumPy's values, and their broken twins. The fixtures come from
// tools/make_format_fixtures.py.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
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

/// What reading a file of this content says, in one line that opens with its path and names nobody.
std::string complaint(const std::string& content, std::uint64_t limit = tvmap::usual_picture_limit) {
    const TemporaryFolder folder;
    std::ofstream(folder / "a.dcm", std::ios::binary) << content;
    const std::string said = refusal([&] { tvmap::read_picture(folder / "a.dcm", limit); });
    if (said != "accepted") CHECK(said.starts_with(folder / "a.dcm"));
    CHECK(said.find('\n') == said.npos);
    CHECK(said.find("Nobody") == said.npos);
    CHECK(said.find("secret") == said.npos);
    return said;
}

std::string complaint_on(const std::string& name) { return complaint(content_of(fixtures + name + ".dcm")); }

}  // namespace

TEST_CASE("DICOM files of every kind read by the documented rule") {
    struct Case {
        std::string name, expected;
        int bits;
    };
    for (const Case& c : {Case{"plain", "plain", 16},
                          {"monochrome1", "monochrome1", 16},
                          {"eight", "eight", 8},
                          {"frames", "plain", 16},
                          {"dirty", "plain", 16},
                          {"window", "window", 16},
                          {"exact", "exact", 16},
                          {"sigmoid", "sigmoid", 16},
                          {"signed", "plain", 16},
                          {"rescaled", "rescaled", 16},
                          {"turned_over", "monochrome1", 16},
                          {"big_endian", "plain", 16},
                          {"implicit", "plain", 16},
                          {"run_length", "plain", 16},
                          {"jpeg_lossless", "plain", 16},
                          {"jpeg_ls", "plain", 16}}) {
        CAPTURE(c.name);
        const Picture picture = tvmap::read_picture(fixtures + c.name + ".dcm");
        const tvmap::NpyArray expected = tvmap::read_npy(fixtures + c.expected + ".npy");
        CHECK(picture.height == expected.shape[0]);
        CHECK(picture.width == expected.shape[1]);
        CHECK(picture.channels == 1);
        CHECK(picture.bits == c.bits);
        CHECK(!picture.real);
        CHECK(picture.pages == (c.name == "frames" ? 2 : 1));
        double largest = 0;
        REQUIRE(picture.values.size() == expected.values.size());
        for (std::size_t i = 0; i < expected.values.size(); ++i)
            largest = std::max(largest, std::abs(double(picture.values[i]) - expected.values[i]));
        CHECK(largest <= 1e-7);  // both round once to float
    }
}

TEST_CASE("what is not read is refused by what it is") {
    CHECK(has(complaint_on("colour"), "in colour"));
    CHECK(has(complaint_on("deflated"), "deflated"));
    CHECK(has(complaint_on("jpeg_2000"), "JPEG 2000"));
    CHECK(has(complaint_on("no_image"), "without an image"));
    CHECK(has(complaint_on("modality_lut"), "Modality LUT"));
}

TEST_CASE("every truncation of a DICOM file is refused") {
    for (const std::string name :
         {"plain", "eight", "big_endian", "implicit", "run_length", "jpeg_lossless", "jpeg_ls"}) {
        const std::string whole = content_of(fixtures + name + ".dcm");
        CHECK(complaint(whole) == "accepted");
        // Up to the image's last two bytes: one may fill up an even number, and packed ones end in a delimiter of 8.
        const std::size_t end =
            whole.size() - (name == "plain" || name == "big_endian" || name == "implicit" ? 1 : 10);
        for (std::size_t size = 132; size < end; ++size) {
            CAPTURE(name);
            CAPTURE(size);
            CHECK(complaint(whole.substr(0, size)) != "accepted");
        }
    }
}

TEST_CASE("sizes that a DICOM file only claims are refused") {
    const std::string whole = content_of(fixtures + "plain.dcm");
    const std::string rows("\x28\0\x10\0US\2\0\x14\0", 10);
    REQUIRE(whole.find(rows) != whole.npos);
    const auto with_rows = [&](char low, char high) {
        std::string content = whole;
        content[content.find(rows) + 8] = low;
        content[content.find(rows) + 9] = high;
        return content;
    };
    CHECK(complaint(with_rows(20, 0)) == "accepted");
    CHECK(has(complaint(with_rows(21, 0)), "truncated"));
    CHECK(has(complaint(with_rows(char(255), char(255))), "truncated"));
    CHECK(has(complaint(with_rows(0, 0)), "Rows is 0"));
    CHECK(has(complaint(whole, 1000), "data.picture_limit"));
    // The image's own length, in four bytes behind OW and two empty ones.
    std::string long_image = whole;
    const std::size_t image = long_image.find(std::string("\xE0\x7F\x10\0OW\0\0", 8));
    REQUIRE(image != long_image.npos);
    long_image.replace(image + 8, 4, "\xF0\xFF\xFF\xFF");
    CHECK(complaint(long_image) != "accepted");
    // A packed image of 65535 × 65535 pixels.
    std::string packed = content_of(fixtures + "jpeg_lossless.dcm");
    const std::size_t side = packed.find(rows);
    REQUIRE(side != packed.npos);
    packed.replace(side + 8, 2, "\xFF\xFF");
    packed.replace(side + 18, 2, "\xFF\xFF");
    CHECK(has(complaint(packed), "data.picture_limit"));
}
