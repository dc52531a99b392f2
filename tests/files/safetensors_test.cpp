// The stored weights: what is written comes back, files in the other types are converted, and broken files
// are refused with a message, never with a crash. Files are put together byte by byte here, apart from the
// product.
#include "engine/files/safetensors.h"

#include <doctest/doctest.h>
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

namespace {

using tvmap::SafeTensors;

std::string bytes_of_length(std::uint64_t length) {
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) bytes[i] = char(length >> 8 * i & 255);
    return bytes;
}

std::string safetensors(const std::string& header, const std::string& data) {
    return bytes_of_length(header.size()) + header + data;
}

std::string put(const TemporaryFolder& folder, const std::string& content) {
    const std::string path = folder / "given.safetensors";
    std::ofstream(path, std::ios::binary) << content;
    return path;
}

std::string get(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

/// The message that reading the file gives.
std::string refusal(const TemporaryFolder& folder, const std::string& content) {
    const std::string path = put(folder, content);
    try {
        tvmap::read_safetensors(path);
    } catch (const tvmap::Error& error) {
        CHECK(std::string(error.what()).find(path) != std::string::npos);
        CHECK(std::string(error.what()).find('\n') == std::string::npos);
        return error.what();
    }
    return "accepted";
}

bool says(const std::string& message, const std::string& part) {
    INFO(message);
    return message.find(part) != std::string::npos;
}

const std::string one_header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

}  // namespace

TEST_CASE("what is written comes back bit by bit") {
    const TemporaryFolder folder;
    SafeTensors content;
    const float values[] = {0.0f, -0.0f, 1e-45f, std::numeric_limits<float>::max(), -1.5f, 0.1f};
    content.tensors["c0x0.conv_block.0.weight"] = {{2, 3, 1, 1}, {values, values + 6}};
    content.tensors["scalar"] = {{}, {42.0f}};
    content.tensors["empty"] = {{3, 0}, {}};
    content.metadata = {{"step", "17"}, {"quote \" and ü", "line\nbreak"}};
    const std::string path = folder / "written.safetensors";
    tvmap::write_safetensors(path, content);
    const SafeTensors back = tvmap::read_safetensors(path);

    CHECK(back.metadata == content.metadata);
    REQUIRE(back.tensors.size() == 3);
    for (const auto& entry : content.tensors) {
        const auto& name = entry.first;
        const auto& tensor = entry.second;
        CAPTURE(name);
        REQUIRE(back.tensors.count(name) == 1);
        CHECK(back.tensors.at(name).shape == tensor.shape);
        // Bits and not values: −0 equals 0 as a number.
        CHECK(std::ranges::equal(back.tensors.at(name).values, tensor.values, {},
                                 std::bit_cast<std::uint32_t, float>, std::bit_cast<std::uint32_t, float>));
    }
}

TEST_CASE("the written bytes follow the format: aligned, without gaps") {
    const TemporaryFolder folder;
    SafeTensors content;
    content.tensors["b"] = {{1}, {2.0f}};
    content.tensors["a"] = {{3}, {1.0f, 3.0f, 5.0f}};
    const std::string path = folder / "written.safetensors";
    tvmap::write_safetensors(path, content);
    const std::string file = get(path);
    std::uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(file[i]);
    REQUIRE(8 + length + 16 == file.size());
    CHECK((8 + length) % 64 == 0);
    const auto header = nlohmann::json::parse(file.substr(8, length));
    CHECK(header["a"]["dtype"] == "F32");
    CHECK(header["a"]["data_offsets"] == std::vector<int>{0, 12});
    CHECK(header["b"]["data_offsets"] == std::vector<int>{12, 16});
    CHECK(header["b"]["shape"] == std::vector<int>{1});
    float values[4];
    std::memcpy(values, file.data() + 8 + length, 16);
    CHECK(values[1] == 3.0f);
    CHECK(values[3] == 2.0f);
}

