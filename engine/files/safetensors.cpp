// Reading trusts nothing: every length, offset and shape is checked against the file before memory is taken
// for it, so a broken or malicious file ends in an Error and never takes more memory than a small multiple of
// its size.
#include "engine/files/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "engine/files/file.h"
#include "kernels/base/error.h"

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian numbers");

namespace tvmap {
namespace {

using Json = nlohmann::json;

constexpr std::size_t length_bytes = 8;
constexpr std::uint64_t largest_header = 100'000'000;  // the format's own limit
constexpr std::size_t alignment = 64;

template <class T>
T load(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

float from_half(const char* bytes) {
    const auto half = load<std::uint16_t>(bytes);
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    float magnitude;
    if (exponent == 0)
        magnitude = std::ldexp(float(fraction), -24);
    else if (exponent < 31)
        magnitude = std::ldexp(float(1024 + fraction), exponent - 25);
    else
        magnitude =
            fraction == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    return half & 0x8000 ? -magnitude : magnitude;
}

float from_bfloat(const char* bytes) {
    return std::bit_cast<float>(std::uint32_t(load<std::uint16_t>(bytes)) << 16);
}

struct Type {
    std::string_view name;
    std::uint64_t bytes;
    float (*value)(const char* bytes);
};
constexpr Type types[] = {{"F32", 4, load<float>},
                          {"F64", 8, [](const char* bytes) { return float(load<double>(bytes)); }},
                          {"F16", 2, from_half},
                          {"BF16", 2, from_bfloat}};

/// The header's JSON. Keys given twice and deep nesting are refused while parsing.
Json parse_header(const std::string& path, std::string_view header) {
    std::vector<std::set<std::string>> keys;
    const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
        if (depth > 3) fail(path, ": broken safetensors header: nested too deeply");
        if (event == Json::parse_event_t::object_start) keys.emplace_back();
        if (event == Json::parse_event_t::object_end) keys.pop_back();
        if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
            fail(path, ": broken safetensors header: ", parsed.dump(), " is given twice");
        return true;
    };
    try {
        return Json::parse(header, watch);
    } catch (const Json::exception&) {
        fail(path, ": broken safetensors header: not valid JSON; get the file again");
    }
}

/// A list of numbers that fit a signed 64-bit integer and are not negative.
std::vector<std::uint64_t> sizes(const Json& list, const std::string& where) {
    if (!list.is_array()) fail(where, ": a list of sizes is missing");
    std::vector<std::uint64_t> values;
    for (const Json& element : list) {
        if (!element.is_number_unsigned() || element.get<std::uint64_t>() > std::uint64_t(INT64_MAX))
            fail(where, ": ", element.dump(), " is not a size");
        values.push_back(element.get<std::uint64_t>());
    }
    return values;
}

struct Extent {
    std::uint64_t begin, end;
    std::string name;
};

/// Reads one tensor and notes the bytes it takes.
StoredTensor read_tensor(const std::string& where, const Json& entry, std::string_view data, Extent& extent) {
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !entry.contains("shape") || !entry.contains("data_offsets"))
        fail(where, ": broken entry; it must have dtype, shape and data_offsets alone");

    const std::string dtype = entry["dtype"].get<std::string>();
    const auto type =
        std::find_if(std::begin(types), std::end(types), [&](const Type& t) { return t.name == dtype; });
    if (type == std::end(types))
        fail(where, ": type ", dtype, " cannot be read; store it as F32, F64, F16 or BF16");

    StoredTensor tensor;
    std::uint64_t count = 1;
    for (std::uint64_t side : sizes(entry["shape"], where)) {
        // No tensor has more values than the file has bytes, so the product cannot overflow unnoticed.
        if (side > 0 && count > data.size() / side)
            fail(where, ": the shape needs more bytes than the file has");
        count *= side;
        tensor.shape.push_back(std::int64_t(side));
    }

