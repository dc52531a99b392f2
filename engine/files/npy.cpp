// The .npy format (versions 1.0, 2.0, 3.0): "\x93NUMPY", major, minor, header length (2 bytes little-endian
// in version 1, else 4), a Python dictionary with descr, fortran_order and shape, then the values.
#include "engine/files/npy.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

static_assert(std::endian::native == std::endian::little, "values are copied as they lie in the file");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr const char* kConvert =
    "; save it with numpy.save(path, numpy.ascontiguousarray(a, dtype='float32'))";

struct Header {
    std::string descr;
    bool fortran_order = false;
    std::vector<std::int64_t> shape;
};

/// The dictionary {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } in any order of its keys.
class HeaderReader {
  public:
    HeaderReader(std::string_view header, const std::string& path) : rest_(header), path_(path) {}

    Header read() {
        Header header;
        int keys = 0;
        expect('{');
        while (!accept('}')) {
            const std::string key = quoted();
            expect(':');
            if (key == "descr")
                header.descr = dtype(), keys |= 1;
            else if (key == "fortran_order")
                header.fortran_order = boolean(), keys |= 2;
            else if (key == "shape")
                header.shape = tuple(), keys |= 4;
            else
                broken();
            if (!accept(',')) {
                expect('}');
                break;
            }
        }
        if (keys != 7) broken();
        skip_space();
        if (!rest_.empty()) broken();
        return header;
    }

  private:
    [[noreturn]] void broken() const { fail(path_, ": the .npy header is damaged", kConvert); }

    void skip_space() {
        while (!rest_.empty() && std::strchr(" \t\r\n", rest_.front()) != nullptr) rest_.remove_prefix(1);
    }
    bool accept(char wanted) {
        skip_space();
        if (rest_.empty() || rest_.front() != wanted) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void expect(char wanted) {
        if (!accept(wanted)) broken();
    }
    std::string quoted() {
        const char quote = accept('\'') ? '\'' : '"';
        if (quote == '"') expect('"');
        const std::size_t end = rest_.find(quote);
        if (end == rest_.npos) broken();
        std::string word(rest_.substr(0, end));
        rest_.remove_prefix(end + 1);
        return word;
    }
    std::string dtype() {
        skip_space();
        if (!rest_.empty() && rest_.front() == '[')
            fail(path_, ": a structured array where one of numbers is needed", kConvert);
        return quoted();
    }
    bool boolean() {
        skip_space();
        for (const std::string_view word : {"True", "False"})
            if (rest_.starts_with(word)) {
                rest_.remove_prefix(word.size());
                return word == "True";
            }
        broken();
    }
    std::vector<std::int64_t> tuple() {
        std::vector<std::int64_t> shape;
        expect('(');
        while (!accept(')')) {
            shape.push_back(number());
            if (!accept(',')) {
                expect(')');
                break;
            }
        }
        return shape;
    }
    std::int64_t number() {
        skip_space();
        std::int64_t value = 0;
        std::size_t digits = 0;
        while (digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '9' && digits < 16)
            value = 10 * value + (rest_[digits++] - '0');
        if (digits == 0) broken();
        rest_.remove_prefix(digits);
        return value;
    }

    std::string_view rest_;
    const std::string& path_;
};

/// As Python writes it.
std::string tuple_text(const std::vector<std::int64_t>& shape) {
    std::string out = "(";
    for (std::size_t i = 0; i < shape.size(); ++i) {
        if (i > 0) out += ' ';
        out += text(shape[i]);
        if (i + 1 < shape.size() || i == 0) out += ',';
    }
    return out + ")";
}

/// IEEE 754's binary16: sign, 5 bits of exponent, 10 of mantissa.
struct Half {
    std::uint16_t bits;
};
float number_of(Half half) {
    const int exponent = half.bits >> 10 & 31, mantissa = half.bits & 1023;
    float magnitude = 0;
    if (exponent == 31)
        magnitude = mantissa == 0 ? std::numeric_limits<float>::infinity() : std::nanf("");
    else if (exponent > 0)
        magnitude = std::ldexp(float(1024 + mantissa), exponent - 25);
    else
        magnitude = std::ldexp(float(mantissa), -24);
    return half.bits >> 15 ? -magnitude : magnitude;
}
template <class T>
T number_of(T value) {
    return value;
}

/// Where each value of the C order stands in the file: the same order, or the first index fastest.
class Places {
  public:
    Places(const std::vector<std::int64_t>& shape, bool fortran_order)
        : shape_(shape), index_(shape.size()), strides_(shape.size()) {
        std::size_t stride = 1;
        for (std::size_t d = 0; d < shape.size(); ++d) {
            const std::size_t axis = fortran_order ? d : shape.size() - 1 - d;
            strides_[axis] = stride;
            stride *= std::size_t(shape[axis]);
        }
    }

    /// The place of the next value.
    std::size_t next() {
        const std::size_t place = place_;
        for (std::size_t axis = shape_.size(); axis-- > 0;) {
            place_ += strides_[axis];
            if (++index_[axis] < shape_[axis]) break;
            place_ -= strides_[axis] * std::size_t(shape_[axis]);
            index_[axis] = 0;
        }
        return place;
    }

