#include "engine/files/event_file.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "engine/files/checksum.h"
#include "engine/files/format.h"
#include "kernels/base/error.h"

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

using Microseconds = std::chrono::microseconds;

Microseconds now() {
    return std::chrono::duration_cast<Microseconds>(std::chrono::system_clock::now().time_since_epoch());
}

double seconds(Microseconds time) { return double(time.count()) / 1e6; }

const std::string prefix = "events.out.tfevents.";

/// This machine and process as a part of a file name.
std::string place() {
    char host[256] = {};
    ::gethostname(host, sizeof host - 1);
    for (char* c = host; *c; ++c)
        if (!std::isalnum(static_cast<unsigned char>(*c)) && *c != '-') *c = '-';
    return text(host, ".", ::getpid());
}

std::string name_at(Microseconds time) {
    constexpr long long second = 1'000'000;
    return format("%s%010lld.%06lld.%s", prefix.c_str(), (long long)time.count() / second,
                  (long long)time.count() % second, place().c_str());
}

/// Behind the last file in the order of names: of now; where the clock was set back, of the second after the last's.
std::string new_name(const std::string& folder) {
    std::string last;
    for (const auto& entry : std::filesystem::directory_iterator(folder))
        if (const std::string name = entry.path().filename().string(); name.starts_with(prefix))
            last = std::max(last, name);
    const std::string name = name_at(now());
    if (name > last) return name;
    long long second = 0;
    std::from_chars(last.data() + prefix.size(), last.data() + last.size(), second);
    constexpr long long latest = 9'999'999'998;  // with ten digits, as all have
    return 0 <= second && second <= latest ? name_at(std::chrono::seconds(second + 1)) : last + ".1";
}

// Event: 1 wall_time, 2 step, 3 file_version, 5 summary, 7 session_log; Summary: 1 value; Value: 1 tag, 2
// simple_value; SessionLog: 1 status, of which 1 is START.
std::string event(Microseconds time, long long step, const std::string& content) {
    return record(double_field(1, seconds(time)) + number_field(2, std::uint64_t(step)) + content);
}

}  // namespace

void EventFile::append(long long step, const std::vector<Scalar>& scalars) {
    const Microseconds time = now();
    std::string records;
    if (!file_) {
        file_ = std::make_unique<GrowingFile>(folder_ + "/" + new_name(folder_));
        records = event(time, 0, bytes_field(3, "brain.Event:2")) +
                  event(time, next_step_, bytes_field(7, number_field(1, 1)));
    }
    for (const Scalar& scalar : scalars)
        records +=
            event(time, step,
                  bytes_field(5, bytes_field(1, bytes_field(1, scalar.tag) + float_field(2, scalar.value))));
    file_->append(records);
}

}  // namespace tvmap
