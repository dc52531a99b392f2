// .npy files against headers and bytes laid down by hand here.
#include "engine/files/npy.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

namespace {

void plain_write(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
}

std::string plain_read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// A file of format version `major` around a dictionary and values.
std::string npy(const std::string& dictionary, const std::string& values, int major = 1) {
    const std::size_t size = dictionary.size() + 1;
    std::string length{char(size & 0xff), char(size >> 8)};
    if (major > 1) length += std::string(2, '\0');
    return std::string("\x93NUMPY") + char(major) + '\0' + length + dictionary + '\n' + values;
}

std::string dictionary(const std::string& descr, const std::string& shape, const char* fortran = "False") {
    return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}

std::string message(const std::string& content) {
    const TemporaryFolder folder;
    plain_write(folder / "a.npy", content);
    try {
        tvmap::read_npy(folder / "a.npy");
    } catch (const tvmap::Error& error) {
        const std::string what = error.what();
        CHECK(what.find(folder / "a.npy") != what.npos);
        CHECK(what.find('\n') == what.npos);
        return what;
    }
    return "no error";
}

bool contains(const std::string& whole, const std::string& part) {
    return whole.find(part) != std::string::npos;
}

const std::vector<float> kSix{0.0f, -1.5f, 3.25f, 1e-40f, 1e38f, 0.1f};

}  // namespace

TEST_CASE("float32 and float64 are read, in versions 1.0, 2.0 and 3.0") {
    const TemporaryFolder folder;
    for (const int major : {1, 2, 3}) {
        plain_write(folder / "a.npy", npy(dictionary("<f4", "(2, 3)"), bytes_of(kSix), major));
        const tvmap::NpyArray array = tvmap::read_npy(folder / "a.npy");
        CHECK(array.shape == std::vector<std::int64_t>{2, 3});
        CHECK(array.values == kSix);
    }
    const std::vector<double> doubles{0.1, -2.0, 1e-300, 3e38};
    plain_write(folder / "b.npy", npy(dictionary("<f8", "(4,)"), bytes_of(doubles)));
    const tvmap::NpyArray array = tvmap::read_npy(folder / "b.npy");
    CHECK(array.shape == std::vector<std::int64_t>{4});
    CHECK(array.values == std::vector<float>{0.1f, -2.0f, 0.0f, 3e38f});
}

TEST_CASE("the header is a Python dictionary: any order, quotes and spaces") {
    const TemporaryFolder folder;
    plain_write(folder / "a.npy",
                npy("{ \"shape\" :( 1,2 , 3) ,'fortran_order':False, \"descr\":'<f4'}   ", bytes_of(kSix)));
    CHECK(tvmap::read_npy(folder / "a.npy").shape == std::vector<std::int64_t>{1, 2, 3});
    plain_write(folder / "b.npy", npy(dictionary("<f4", "()"), bytes_of(std::vector<float>{7.0f})));
    CHECK(tvmap::read_npy(folder / "b.npy").shape.empty());
    CHECK(tvmap::read_npy(folder / "b.npy").values == std::vector<float>{7.0f});
    // With one dimension both orders are the same.
    plain_write(folder / "c.npy", npy(dictionary("<f4", "(6,)", "True"), bytes_of(kSix)));
    CHECK(tvmap::read_npy(folder / "c.npy").values == kSix);
}

TEST_CASE("what is written is the published format to the byte, and reads back") {
    const TemporaryFolder folder;
    tvmap::write_npy(folder / "a.npy", {2, 3}, kSix.data());
    // 10 bytes before the dictionary, which is padded so that the values start at byte 128.
    const std::string padded = dictionary("<f4", "(2, 3)");
    const std::string expected = npy(padded + std::string(117 - padded.size(), ' '), bytes_of(kSix));
    CHECK(expected.size() == 128 + 24);
    CHECK(plain_read(folder / "a.npy") == expected);
    for (const std::vector<std::int64_t>& shape :
         std::vector<std::vector<std::int64_t>>{{6}, {1, 1, 6}, {3, 2, 1, 1}}) {
        tvmap::write_npy(folder / "a.npy", shape, kSix.data());
        const tvmap::NpyArray array = tvmap::read_npy(folder / "a.npy");
        CHECK(array.shape == shape);
        CHECK(array.values == kSix);
    }
    tvmap::write_npy(folder / "a.npy", {}, kSix.data());
    CHECK(tvmap::read_npy(folder / "a.npy").values == std::vector<float>{kSix[0]});
}

