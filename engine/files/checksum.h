// Cyclic redundancy checks of 32 bits, least significant bit first, all ones before and inverted after.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace tvmap {

/// Polynomials, bit-reversed: CRC-32 of PNG and zlib, and CRC-32C (Castagnoli).
inline constexpr std::uint32_t crc32_polynomial = 0xEDB88320, crc32c_polynomial = 0x82F63B78;

template <std::uint32_t polynomial>
std::uint32_t checksum(std::string_view bytes) {
    static constexpr auto table = [] {
        std::array<std::uint32_t, 256> remainders{};
        for (std::uint32_t i = 0; i < 256; ++i) {
            std::uint32_t remainder = i;
            for (int bit = 0; bit < 8; ++bit) remainder = remainder >> 1 ^ (remainder & 1 ? polynomial : 0);
            remainders[i] = remainder;
        }
        return remainders;
    }();
    std::uint32_t crc = ~0u;
    for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
    return ~crc;
}

}  // namespace tvmap
