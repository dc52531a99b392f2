// .npy files against headers and bytes laid down by hand here.
#include "engine/files/npy.h"

#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
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

TEST_CASE("other types and orders are refused by name, with the way out") {
    for (const std::string descr : {"|u1", "<f2", ">f4", "<i8", "<c8"}) {
        const std::string said = message(npy(dictionary(descr, "(2, 3)"), std::string(96, '\0')));
        CHECK(contains(said, "'" + descr + "'"));
        CHECK(contains(said, "dtype='float32'"));
    }
    CHECK(contains(message(npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1,), }", "0000")),
                   "structured"));
    CHECK(contains(message(npy(dictionary("<f4", "(2, 3)", "True"), bytes_of(kSix))), "Fortran order"));
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
