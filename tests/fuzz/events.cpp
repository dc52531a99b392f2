// TensorBoard's event files, which the program only writes: the names of those that are there, and the scalars, are
// anything; what is written is read back by a reader that shares nothing with the writer.
#include "engine/files/event_file.h"

#include <cstring>

#include "tests/fuzz/folder.h"

namespace {

using namespace tvmap;

/// Takes the input apart.
struct Bytes {
    std::string_view rest;
    std::string_view take(std::size_t count) {
        const std::string_view taken = rest.substr(0, count);
        rest.remove_prefix(taken.size());
        return taken;
    }
    template <class T>
    T number() {
        T value{};
        const std::string_view bytes = take(sizeof value);
        std::memcpy(&value, bytes.data(), bytes.size());
        return value;
    }
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0;; shift += 7) {
            fuzz::demand(!rest.empty() && shift < 64, "a whole varint");
            const auto byte = number<unsigned char>();
            value |= std::uint64_t(byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
    }
};

std::uint32_t masked_crc32c(std::string_view bytes) {
    std::uint32_t crc = 0xffffffff;
    for (const char byte : bytes) {
        crc ^= static_cast<unsigned char>(byte);
        for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/// The fields of a message: (number, content); numbers as the 8 bytes of their value.
template <class See>
void fields(std::string_view message, const See& see) {
    for (Bytes bytes{message}; !bytes.rest.empty();) {
        const std::uint64_t key = bytes.varint();
        std::string content;
        switch (key & 7) {
            case 0: {
                const std::uint64_t value = bytes.varint();
                content.assign(reinterpret_cast<const char*>(&value), sizeof value);
                break;
            }
            case 1:
                content = bytes.take(8);
                break;
            case 2:
                content = bytes.take(bytes.varint());
                break;
            case 5:
                content = bytes.take(4);
                break;
            default:
                fuzz::demand(false, "a known wire type");
        }
        see(int(key >> 3), content);
    }
}

struct Seen {
    long long step = 0;
    std::string tag, value;
};

std::vector<Seen> scalars_in(const std::string& file) {
    std::vector<Seen> found;
    for (Bytes bytes{file}; !bytes.rest.empty();) {
        const std::string_view length = bytes.take(8);
        fuzz::demand(length.size() == 8 && bytes.number<std::uint32_t>() == masked_crc32c(length),
                     "a checked length");
        const std::string_view record = bytes.take(Bytes{length}.number<std::uint64_t>());
        fuzz::demand(bytes.number<std::uint32_t>() == masked_crc32c(record), "a checked record");
        Seen seen;
        bool scalar = false;
        fields(record, [&](int event, const std::string& content) {
            if (event == 2) seen.step = Bytes{content}.number<long long>();
            if (event != 5) return;
            scalar = true;
            fields(content, [&](int, const std::string& value) {
                fields(value, [&](int part, const std::string& bare) {
                    (part == 1 ? seen.tag : seen.value) = bare;
                });
            });
        });
        if (scalar) found.push_back(seen);
    }
    return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Bytes input{{reinterpret_cast<const char*>(data), size}};
    const fuzz::Folder folder("events");
    std::string older = "events.out.tfevents." + std::string(input.take(input.number<unsigned char>() % 64));
    for (char& c : older)
        if (c == '/' || c == '\0') c = '.';
    folder.write(older, "");
    const auto next_step = input.number<long long>(), step = input.number<long long>();
    std::vector<Scalar> scalars;
    while (!input.rest.empty()) {
        Scalar scalar;
        scalar.value = input.number<float>();
        scalar.tag = input.take(input.number<unsigned char>());
        scalars.push_back(scalar);
    }
    fuzz::may_refuse([&] {
        EventFile events(folder.path(), next_step);
        events.append(step, scalars);
        std::filesystem::path written;
        for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
            if (entry.path().filename() != older) written = entry.path();
        const std::vector<Seen> found = scalars_in(fuzz::Folder::read(written));
        fuzz::demand(found.size() == scalars.size(), "every scalar");
        for (std::size_t i = 0; i < found.size(); ++i) {
            fuzz::demand(found[i].step == step && found[i].tag == scalars[i].tag, "its step and tag");
            fuzz::demand(std::memcmp(found[i].value.data(), &scalars[i].value, sizeof(float)) == 0,
                         "its value");
        }
    });
    return 0;
}
