// Tile registers: eight matrices of 16 rows of 64 bytes each, and products of bf16 in them,
//     C[i][j] += Σ_k A[i][k]·B[k][j]        A: 16×32 bf16, row by row        C: 16×16 floats, row by row
//                                           B: 32×16 bf16, row k / 2 holds the pairs (B[k][j], B[k + 1][j]) of its columns j
// AmxTiles are the processor's. PlainTiles compute the same on any machine, for tests; only the order of the 32 additions
// differs, and that the processor takes numbers below 2^-126 for zero.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/base/element.h"

namespace tvmap::cpu::amx {

inline constexpr int tile_rows = 16, tile_row_bytes = 64, tile_bytes = tile_rows * tile_row_bytes;

#if defined(__x86_64__)
/// Exists once for each thread: while one lives, the thread's tile registers are configured. Needs has_tiles().
class AmxTiles {
  public:
    AmxTiles() {
        struct alignas(64) {
            std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
            std::uint16_t row_bytes[16] = {};
            std::uint8_t rows[16] = {};
        } shapes;
        for (int t = 0; t < 8; ++t) {
            shapes.row_bytes[t] = tile_row_bytes;
            shapes.rows[t] = tile_rows;
        }
        asm volatile("ldtilecfg %0" ::"m"(shapes));
    }
    ~AmxTiles() { asm volatile("tilerelease"); }
    AmxTiles(const AmxTiles&) = delete;
    AmxTiles& operator=(const AmxTiles&) = delete;

    template <int t>
    void zero() {
        asm volatile("tilezero %%tmm%c0" ::"i"(t));
    }
    template <int t>
    void load(const void* from, std::int64_t row_bytes) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "i"(t) : "memory");
    }
    template <int t>
    void store(void* to, std::int64_t row_bytes) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "i"(t) : "memory");
    }
    template <int c, int a, int b>
    void multiply() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
    }
};
#endif

class PlainTiles {
  public:
    template <int t>
    void zero() {
        std::memset(tiles_[t], 0, tile_bytes);
    }
    template <int t>
    void load(const void* from, std::int64_t row_bytes) {
        for (int i = 0; i < tile_rows; ++i)
            std::memcpy(tiles_[t] + i * tile_row_bytes, static_cast<const std::byte*>(from) + i * row_bytes,
                        tile_row_bytes);
    }
    template <int t>
    void store(void* to, std::int64_t row_bytes) {
        for (int i = 0; i < tile_rows; ++i)
            std::memcpy(static_cast<std::byte*>(to) + i * row_bytes, tiles_[t] + i * tile_row_bytes,
                        tile_row_bytes);
    }
    template <int c, int a, int b>
    void multiply() {
        float sums[16][16], left[16][32], right[32][16];
        Bfloat16 numbers[16][32];
        std::memcpy(sums, tiles_[c], tile_bytes);
        std::memcpy(numbers, tiles_[a], tile_bytes);
        for (int i = 0; i < 16; ++i)
            for (int k = 0; k < 32; ++k) left[i][k] = to_float(numbers[i][k]);
        std::memcpy(numbers, tiles_[b], tile_bytes);
        for (int k = 0; k < 32; ++k)
            for (int j = 0; j < 16; ++j) right[k][j] = to_float(numbers[k / 2][2 * j + k % 2]);
        for (int i = 0; i < 16; ++i)
            for (int k = 0; k < 32; ++k)
                for (int j = 0; j < 16; ++j) sums[i][j] += left[i][k] * right[k][j];
        std::memcpy(tiles_[c], sums, tile_bytes);
    }

  private:
    alignas(64) std::byte tiles_[8][tile_bytes];
};

}  // namespace tvmap::cpu::amx
