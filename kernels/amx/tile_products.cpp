// The products themselves, two tiles by two: each tile that is loaded serves two products.
#include <cstddef>

#include "kernels/amx/tile_convolution.h"
#include "kernels/amx/tile_kernels.h"
#include "kernels/amx/tile_store.h"
#include "kernels/amx/tiles.h"

namespace tvmap::cpu::amx {
namespace {

/// body(tiles) with the processor's, or plain ones.
template <class Body>
void with_tiles([[maybe_unused]] bool plain, const Body& body) {
#if defined(__x86_64__)
    if (!plain) {
        AmxTiles tiles;
        return body(tiles);
    }
#endif
    PlainTiles tiles;
    body(tiles);
}

template <class Tiles>
void zero_sums(Tiles& tiles) {
    tiles.template zero<0>();
    tiles.template zero<1>();
    tiles.template zero<2>();
    tiles.template zero<3>();
}

// Of 32 rows of the left factor, left_row bytes apart, and two tiles of the right one.
template <class Tiles>
void multiply(Tiles& tiles, const std::byte* left, std::int64_t left_row, const std::byte* right,
              const std::byte* right_next) {
    tiles.template load<4>(left, left_row);
    tiles.template load<6>(right, tile_row_bytes);
    tiles.template multiply<0, 4, 6>();
    tiles.template load<7>(right_next, tile_row_bytes);
    tiles.template multiply<1, 4, 7>();
    tiles.template load<5>(left + tile_rows * left_row, left_row);
    tiles.template multiply<2, 5, 6>();
    tiles.template multiply<3, 5, 7>();
}

// To 32 rows of 32 floats.
template <class Tiles>
void store_sums(Tiles& tiles, float* to) {
    constexpr std::int64_t row = group * sizeof(float);
    tiles.template store<0>(to, row);
    tiles.template store<1>(to + group / 2, row);
    tiles.template store<2>(to + tile_rows * group, row);
    tiles.template store<3>(to + tile_rows * group + group / 2, row);
}

// Σ over positions of 32 outputs times 16 inputs at three neighbouring positions, whose pairs begin at `at[tap]`: what is
// loaded of the second cache for the first of them serves the third, too. To 32 rows of 16 floats of each tap's sums.
template <class Tiles>
void sum_three_taps(Tiles& tiles, const std::byte* outputs, std::int64_t output_row, std::int64_t pairs,
                    const std::byte* const (&at)[3], float* sums) {
    zero_sums(tiles);
    tiles.template zero<4>();
    tiles.template zero<5>();
    const std::byte* other = outputs + tile_rows * output_row;
    for (std::int64_t pair = 0; pair < pairs; pair += tile_rows) {
        const std::int64_t row = pair * tile_row_bytes;
        tiles.template load<6>(outputs, output_row);
        tiles.template load<7>(at[0] + row, tile_row_bytes);
        tiles.template multiply<0, 6, 7>();
        tiles.template load<6>(other, output_row);
        tiles.template multiply<1, 6, 7>();
        tiles.template load<7>(at[1] + row, tile_row_bytes);
        tiles.template multiply<3, 6, 7>();
        tiles.template load<6>(outputs, output_row);
        tiles.template multiply<2, 6, 7>();
        tiles.template load<7>(at[2] + row, tile_row_bytes);
        tiles.template multiply<4, 6, 7>();
        tiles.template load<6>(other, output_row);
        tiles.template multiply<5, 6, 7>();
        outputs += tile_row_bytes;
        other += tile_row_bytes;
    }
    constexpr std::int64_t row = group * sizeof(float), of_tap = group * group, half = tile_rows * group;
    tiles.template store<0>(sums, row);
    tiles.template store<1>(sums + half, row);
    tiles.template store<2>(sums + of_tap, row);
    tiles.template store<3>(sums + of_tap + half, row);
    tiles.template store<4>(sums + 2 * of_tap, row);
    tiles.template store<5>(sums + 2 * of_tap + half, row);
}

const std::byte* bytes(const Bfloat16* numbers) { return reinterpret_cast<const std::byte*>(numbers); }

}  // namespace

void convolve_rows(const RowsTask& task, const Plane& plane, bool plain) {
    const int groups = groups_of(task.inputs);
    const std::int64_t count = task.rows.positions(plane);
    const int taps = plane.taps();
    std::int64_t shifts[9];
    for (int tap = 0; tap < taps; ++tap) shifts[tap] = plane.shift(tap) * group;
    with_tiles(plain, [&](auto& tiles) {
        alignas(64) float sums[together * group];
        for (std::int64_t position = 0; position < count; position += together) {
            zero_sums(tiles);
            for (int g = 0; g < groups; ++g) {
                const Bfloat16* const source =
                    task.source + g * task.source_group + (Rows::lead + plane.width() + position) * group;
                const std::byte* weight = bytes(task.weight + g * packed_weight_numbers(taps));
                for (int tap = 0; tap < taps; ++tap, weight += 2 * tile_bytes)
                    multiply(tiles, bytes(source + shifts[tap]), tile_row_bytes, weight, weight + tile_bytes);
            }
            store_sums(tiles, sums);
            store_results(task, plane, position, int(std::min<std::int64_t>(together, count - position)),
                          sums, plain);
        }
    });
}

double multiply_tiles(std::int64_t rounds) {
    with_tiles(false, [&](auto& tiles) {
        zero_sums(tiles);
        tiles.template zero<4>();
        tiles.template zero<5>();
        tiles.template zero<6>();
        tiles.template zero<7>();
        for (std::int64_t i = 0; i < rounds; ++i) {
            tiles.template multiply<0, 4, 6>();
            tiles.template multiply<1, 4, 7>();
            tiles.template multiply<2, 5, 6>();
            tiles.template multiply<3, 5, 7>();
        }
    });
    return double(rounds) * 4 * 2 * 16 * 16 * 32;
}

void sum_products(const SumsTask& task, const Plane& plane, bool plain, float* sums) {
    const std::int64_t pairs = whole(task.rows.positions(plane)) / 2,
                       row = task.row_numbers * std::int64_t(sizeof(Bfloat16));
    const std::byte* const outputs = bytes(task.outputs);
    // Where the pairs begin that a tap multiplies with the first output's, of 16 of the inputs.
    const auto neighbours = [&](int tap, int half) {
        const std::int64_t position = Rows::lead + plane.width() + plane.shift(tap), odd = position % 2;
        return bytes(task.inputs[odd]) +
               ((position + odd) / 2 + half * task.source_positions / 2) * tile_row_bytes;
    };
    with_tiles(plain, [&](auto& tiles) {
        if (plane.kernel == 1) {
            zero_sums(tiles);
            for (std::int64_t pair = 0; pair < pairs; pair += tile_rows)
                multiply(tiles, outputs + pair / tile_rows * tile_row_bytes, row,
                         neighbours(0, 0) + pair * tile_row_bytes, neighbours(0, 1) + pair * tile_row_bytes);
            store_sums(tiles, sums);
            return;
        }
        for (int half = 0; half < 2; ++half)
            for (int tap = 0; tap < plane.taps(); tap += 3)
                sum_three_taps(tiles, outputs, row, pairs,
                               {neighbours(tap, half), neighbours(tap + 1, half), neighbours(tap + 2, half)},
                               sums + tap * group * group + half * group / 2);
    });
}

}  // namespace tvmap::cpu::amx