TEST_CASE("other types are converted") {
    const TemporaryFolder folder;
    std::string data;
    const double doubles[] = {0.1, -3.0};
    data.append(reinterpret_cast<const char*>(doubles), 16);
    // Half: 1.5, −2, the smallest subnormal 2⁻²⁴, the largest 65504, −∞, NaN.
    const std::uint16_t halves[] = {0x3e00, 0xc000, 0x0001, 0x7bff, 0xfc00, 0x7e01};
    data.append(reinterpret_cast<const char*>(halves), 12);
    const std::uint16_t bfloats[] = {0x3fc0, 0xc000};  // 1.5, −2
    data.append(reinterpret_cast<const char*>(bfloats), 4);
    const SafeTensors content = tvmap::read_safetensors(put(
        folder,
        safetensors(R"({"d":{"dtype":"F64","shape":[2,1],"data_offsets":[0,16]},)"
                    R"("h":{"dtype":"F16","shape":[6],"data_offsets":[16,28]},)"
                    R"("b":{"dtype":"BF16","shape":[2],"data_offsets":[28,32]},"__metadata__":{"k":"v"}}   )",
                    data)));
    CHECK(content.tensors.at("d").values == std::vector<float>{0.1f, -3.0f});
    CHECK(content.tensors.at("d").shape == std::vector<std::int64_t>{2, 1});
    const std::vector<float>& h = content.tensors.at("h").values;
    CHECK(h[0] == 1.5f);
    CHECK(h[1] == -2.0f);
    CHECK(h[2] == 0x1p-24f);
    CHECK(h[3] == 65504.0f);
    CHECK(h[4] == -std::numeric_limits<float>::infinity());
    CHECK(std::isnan(h[5]));
    CHECK(content.tensors.at("b").values == std::vector<float>{1.5f, -2.0f});
    CHECK(content.metadata.at("k") == "v");
}

TEST_CASE("every cut of a file is refused") {
    const TemporaryFolder folder;
    const std::string whole = safetensors(one_header, std::string(8, 'x'));
    REQUIRE(refusal(folder, whole) == "accepted");
    for (std::size_t length = 0; length < whole.size(); ++length) {
        CAPTURE(length);
        CHECK(refusal(folder, whole.substr(0, length)) != "accepted");
    }
    CHECK(says(refusal(folder, whole + "y"), "belong to none"));
}

TEST_CASE("every byte of the header turned over is refused or read, never a crash") {
    const TemporaryFolder folder;
    const std::string whole = safetensors(one_header, std::string(8, '\1'));
    int refused = 0;
    for (std::size_t at = 0; at < whole.size() - 8; ++at) {
        std::string broken = whole;
        broken[at] = char(~broken[at]);
        refused += refusal(folder, broken) != "accepted";
    }
    // Names are free, but every other byte carries the structure: only the name "a" may change, and not to a
    // byte that is not UTF-8.
    CHECK(refused == int(whole.size()) - 8);
}

TEST_CASE("impossible headers") {
    const TemporaryFolder folder;
    const std::string data(8, '\0');
    const auto entry = [&](const std::string& body) {
        return refusal(folder, safetensors("{\"a\":" + body + "}", data));
    };
    CHECK(says(refusal(folder, bytes_of_length(~0ull) + "{}"), "not a whole"));
    CHECK(says(refusal(folder, bytes_of_length(1ull << 40) + "{}"), "not a whole"));
    CHECK(says(refusal(folder, safetensors("[]", "")), "not an object"));
    CHECK(says(refusal(folder, safetensors("{", "")), "JSON"));
    CHECK(says(refusal(folder, safetensors(std::string(200000, '['), "")), "too deep"));
    CHECK(says(refusal(folder, safetensors(std::string(R"({"__metadata__":{"k":1}})"), "")), "not a text"));
    CHECK(says(refusal(folder, safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                           R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                           data)),
               "twice"));
    CHECK(says(entry("3"), "broken entry"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[2]})"), "broken entry"));
    CHECK(says(entry(R"({"dtype":"I64","shape":[1],"data_offsets":[0,8]})"), "I64"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "not a size"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), "not a size"));
    CHECK(says(entry(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"), "missing"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), "8 bytes are stored for 3"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})"), "offsets"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "offsets"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,12]})"), "outside"));
    // 2³²·2³² values wrap to 0 in 64 bits, and 2⁶²·4 bytes wrap as well.
    CHECK(
        says(entry(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]})"), "more bytes"));
    CHECK(says(entry(R"({"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]})"), "more bytes"));
    // Overlapping tensors, and a gap between two.
    CHECK(says(refusal(folder, safetensors(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                           R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                           data)),
               "not where the last ended"));
    CHECK(
        says(refusal(folder, safetensors(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", data)),
             "not where the last ended"));
}

TEST_CASE("a shape that does not fit its values is not written") {
    const TemporaryFolder folder;
    SafeTensors content;
    content.tensors["a"] = {{2, 2}, {1.0f, 2.0f, 3.0f}};
    const std::string path = folder / "bad.safetensors";
    CHECK_THROWS_AS(tvmap::write_safetensors(path, content), tvmap::Error);
    CHECK(!std::filesystem::exists(path));
}