  private:
    const std::vector<std::int64_t>& shape_;
    std::vector<std::int64_t> index_;
    std::vector<std::size_t> strides_;
    std::size_t place_ = 0;
};

template <class T>
void convert(std::string_view bytes, bool big_endian, Places places, const std::string& path,
             std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        char stored[sizeof(T)];
        std::memcpy(stored, bytes.data() + places.next() * sizeof(T), sizeof(T));
        if (big_endian) std::reverse(stored, stored + sizeof(T));
        T value;
        std::memcpy(&value, stored, sizeof(T));
        const auto number = number_of(value);
        values[i] = float(number);
        if (!std::isfinite(values[i]))
            fail(path, ": the value at index ", i, " (flat, C order) is ", number,
                 std::isfinite(double(number)) ? ", too large for float32" : "",
                 "; replace it with a finite number");
    }
}

/// A numeric type of NumPy's: what stands for it behind the sign of the byte order, its size, and its reader.
struct Type {
    std::string_view name;
    std::size_t size;
    void (*convert)(std::string_view, bool, Places, const std::string&, std::vector<float>&);
};
template <class T>
constexpr Type type(std::string_view name) {
    return {name, sizeof(T), convert<T>};
}
constexpr Type kTypes[] = {type<float>("f4"),         type<double>("f8"),        type<Half>("f2"),
                           type<std::uint8_t>("u1"),  type<std::uint16_t>("u2"), type<std::uint32_t>("u4"),
                           type<std::uint64_t>("u8"), type<std::int8_t>("i1"),   type<std::int16_t>("i2"),
                           type<std::int32_t>("i4"),  type<std::int64_t>("i8"),  type<std::uint8_t>("b1"),
                           type<long double>("f16")};  // as C has it here

/// The type of a descr like '<f4' or '>i2' ('|' where there is no order to tell); null for any other.
const Type* type_of(std::string_view descr) {
    if (descr.size() < 3 || std::string_view("<>|=").find(descr[0]) == std::string_view::npos) return nullptr;
    for (const Type& known : kTypes)
        if (descr.substr(1) == known.name && (known.name != "f16" || known.size == 16)) return &known;
    return nullptr;
}

}  // namespace

bool is_npy(std::string_view content) { return content.starts_with(kMagic); }

NpyArray read_npy(const std::string& path) { return parse_npy(read_file(path), path); }

NpyArray parse_npy(std::string_view content, const std::string& path) {
    std::string_view rest = content;
    if (!is_npy(content)) fail(path, ": not a .npy file", kConvert);
    const auto byte = [&](std::size_t at) { return std::size_t(static_cast<unsigned char>(content[at])); };
    const auto truncated = [&]() { fail(path, ": the .npy header is truncated; write the file again"); };
    if (rest.size() < 10) truncated();
    const std::size_t version = byte(6);
    if (version < 1 || version > 3)
        fail(path, ": .npy version ", version, " is unknown (1 to 3 are read)", kConvert);
    const std::size_t start = version == 1 ? 10 : 12;
    if (rest.size() < start) truncated();
    std::size_t length = byte(8) | byte(9) << 8;
    if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
    if (rest.size() - start < length) truncated();

    const Header header = HeaderReader(rest.substr(start, length), path).read();
    rest.remove_prefix(start + length);
    const Type* const type = type_of(header.descr);
    if (type == nullptr)
        fail(path, ": dtype '", header.descr, "' is not read, only real numbers (float, int, bool)",
             kConvert);

    // Divide rather than multiply: a forged shape must not overflow.
    const std::size_t width = type->size;
    const std::size_t held = rest.size() / width;
    std::size_t count = 1;
    for (const std::int64_t extent : header.shape) {
        if (extent == 0)
            fail(path, ": the array ", tuple_text(header.shape), " is empty; give one with values");
        if (std::size_t(extent) > held / count)
            fail(path, ": truncated: its header says ", tuple_text(header.shape), ", but only ", held,
                 " values follow; write the file again");
        count *= std::size_t(extent);
    }
    if (rest.size() < count * width)
        fail(path, ": truncated: ", count * width, " bytes of values are due, ", rest.size(),
             " follow; write the file again");
    if (rest.size() > count * width)
        fail(path, ": ", rest.size() - count * width, " bytes follow the last value of ",
             tuple_text(header.shape), "; write the file again");

    NpyArray array{header.shape, std::vector<float>(count)};
    type->convert(rest, header.descr[0] == '>', {header.shape, header.fortran_order}, path, array.values);
    return array;
}

std::string encode_npy(const std::vector<std::int64_t>& shape, const float* values) {
    std::size_t count = 1;
    for (const std::int64_t extent : shape) count *= std::size_t(extent);
    std::string dictionary =
        "{'descr': '<f4', 'fortran_order': False, 'shape': " + (shape.empty() ? "()" : tuple_text(shape)) +
        ", }";
    // The values start at a multiple of 64 bytes; the header ends in a newline.
    while ((10 + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
    dictionary += '\n';

    std::string content(kMagic);
    content += {'\x01', '\x00', char(dictionary.size() & 0xff), char(dictionary.size() >> 8)};
    content += dictionary;
    content.append(reinterpret_cast<const char*>(values), count * sizeof(float));
    return content;
}

void write_npy(const std::string& path, const std::vector<std::int64_t>& shape, const float* values) {
    write_file(path, encode_npy(shape, values));
}

}  // namespace tvmap
