// What a PNG file says about itself, read byte by byte; checksums bit by bit.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace reference {

struct PngChunk {
    std::string type, data;
};

inline std::uint32_t png_number(const std::string& bytes, std::size_t at) {
    std::uint32_t value = 0;
    for (std::size_t i = at; i < at + 4; ++i) value = value * 256 + static_cast<unsigned char>(bytes.at(i));
    return value;
}

/// Remainder of the message polynomial, one bit at a time (PNG specification, annex D, in words).
inline std::uint32_t png_checksum(const std::string& bytes) {
    std::uint32_t remainder = 0xFFFFFFFFu;
    for (const char c : bytes)
        for (int bit = 0; bit < 8; ++bit) {
            const bool out = (remainder ^ (std::uint32_t(static_cast<unsigned char>(c)) >> bit)) & 1u;
            remainder = (remainder >> 1) ^ (out ? 0xEDB88320u : 0u);
        }
    return ~remainder;
}

/// Throws where a length or checksum is wrong or anything follows the last chunk.
inline std::vector<PngChunk> png_chunks(const std::string& png) {
    std::vector<PngChunk> chunks;
    std::size_t at = 8;
    while (at < png.size()) {
        const std::uint32_t length = png_number(png, at);
        const std::string body = png.substr(at + 4, 4 + std::size_t(length));
        if (png_number(png, at + 8 + length) != png_checksum(body)) throw std::runtime_error("checksum");
        chunks.push_back({body.substr(0, 4), body.substr(4)});
        at += 12 + std::size_t(length);
    }
    return chunks;
}

}  // namespace reference
