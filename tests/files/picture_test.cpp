// A picture is complete or refused, stands upright, and takes no more memory than allowed, alone or beside others.
#include <doctest/doctest.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <new>
#include <string>

#include "engine/data/dataset.h"
#include "engine/pictures/image.h"
#include "engine/training/process_memory.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"
#include "tests/reference/png.h"
#include "tests/support/temporary_folder.h"

using tvmap::Picture;

namespace {

const std::string fixtures = std::string(TVMAP_FIXTURES) + "/image/";
const std::string end_of_jpeg = "\xFF\xD9";

std::string content_of(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// What reading a file of this content comes to: "" or the message.
struct Reader {
    TemporaryFolder folder;

    std::string place(const std::string& name, const std::string& content) const {
        std::ofstream(folder / name, std::ios::binary) << content;
        return folder / name;
    }
    Picture read(const std::string& name, const std::string& content) const {
        return tvmap::read_picture(place(name, content));
    }
    std::string complaint(const std::string& name, const std::string& content) const {
        try {
            read(name, content);
        } catch (const tvmap::Error& error) {
            const std::string what = error.what();
            CHECK(what.starts_with(folder / name));
            CHECK(what.find('\n') == what.npos);
            return what;
        }
        return "";
    }
};

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

std::string big_endian(std::uint32_t value, int bytes) {
    std::string text;
    for (int i = bytes - 1; i >= 0; --i) text += char(value >> (8 * i));
    return text;
}

std::string little_endian(std::uint32_t value, int bytes) {
    const std::string text = big_endian(value, bytes);
    return {text.rbegin(), text.rend()};
}

std::string png_of(const std::vector<reference::PngChunk>& chunks) {
    std::string png("\x89PNG\r\n\x1a\n", 8);
    for (const auto& [type, data] : chunks)
        png += big_endian(std::uint32_t(data.size()), 4) + type + data +
               big_endian(reference::png_checksum(type + data), 4);
    return png;
}

/// A TIFF structure that holds an orientation and, before it, another entry.
std::string tiff(int orientation, bool big) {
    const auto number = big ? big_endian : little_endian;
    const auto entry = [&](std::uint32_t tag, std::uint32_t value) {  // one SHORT
        return number(tag, 2) + number(3, 2) + number(1, 4) + number(value, 2) + std::string(2, '\0');
    };
    return (big ? "MM" : "II") + number(42, 2) + number(8, 4) + number(2, 2) + entry(0x0100, 7) +
           entry(0x0112, std::uint32_t(orientation)) + number(0, 4);
}

/// The picture as it should stand. EXIF says where row 0 and column 0 of what is stored are seen.
Picture upright(const Picture& stored, int orientation) {
    const bool turned = orientation >= 5;
    Picture seen = stored;
    if (turned) std::swap(seen.height, seen.width);
    // 1 top left, 2 top right, 3 bottom right, 4 bottom left, 5 left top, 6 right top, 7 right bottom, 8 left bottom
    const bool from_right = std::array{false, true, true, false, false, true, true, false}[orientation - 1];
    const bool from_bottom = std::array{false, false, true, true, false, false, true, true}[orientation - 1];
    for (int y = 0; y < stored.height; ++y)
        for (int x = 0; x < stored.width; ++x) {
            int i = turned ? x : y, j = turned ? y : x;
            if (from_bottom) i = seen.height - 1 - i;
            if (from_right) j = seen.width - 1 - j;
            for (int c = 0; c < stored.channels; ++c)
                seen.values[(i * seen.width + j) * stored.channels + c] =
                    stored.values[(y * stored.width + x) * stored.channels + c];
        }
    return seen;
}

/// The most memory that the process took from here on.
class MemoryTaken {
  public:
    MemoryTaken() {
        // Large pieces go back to the system when they are freed, instead of waiting in each thread's own store.
        ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
        tvmap::release_free_memory();
        tvmap::reset_peak_resident();
        before_ = tvmap::resident_bytes();
    }
    std::size_t most() const { return tvmap::peak_resident_bytes() - before_; }

    static constexpr std::size_t blur =
        4 << 20;  ///< threads' stacks and stores, and pages of the system's count

  private:
    std::size_t before_ = 0;
};

}  // namespace

TEST_CASE("a JPEG that ends early is refused wherever it ends, though it bears an end marker") {
    const Reader reader;
    for (const std::string name : {"grey.jpeg", "colour.jpg", "progressive.jpg"}) {
        const std::string whole = content_of(fixtures + name);
        REQUIRE(whole.ends_with(end_of_jpeg));
        CHECK(reader.complaint(name, whole) == "");
        for (std::size_t size = 2; size < whole.size() - 2; ++size) {
            CAPTURE(name);
            CAPTURE(size);
            CHECK(reader.complaint(name, whole.substr(0, size) + end_of_jpeg) != "");
        }
    }
}

TEST_CASE("a JPEG without a scan, without some of its scans, or without a table is refused") {
    const Reader reader;
    const std::string baseline = content_of(fixtures + "grey.jpeg"),
                      progressive = content_of(fixtures + "progressive.jpg");
    const auto scan = [](const std::string& jpeg, std::size_t from) { return jpeg.find("\xFF\xDA", from); };
    CHECK(contains(reader.complaint("a.jpg", baseline.substr(0, scan(baseline, 0)) + end_of_jpeg),
                   "not complete"));
    CHECK(contains(reader.complaint("a.jpg", progressive.substr(0, scan(progressive, 0)) + end_of_jpeg),
                   "not complete"));
    // Every number of scans but all of them; the first alone has the mean of each block and nothing else.
    int scans = 0;
    for (std::size_t at = scan(progressive, 0); at != std::string::npos;
         at = scan(progressive, at + 2), ++scans)
        if (scans > 0)
            CHECK(
                contains(reader.complaint("a.jpg", progressive.substr(0, at) + end_of_jpeg), "not complete"));
    CHECK(scans > 2);
    // A scan that is there twice.
    const std::size_t first = scan(progressive, 0), second = scan(progressive, first + 2);
    std::string twice = progressive;
    twice.insert(second, progressive.substr(first, second - first));
    CHECK(contains(reader.complaint("a.jpg", twice), "do not follow"));
    // A table that has become a comment.
    for (const auto& [marker, name] : {std::pair{"\xFF\xDB", "quantisation"}, {"\xFF\xC4", "Huffman"}}) {
        std::string without = baseline;
        for (std::size_t at = 0; (at = without.find(marker, at)) != without.npos;) without[at + 1] = '\xFE';
        CHECK(contains(reader.complaint("a.jpg", without), name));
    }
    std::string arithmetic = baseline;
    arithmetic[arithmetic.find("\xFF\xC0") + 1] = '\xC9';
    CHECK(contains(reader.complaint("a.jpg", arithmetic), "baseline and progressive"));
}

TEST_CASE("filling bytes before a JPEG hide nothing from its checks") {
    const Reader reader;
    const std::string filling = "\xFF\xFF\xFF", whole = content_of(fixtures + "grey.jpeg");
    CHECK(reader.read("a.jpg", filling + whole).values == reader.read("b.jpg", whole).values);
    CHECK(contains(reader.complaint("a.jpg", filling + whole.substr(0, whole.find("\xFF\xDA")) + end_of_jpeg),
                   "not complete"));
    // 4096 symbols, for which the decoder has room for 257.
    const std::string table =
        "\xFF\xC4" + big_endian(2 + 17 + 4096, 2) + '\0' + std::string(16 + 4096, '\xFF');
    CHECK(contains(reader.complaint("a.jpg", filling + "\xFF\xD8" + table + whole.substr(2)), "too long"));
}

TEST_CASE("a pixel whose colour the palette lacks is refused") {
    const Reader reader;
    auto chunks = reference::png_chunks(content_of(fixtures + "palette.png"));
    const auto palette = std::find_if(chunks.begin(), chunks.end(), [](auto& c) { return c.type == "PLTE"; });
    REQUIRE(palette != chunks.end());
    CHECK(reader.complaint("whole.png", png_of(chunks)) == "");
    palette->data.resize(3 * 5);
    CHECK(contains(reader.complaint("lacking.png", png_of(chunks)), "palette"));

    // 3×2 pixels of 8, 4 and 1 bits; two colours, and the third row of each case names another.
    const auto bmp = [](int depth, const std::string& rows, int colours) {
        const std::uint32_t offset = std::uint32_t(14 + 40 + 4 * colours);
        std::string palette_bytes;
        for (int i = 0; i < colours; ++i) palette_bytes += std::string(3, char(100 * i)) + '\0';
        return "BM" + little_endian(offset + std::uint32_t(rows.size()), 4) + little_endian(0, 4) +
               little_endian(offset, 4) + little_endian(40, 4) + little_endian(3, 4) + little_endian(2, 4) +
               little_endian(1, 2) + little_endian(std::uint32_t(depth), 2) + std::string(24, '\0') +
               palette_bytes + rows;
    };
    const std::string fine("\0\1\1\0\1\0\0\0", 8), lacking("\0\1\1\0\1\2\0\0", 8);
    const Picture two = reader.read("two.bmp", bmp(8, fine, 2));
    CHECK(two.values[0] == 100 / 255.0f);  // rows come from the bottom
    CHECK(two.values[3] == 0.0f);
    CHECK(contains(reader.complaint("three.bmp", bmp(8, lacking, 2)), "palette"));
    CHECK(reader.complaint("three.bmp", bmp(8, lacking, 3)) == "");
    CHECK(reader.complaint("four_bits.bmp", bmp(4, std::string("\x01\x10\0\0\x10\x10\0\0", 8), 2)) == "");
    CHECK(contains(reader.complaint("four_bits.bmp", bmp(4, std::string("\x01\x10\0\0\x10\x20\0\0", 8), 2)),
                   "palette"));
    CHECK(contains(reader.complaint("one_bit.bmp", bmp(1, std::string("\x20\0\0\0\x40\0\0\0", 8), 1)),
                   "palette"));
}

TEST_CASE("a picture stands upright, as EXIF says, in JPEG and PNG files") {
    const Reader reader;
    for (const std::string name : {"grey.jpeg", "colour.jpg", "rgb.png", "deep.png", "palette.png"}) {
        const std::string whole = content_of(fixtures + name);
        const Picture stored = reader.read(name, whole);
        REQUIRE(stored.height != stored.width);
        for (int orientation = 0; orientation <= 9; ++orientation)
            for (const bool big : {false, true}) {
                CAPTURE(name);
                CAPTURE(orientation);
                std::string turned = whole;
                const std::string data = tiff(orientation, big);
                if (name.ends_with("png")) {
                    auto chunks = reference::png_chunks(whole);
                    chunks.insert(chunks.begin() + 1, {"eXIf", data});
                    turned = png_of(chunks);
                } else {
                    const std::string exif = std::string("Exif\0\0", 6) + data;
                    turned.insert(2, "\xFF\xE1" + big_endian(std::uint32_t(exif.size() + 2), 2) + exif);
                }
                // What is no orientation says nothing.
                const Picture expected =
                    upright(stored, orientation < 1 || orientation > 8 ? 1 : orientation);
                const Picture picture = reader.read(name, turned);
                CHECK(picture.height == expected.height);
                CHECK(picture.width == expected.width);
                CHECK((picture.values == expected.values));
            }
    }
    // Cut off anywhere, EXIF data harm nothing.
    const std::string whole = content_of(fixtures + "grey.jpeg"),
                      data = std::string("Exif\0\0", 6) + tiff(6, true);
    const Picture stored = reader.read("a.jpeg", whole);
    for (std::size_t size = 0; size < data.size() - 16; ++size) {
        std::string cut = whole;
        cut.insert(2, "\xFF\xE1" + big_endian(std::uint32_t(size + 2), 2) + data.substr(0, size));
        CHECK((reader.read("a.jpeg", cut).values == stored.values));
    }
}

TEST_CASE("bitmaps and greymaps, as text and in binary") {
    const Reader reader;
    const auto values = [&](const std::string& content) { return reader.read("a.pgm", content).values; };
    const std::vector<float> bits{1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1};
    CHECK(values("P1 # black is 1\n10 2\n0100011101\n0 0 0 1 1 1 0 1 1 0") == bits);
    CHECK(values("P4\n10 2\n" + std::string("\x47\x40\x1D\x80", 4)) == bits);
    const std::vector<float> grey{0, 0.2f, 0.4f, 0.6f, 0.8f, 1};
    CHECK(values("P2\n# text\n3 2\n5\n0 1 2\n# in between\n 3   4\t5\n") == grey);
    CHECK(values("P5\n3 2\n5\n" + std::string("\0\1\2\3\4\5", 6)) == grey);
    const Picture colour = reader.read("a.ppm", "P3 1 2 1000 0 500 1000 1000 0 250");
    CHECK(colour.channels == 3);
    CHECK(colour.bits == 16);
    CHECK(colour.height == 2);
    CHECK(colour.values == std::vector<float>{0, 0.5f, 1, 1, 0, 0.25f});

    CHECK(contains(reader.complaint("a.pgm", "P2 3 2 5 0 1 2 3 4 "), "truncated"));
    CHECK(contains(reader.complaint("a.pgm", "P2 3 2 5 0 1 2 x 4 5"), "no number"));
    CHECK(contains(reader.complaint("a.pbm", "P1 3 2 01x010"), "no number"));
    CHECK(contains(reader.complaint("a.pbm", "P4\n10 2\n\x47\x40\x1D"), "truncated"));
    // A header that claims more than the file has takes no memory.
    for (const std::string kind : {"P1", "P2", "P3", "P4", "P5", "P6"})
        CHECK(contains(reader.complaint("a.pgm", kind + " 99999999 99999999 255 " + std::string(99, '1')),
                       "truncated"));
    CHECK(tvmap::is_picture_name("a.pbm"));
    CHECK(tvmap::is_picture_name("a.PNM"));
}

TEST_CASE("a BMP without rows is refused") {
    const Reader reader;
    const auto number = [](std::uint32_t value) {
        return std::string(reinterpret_cast<const char*>(&value), sizeof value);
    };
    const auto bmp = [&](std::uint32_t rows) {
        const std::uint32_t one_plane_24_bits = 1 | 24 << 16;
        return "BM" + number(58) + number(0) + number(54) + number(40) + number(1) + number(rows) +
               number(one_plane_24_bits) + std::string(24, '\0') + std::string(4, 'x');
    };
    CHECK(reader.complaint("a.bmp", bmp(1)) == "");
    CHECK(contains(reader.complaint("a.bmp", bmp(0)), "no pixels"));
}

TEST_CASE("a picture that takes more than the limit is refused before it takes it") {
    const TemporaryFolder folder;
    // 4 MB of samples in some kB; decoded and as floats, 24 MB.
    const int side = 2000;
    tvmap::write_png(folder / "a.png", {side, side, 1, 8, std::vector<float>(std::size_t(side) * side)});
    REQUIRE(std::filesystem::file_size(folder / "a.png") < 100000);
    const auto complaint = [&](std::uint64_t limit) -> std::string {
        try {
            tvmap::read_picture(folder / "a.png", limit);
        } catch (const tvmap::Error& error) {
            return error.what();
        }
        return "";
    };
    CHECK(complaint(0) == "");
    CHECK(complaint(30 << 20) == "");
    const MemoryTaken memory;
    for (const std::uint64_t limit : {1000u, 1u << 20, 8u << 20, 18u << 20}) {
        const std::string said = complaint(limit);
        CHECK(contains(said, folder / "a.png"));
        CHECK(contains(said, std::to_string(limit)));
        CHECK(contains(said, "data.picture_limit"));
    }
    CHECK(memory.most() < (18u << 20) + MemoryTaken::blur);
}

TEST_CASE("threads share the limit: all pictures are read, and no more memory is taken") {
    const TemporaryFolder folder;
    const int side = 1500, count = 8;  // 2.25 MB of samples, 13.5 MB in all
    for (int i = 0; i < count; ++i)
        tvmap::write_png(folder / ("picture_" + std::to_string(i) + ".png"),
                         {side, side, 1, 8, std::vector<float>(std::size_t(side) * side, float(i) / 255)});
    constexpr std::uint64_t limit = 20 << 20;  // one fits, two do not
    tvmap::set_threads(4);
    const MemoryTaken memory;
    const tvmap::Dataset data(folder.path.string(), 16, count, "", 8, limit);
    CHECK(memory.most() < limit + MemoryTaken::blur);
    tvmap::set_threads(0);
    REQUIRE(data.count() == count);
    for (int i = 0; i < count; ++i) {
        std::vector<float> values(16 * 16);
        data.copy(i, values.data());
        CHECK(values == std::vector<float>(16 * 16, float(i) / 255));
    }
    CHECK_THROWS_AS(tvmap::Dataset(folder.path.string(), 16, count, "", 8, 5 << 20), tvmap::Error);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_CASE("where memory ends the picture is not blamed for it") {
    const TemporaryFolder folder;
    const int side = 400;
    std::vector<float> noise(std::size_t(side) * side);
    std::uint32_t random = 1;
    for (float& value : noise) value = float((random = random * 1664525u + 1013904223u) >> 24) / 255;
    tvmap::write_png(folder / "a.png", {side, side, 1, 8, noise});

    enum Ended { read, no_memory, file_too_large, blamed };
    std::array<int, 4> ended{};
    for (std::size_t more = 0; more < 2 << 20; more += 32 << 10) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            std::size_t pages = 0;
            std::ifstream("/proc/self/statm") >> pages;
            const rlim_t size = pages * std::size_t(::sysconf(_SC_PAGESIZE));
            const rlimit nothing{size, RLIM_INFINITY}, something{size + more, RLIM_INFINITY};
            ::setrlimit(RLIMIT_AS, &nothing);
            for (std::size_t piece = 1 << 20; piece > 1000;
                 piece /= 2)  // what the allocator has kept from earlier
                while (std::malloc(piece) != nullptr) continue;
            ::setrlimit(RLIMIT_AS, &something);
            Ended how = read;
            try {
                tvmap::read_picture(folder / "a.png");
            } catch (const std::bad_alloc&) {
                how = no_memory;
            } catch (const tvmap::Error& error) {
                how = contains(error.what(), "more than fits in memory") ? file_too_large : blamed;
            } catch (...) {
                how = blamed;
            }
            ::_exit(how);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        REQUIRE(WIFEXITED(status));
        ++ended.at(std::size_t(WEXITSTATUS(status)));
    }
    CHECK(ended[read] > 0);
    CHECK(ended[no_memory] > 0);
    CHECK(ended[blamed] == 0);
}
#endif