    const std::vector<std::uint64_t> offsets = sizes(entry["data_offsets"], where);
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size())
        fail(where, ": the offsets lie outside the file's ", data.size(),
             " bytes of data; the file may be cut short");
    if (offsets[1] - offsets[0] != count * type->bytes)
        fail(where, ": ", offsets[1] - offsets[0], " bytes are stored for ", count, " values of type ",
             dtype);
    extent.begin = offsets[0];
    extent.end = offsets[1];

    tensor.values.resize(count);
    const char* bytes = data.data() + offsets[0];
    for (std::uint64_t i = 0; i < count; ++i) tensor.values[i] = type->value(bytes + i * type->bytes);
    return tensor;
}

}  // namespace

SafeTensors read_safetensors(const std::string& path) {
    const std::string file = read_file(path);
    if (file.size() < length_bytes) fail(path, ": too short to be a safetensors file; get the file again");
    const auto header_bytes = load<std::uint64_t>(file.data());
    if (header_bytes > largest_header || header_bytes > file.size() - length_bytes)
        fail(path, ": not a whole safetensors file: the header needs ", header_bytes,
             " bytes and the file has ", file.size(), "; get the file again");
    const Json header = parse_header(path, std::string_view(file).substr(length_bytes, header_bytes));
    if (!header.is_object()) fail(path, ": broken safetensors header: not an object");
    const std::string_view data = std::string_view(file).substr(length_bytes + header_bytes);

    SafeTensors content;
    std::vector<Extent> extents;
    for (const auto& [name, entry] : header.items()) {
        if (name != "__metadata__") {
            extents.push_back({0, 0, name});
            content.tensors[name] = read_tensor(text(path, ": tensor ", name), entry, data, extents.back());
            continue;
        }
        if (!entry.is_object()) fail(path, ": broken safetensors header: __metadata__ is not an object");
        for (const auto& [key, value] : entry.items()) {
            if (!value.is_string())
                fail(path, ": broken safetensors header: __metadata__.", key, " is not a text");
            content.metadata[key] = value.get<std::string>();
        }
    }

    // Tensors cover the data from its first byte to its last, each byte once.
    std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
        return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::uint64_t covered = 0;
    for (const Extent& extent : extents) {
        if (extent.begin != covered)
            fail(path, ": tensor ", extent.name, " starts at byte ", extent.begin,
                 " of the data and not where the last ended, at ", covered);
        covered = extent.end;
    }
    if (covered != data.size())
        fail(path, ": ", data.size() - covered,
             " bytes after the last tensor belong to none; get the file again");
    return content;
}

void write_safetensors(const std::string& path, const SafeTensors& content) {
    std::map<std::string, TensorView> views;
    for (const auto& [name, tensor] : content.tensors)
        views[name] = {tensor.shape, tensor.values.data(), tensor.values.size()};
    write_safetensors(path, views, content.metadata);
}

void write_safetensors(const std::string& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
    Json header = Json::object();
    if (!metadata.empty()) header["__metadata__"] = metadata;
    std::uint64_t end = 0;
    for (const auto& [name, tensor] : tensors) {
        std::uint64_t count = 1;
        for (std::int64_t side : tensor.shape) count *= std::uint64_t(side);
        if (count != tensor.count || name == "__metadata__")
            fail(path, ": tensor ", name, " cannot be stored: its shape stands for ", count,
                 " values and it has ", tensor.count);
        const std::uint64_t begin = end;
        end += count * sizeof(float);
        header[name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {begin, end}}};
    }

    // Spaces after the header are part of it and bring the first tensor to its alignment.
    std::string json;
    try {
        json = header.dump();
    } catch (const Json::exception&) {
        fail(path, ": a tensor's name or the metadata is not UTF-8");
    }
    json.resize((length_bytes + json.size() + alignment - 1) / alignment * alignment - length_bytes, ' ');

    const std::uint64_t header_bytes = json.size();
    std::vector<std::string_view> pieces = {{reinterpret_cast<const char*>(&header_bytes), length_bytes},
                                            json};
    for (const auto& [name, tensor] : tensors)
        pieces.emplace_back(reinterpret_cast<const char*>(tensor.values), tensor.count * sizeof(float));
    write_file(path, pieces);
}

}  // namespace tvmap
