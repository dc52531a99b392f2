#include "engine/event_file.h"

#include <cstring>

#include "engine/checksum.h"

namespace tvmap {
namespace {

template <class T>
std::string little_endian(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);  // x86-64 and AArch64 are little-endian
    return bytes;
}

std::string varint(std::uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += char(value | 0x80);
    return bytes + char(value);
}

// Fields of a protocol buffer: the key is field number · 8 + wire type (0 varint, 1 eight bytes, 2 counted
// bytes, 5 four bytes).
std::string number_field(int field, std::uint64_t value) { return varint(field * 8) + varint(value); }
std::string double_field(int field, double value) { return varint(field * 8 + 1) + little_endian(value); }
std::string bytes_field(int field, const std::string& value) {
    return varint(field * 8 + 2) + varint(value.size()) + value;
}
std::string float_field(int field, float value) { return varint(field * 8 + 5) + little_endian(value); }

std::string masked_checksum(const std::string& bytes) {
    const std::uint32_t crc = checksum<crc32c_polynomial>(bytes);
    return little_endian(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
}

std::string record(const std::string& event) {
    const std::string length = little_endian(std::uint64_t(event.size()));
    return length + masked_checksum(length) + event + masked_checksum(event);
}

}  // namespace

std::string event_file(const std::vector<ScalarEvent>& events) {
    // Event: 1 wall_time, 2 step, 3 file_version, 5 summary; Summary: 1 value; Value: 1 tag, 2 simple_value.
    const double start = events.empty() ? 0 : events.front().wall_time;
    std::string file = record(double_field(1, start) + bytes_field(3, "brain.Event:2"));
    for (const ScalarEvent& e : events) {
        const std::string value = bytes_field(1, e.tag) + float_field(2, e.value);
        file += record(double_field(1, e.wall_time) + number_field(2, std::uint64_t(e.step)) +
                       bytes_field(5, bytes_field(1, value)));
    }
    return file;
}

}  // namespace tvmap