TEST_CASE("every numeric type is read, in either byte order") {
    // Bytes and values as NumPy has them: np.array([...], dtype).tobytes().
    struct Case {
        std::string descr, bytes;
        std::vector<float> values;
    };
    const auto text = [](std::initializer_list<int> bytes) {
        return std::string(bytes.begin(), bytes.end());
    };
    const std::vector<Case> cases{
        {"|u1", text({0, 128, 255}), {0, 128, 255}},
        {"|i1", text({-128, -1, 127}), {-128, -1, 127}},
        {"|b1", text({1, 0, 1}), {1, 0, 1}},
        {"<u2", text({1, 2, 255, 255}), {513, 65535}},
        {">u2", text({1, 2, 255, 255}), {258, 65535}},
        {"<i2", text({0, -128, -1, 127}), {-32768, 32767}},
        {">i4", text({-1, -1, -1, -2, 0, 1, 0, 0}), {-2, 65536}},
        {"<u4", text({0, 0, 0, -128}), {2147483648.0f}},
        {">u8", text({-128, 0, 0, 0, 0, 0, 0, 0}), {9223372036854775808.0f}},
        {"<i8", text({0, 0, 0, 0, 0, 0, 0, -128}), {-9223372036854775808.0f}},
        {">f4", text({0x40, 0x49, 0x0f, 0xdb}), {3.14159274f}},
        {">f8", text({0xbf, 0xe0, 0, 0, 0, 0, 0, 0}), {-0.5f}},
        // 1, −2, the least above 0, the greatest below what the exponent begins to stand for, 65504
        {"<f2",
         text({0, 0x3c, 0, 0xc0, 1, 0, 0xff, 3, 0xff, 0x7b}),
         {1, -2, 5.9604644775390625e-8f, 6.09755516052246e-5f, 65504}},
        {">f2", text({0x35, 0x55}), {0.333251953125f}}};
    const TemporaryFolder folder;
    for (const Case& c : cases) {
        CAPTURE(c.descr);
        plain_write(folder / "a.npy",
                    npy(dictionary(c.descr, "(" + std::to_string(c.values.size()) + ",)"), c.bytes));
        CHECK(tvmap::read_npy(folder / "a.npy").values == c.values);
    }
    if (sizeof(long double) == 16) {
        const std::vector<long double> numbers{1.5L, -0.25L};
        plain_write(folder / "a.npy", npy(dictionary("<f16", "(2,)"), bytes_of(numbers)));
        CHECK(tvmap::read_npy(folder / "a.npy").values == std::vector<float>{1.5f, -0.25f});
    }
}

TEST_CASE("Fortran order is read into C order") {
    const TemporaryFolder folder;
    // The element at (i, j, k) is 100 i + 10 j + k; the file has i fastest.
    std::vector<std::int16_t> stored;
    std::vector<float> expected;
    for (int k = 0; k < 4; ++k)
        for (int j = 0; j < 3; ++j)
            for (int i = 0; i < 2; ++i) stored.push_back(std::int16_t(100 * i + 10 * j + k));
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 3; ++j)
            for (int k = 0; k < 4; ++k) expected.push_back(float(100 * i + 10 * j + k));
    plain_write(folder / "a.npy", npy(dictionary("<i2", "(2, 3, 4)", "True"), bytes_of(stored)));
    const tvmap::NpyArray array = tvmap::read_npy(folder / "a.npy");
    CHECK(array.shape == std::vector<std::int64_t>{2, 3, 4});
    CHECK(array.values == expected);
}

TEST_CASE("what is no array of real numbers is refused by name, with the way out") {
    for (const std::string descr : {"<c8", "<M8[s]", "|S3", "<U2", "|O", "<f3", "f4", "!f4", ""}) {
        const std::string said = message(npy(dictionary(descr, "(2, 3)"), std::string(96, '\0')));
        CHECK(contains(said, "'" + descr + "'"));
        CHECK(contains(said, "dtype='float32'"));
    }
    CHECK(contains(message(npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", "0000")),
                   "structured"));
}

TEST_CASE("values that are not finite floats are refused with their index") {
    constexpr double inf = std::numeric_limits<double>::infinity();
    constexpr double nan = std::numeric_limits<double>::quiet_NaN();
    for (const double bad : {inf, -inf, nan}) {
        std::vector<float> singles = kSix;
        singles[4] = float(bad);
        CHECK(contains(message(npy(dictionary("<f4", "(2, 3)"), bytes_of(singles))), "at index 4 "));
    }
    const std::string said = message(npy(dictionary("<f8", "(2,)"), bytes_of(std::vector<double>{1, 1e39})));
    CHECK(contains(said, "at index 1 "));
    CHECK(contains(said, "too large for float32"));
    CHECK(contains(message(npy(dictionary("<f2", "(2,)"), std::string("\0\0\0\x7c", 4))), "at index 1 "));
    CHECK(contains(message(npy(dictionary("<f2", "(2,)"), std::string("\1\x7e\0\0", 4))), "at index 0 "));
    // The index is that of C order, wherever the value stands.
    std::vector<float> turned = kSix;
    turned[1] = float(nan);
    CHECK(contains(message(npy(dictionary("<f4", "(2, 3)", "True"), bytes_of(turned))), "at index 3 "));
}

TEST_CASE("every truncation is refused, and so is what follows the end") {
    for (const int major : {1, 2}) {
        const std::string whole = npy(dictionary("<f4", "(2, 3)"), bytes_of(kSix), major);
        for (std::size_t size = 0; size < whole.size(); ++size) {
            CAPTURE(size);
            CHECK(message(whole.substr(0, size)) != "no error");
        }
        CHECK(contains(message(whole.substr(0, whole.size() - 1)), "truncated"));
        CHECK(contains(message(whole + "x"), "1 bytes follow the last value"));
    }
}

TEST_CASE("damaged and hostile headers are refused") {
    const std::string values = bytes_of(kSix);
    CHECK(contains(message("not an array at all"), "not a .npy file"));
    CHECK(contains(message(npy(dictionary("<f4", "(2, 3)"), values, 4)), "version 4"));
    for (const std::string bad :
         {"{}", "{'descr': '<f4'}", "[]", "{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (6}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (-6,)}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'more': 1}",
          "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} x", "{'descr: 1}"})
        CHECK(contains(message(npy(bad, values)), "header is damaged"));
    CHECK(contains(message(npy(dictionary("<f4", "(0, 3)"), "")), "empty"));
    // 2³²·2³² = 2⁶⁴ values would overflow to none.
    CHECK(contains(message(npy(dictionary("<f4", "(4294967296, 4294967296)"), values)), "truncated"));
    CHECK(contains(message(npy(dictionary("<f4", "(99999999999999999999,)"), values)), "damaged"));
}
