// Between tensors and what products of tiles are made of.
#include <algorithm>
#include <cstring>

#include "kernels/amx/tile_kernels.h"
#include "kernels/amx/tile_store.h"
#include "kernels/base/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/amx/tile_packing.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_AMX_PACKING_ONCE
#define TVMAP_KERNELS_AMX_PACKING_ONCE
namespace tvmap::cpu::amx {
constexpr int block = 16;  // channels of a tensor that lie together
static_assert(group == 2 * block);

// The numbers of a row of one block of channels: its first pixel's.
template <class T>
T* line_of(const FeatureView<T>& x, const Plane& plane, std::int64_t row, int channel) {
    return x.image(plane.image(row)) +
           (std::int64_t(channel / block) * plane.h + plane.line(row)) * plane.w * block;
}
}  // namespace tvmap::cpu::amx
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

using namespace amx;

void clear(std::int64_t count, Bfloat16* to) { std::memset(to, 0, std::size_t(count) * sizeof(Bfloat16)); }

HWY_INLINE void copy_block(const Bfloat16* from, Bfloat16* to) {
    const hn::CappedTag<std::uint16_t, block> d;
    for (int k = 0; k < block; k += int(hn::MaxLanes(d)))
        hn::StoreU(hn::LoadU(d, &from[k].bits), d, &to[k].bits);
}

void pack_pixels(const FeatureView<const Bfloat16>& x, const Plane& plane, Rows rows, int channel_group,
                 Bfloat16* to) {
    const int channel = channel_group * group;
    const bool whole_group = channel + block < x.shape.c;
    Bfloat16* const end = to + rows.source_positions(plane) * group;
    clear(Rows::lead * group, to);
    to += Rows::lead * group;
    for (std::int64_t row = rows.from - 1; row <= rows.to; ++row) {
        if (plane.is_zeros(row)) {
            clear(plane.width() * group, to);
            to += plane.width() * group;
            continue;
        }
        clear(group, to);
        to += group;
        const Bfloat16* from = line_of(x, plane, row, channel);
        const std::int64_t next = std::int64_t(plane.h) * plane.w * block;
        for (int j = 0; j < plane.w; ++j, from += block, to += group) {
            copy_block(from, to);
            if (whole_group)
                copy_block(from + next, to + block);
            else
                clear(block, to + block);
        }
    }
    clear(end - to, to);
}

#if HWY_TARGET != HWY_SCALAR
using Eight = hn::FixedTag<std::uint16_t, 8>;
using Numbers = hn::Vec<Eight>;

// Of words of any width, as if they were 16 bits wide.
template <class Word>
HWY_INLINE Numbers lower(Numbers a, Numbers b) {
    const hn::Repartition<Word, Eight> d;
    return hn::BitCast(Eight(), hn::InterleaveLower(d, hn::BitCast(d, a), hn::BitCast(d, b)));
}
template <class Word>
HWY_INLINE Numbers upper(Numbers a, Numbers b) {
    const hn::Repartition<Word, Eight> d;
    return hn::BitCast(Eight(), hn::InterleaveUpper(d, hn::BitCast(d, a), hn::BitCast(d, b)));
}

// 8 pixels' 8 channels, one pixel `block` numbers after the other, to 8 channels' 8 pixels.
HWY_INLINE void transpose(const Bfloat16* from, Bfloat16* to, std::int64_t row_numbers) {
    using u16 = std::uint16_t;
    using u32 = std::uint32_t;
    using u64 = std::uint64_t;
    const Eight d;
    Numbers a[8], b[8];
    for (int i = 0; i < 8; ++i) a[i] = hn::LoadU(d, &from[i * block].bits);
    for (int i = 0; i < 4; ++i) {
        b[i] = lower<u16>(a[2 * i], a[2 * i + 1]);      // channels 0–3 of two pixels
        b[4 + i] = upper<u16>(a[2 * i], a[2 * i + 1]);  // channels 4–7
    }
    for (int i = 0; i < 4; ++i) {
        a[2 * i] = lower<u32>(b[2 * i], b[2 * i + 1]);  // two channels of four pixels
        a[2 * i + 1] = upper<u32>(b[2 * i], b[2 * i + 1]);
    }
    for (int half = 0; half < 2; ++half)
        for (int i = 0; i < 2; ++i) {
            Bfloat16* const row = to + (4 * half + 2 * i) * row_numbers;
            hn::StoreU(lower<u64>(a[4 * half + i], a[4 * half + 2 + i]), d, &row->bits);
            hn::StoreU(upper<u64>(a[4 * half + i], a[4 * half + 2 + i]), d, &row[row_numbers].bits);
        }
}
#endif

HWY_INLINE void transpose_line(const Bfloat16* from, int pixels, Bfloat16* to, std::int64_t row_numbers) {
    int j = 0;
#if HWY_TARGET != HWY_SCALAR
    for (int next = 0; pixels >= 8 && next < pixels; next += 8) {
        j = std::min(next, pixels - 8);  // the last pixels overlap those before
        for (int c = 0; c < block; c += 8)
            transpose(from + j * block + c, to + c * row_numbers + j, row_numbers);
    }
    if (pixels >= 8) return;
#endif
    for (; j < pixels; ++j)
        for (int c = 0; c < block; ++c) to[c * row_numbers + j] = from[j * block + c];
}

void pack_channels(const FeatureView<const Bfloat16>& x, const Plane& plane, Rows rows, int channel_group,
                   std::int64_t row_numbers, Bfloat16* to) {
    for (int half = 0; half < 2; ++half, to += block * row_numbers) {
        const int channel = channel_group * group + half * block;
        if (channel >= x.shape.c) {
            clear(block * row_numbers, to);
            continue;
        }
        std::int64_t place = 0;
        for (std::int64_t row = rows.from; row < rows.to; ++row, place += plane.width()) {
            const bool zeros = plane.is_zeros(row);
            for (int c = 0; c < block; ++c) clear(zeros ? plane.width() : 1, to + c * row_numbers + place);
            if (!zeros) transpose_line(line_of(x, plane, row, channel), plane.w, to + place + 1, row_numbers);
        }
        for (int c = 0; c < block; ++c) clear(row_numbers - place, to + c * row_numbers + place);
    }
}

// Where in a row of pairs a channel of a block is: what interleaves vectors does so within every 128 bits.
HWY_INLINE int place_in_pairs(int channel) {
#if HWY_TARGET != HWY_SCALAR
    if (hn::MaxLanes(hn::CappedTag<std::uint16_t, block>()) == block)
        return channel / 4 % 2 * 8 + channel / 8 * 4 + channel % 4;
#endif
    return channel;
}

// Two pixels' 16 channels, or one's with zeros before or after, in the order of place_in_pairs().
HWY_INLINE void pair_up(const Bfloat16* first, const Bfloat16* second, Bfloat16* to) {
#if HWY_TARGET != HWY_SCALAR
    const hn::CappedTag<std::uint16_t, block> d;
    constexpr int lanes = int(hn::MaxLanes(d));
    for (int c = 0; c < block; c += lanes) {
        const auto a = first ? hn::LoadU(d, &first[c].bits) : hn::Zero(d);
        const auto b = second ? hn::LoadU(d, &second[c].bits) : hn::Zero(d);
        hn::StoreU(hn::InterleaveLower(d, a, b), d, &to[2 * c].bits);
        hn::StoreU(hn::InterleaveUpper(d, a, b), d, &to[2 * c + lanes].bits);
    }
#else
    for (int c = 0; c < block; ++c) {
        to[2 * c] = first ? first[c] : Bfloat16{0};
        to[2 * c + 1] = second ? second[c] : Bfloat16{0};
    }
#endif
}

void pack_pairs(const FeatureView<const Bfloat16>& x, const Plane& plane, Rows rows, int channel_group,
                std::int64_t first, std::int64_t positions, Bfloat16* to) {
    const std::int64_t numbers = positions * block;
    for (int half = 0; half < 2; ++half, to += numbers) {
        const int channel = channel_group * group + half * block;
        if (channel >= x.shape.c) {
            clear(numbers, to);
            continue;
        }
        // A pair never has pixels of two rows, whose zeros are between them. One that begins with a row's last pixel
        // is that row's.
        const auto pair = [&](std::int64_t position) HWY_ATTR { return to + position / 2 * 2 * block; };
        const auto next_pair = [&](std::int64_t position) HWY_ATTR { return pair(position + 1); };
        std::int64_t start = first;
        clear(next_pair(start) - to, to);
        for (std::int64_t row = rows.from; row < rows.to; ++row, start += plane.width()) {
            const std::int64_t end = start + plane.width();
            if (plane.is_zeros(row)) {
                clear(next_pair(end) - next_pair(start), next_pair(start));
                continue;
            }
            const Bfloat16* from = line_of(x, plane, row, channel);
            std::int64_t at = start + 1;
            if (at % 2 == 1) {
                pair_up(nullptr, from, pair(at));
                ++at;
                from += block;
            }
            for (; at + 1 < end; at += 2, from += 2 * block) pair_up(from, from + block, pair(at));
            if (at < end) pair_up(from, nullptr, pair(at));
        }
        clear(to + numbers - next_pair(start), next_pair(start));
    }
}

template <int taps, bool transposed>
void pack_group(const WeightPacking& packing, int input_group, int output_group, Bfloat16* to) {
    // Lines of memory: an output's inputs, or, transposed, an input's outputs.
    constexpr int line = group * taps;
    alignas(64) std::uint16_t rounded[group][line];
    const int lines = transposed ? packing.inputs : packing.outputs,
              columns = transposed ? packing.outputs : packing.inputs;
    const int first_line = (transposed ? input_group : output_group) * group,
              first_column = (transposed ? output_group : input_group) * group;
    const int used = std::min(group, columns - first_column) * taps;
    for (int k = 0; k < group; ++k) {
        const bool exists = first_line + k < lines;
        if (exists) {
            const float* const from =
                packing.weight + (std::int64_t(first_line + k) * columns + first_column) * taps;
            for_each_vector(used, [&](auto d, std::int64_t i) HWY_ATTR {
                store(load(d, from + i), d, reinterpret_cast<Bfloat16*>(rounded[k] + i));
            });
        }
        std::fill(rounded[k] + (exists ? used : 0), rounded[k] + line, std::uint16_t(0));
    }
    // Of a stride that it knows GCC 12 makes shuffles, twice as slow, if the numbers go from lines to columns.
    const int stride = packing.taps;
    auto* numbers = reinterpret_cast<std::uint16_t*>(to);
    for (int tap = 0; tap < taps; ++tap)
        for (int half = 0; half < group; half += block)
            for (int input = 0; input < group; input += 2)
                for (int output = half; output < half + block; ++output, numbers += 2)
                    if constexpr (transposed) {
                        numbers[0] = rounded[input][output * taps + taps - 1 - tap];
                        numbers[1] = rounded[input + 1][output * taps + taps - 1 - tap];
                    } else {
                        numbers[0] = rounded[output][input * stride + tap];
                        numbers[1] = rounded[output][(input + 1) * stride + tap];
                    }
}

void pack_weights(const WeightPacking& packing, int input_group, int output_group, Bfloat16* to) {
    const auto pack = packing.taps == 1    ? packing.transposed ? pack_group<1, true> : pack_group<1, false>
                         : packing.transposed ? pack_group<9, true>
                                           : pack_group<9, false>;
    pack(packing, input_group, output_group, to);
}

// As store() (kernels/base/simd_loops.h), by the one instruction that processors with tiles have; it takes numbers below
// 2^-126 for zero.
template <bool accumulate, bool plain, class D>
HWY_INLINE void round_out(D d, hn::Vec<D> value, Bfloat16* to) {
#if HWY_TARGET == HWY_AVX3
    if constexpr (!plain) {
        const hn::Rebind<std::uint16_t, D> narrow;
        if constexpr (accumulate) value = hn::Add(load(d, to), value);
        __m256i rounded;
        asm("vcvtneps2bf16 %1, %0" : "=v"(rounded) : "v"(value.raw));
        hn::StoreU(hn::Vec<decltype(narrow)>{rounded}, narrow, &to->bits);
        return;
    }
#endif
    write_out<accumulate>(d, value, to);
}

// A run of pixels of one block of outputs. `bias` is of that block.
template <bool accumulate, bool activates, bool plain>
HWY_INLINE void store_run(const float* sums, int count, const float* bias, float slope, Bfloat16* to) {
    const hn::CappedTag<float, block> d;
    constexpr int lanes = int(hn::MaxLanes(d));
    for (int c = 0; c < block; c += lanes) {
        const auto add = bias ? hn::LoadU(d, bias + c) : hn::Zero(d);
        const auto factor = hn::Set(d, slope);
        const float* from = sums + c;
        Bfloat16* at = to + c;
        for (int i = 0; i < count; ++i, from += group, at += block) {
            auto value = hn::Load(d, from);
            if constexpr (activates) {
                value = hn::Add(value, add);
                value = hn::IfThenElse(hn::Gt(value, hn::Zero(d)), value, hn::Mul(value, factor));
            }
            round_out<accumulate, plain>(d, value, at);
        }
    }
}

template <bool plain>
void store_rows(const RowsTask& task, const Plane& plane, std::int64_t first, int count, const float* sums) {
    const auto y = as<Bfloat16>(task.y);
    for (int i = 0; i < count;) {
        const std::int64_t position = first + i, row = task.rows.from + position / plane.width();
        const int column = int(position % plane.width());
        const int length = int(std::min<std::int64_t>(count - i, plane.width() - column));
        const int skipped = plane.is_zeros(row) ? length : column == 0 ? 1 : 0;
        for (int half = 0; half < 2 && skipped < length; ++half) {
            const int channel = task.output_group * group + half * block;
            if (channel >= y.shape.c) break;
            Bfloat16* const to = line_of(y, plane, row, channel) + std::int64_t(column + skipped - 1) * block;
            const float* const from = sums + (i + skipped) * group + half * block;
            const float* const bias = task.bias ? task.bias + channel : nullptr;
            if (task.accumulate)
                store_run<true, false, plain>(from, length - skipped, nullptr, 1, to);
            else if (bias || task.slope != 1.0f)
                store_run<false, true, plain>(from, length - skipped, bias, task.slope, to);
            else
                store_run<false, false, plain>(from, length - skipped, nullptr, 1, to);
        }
        i += length;
    }
}

void store_results(const RowsTask& task, const Plane& plane, std::int64_t first, int count, const float* sums,
                   bool plain) {
    if (plain)
        store_rows<true>(task, plane, first, count, sums);
    else
        store_rows<false>(task, plane, first, count, sums);
}

template <int taps, bool adds>
void write_group(const float* sums, int pieces, std::int64_t of_piece, int inputs, int outputs,
                 int input_group, int output_group, float* d_weight) {
    constexpr int apart = group * group + 16;  // taps do not share sets of the first cache
    const hn::CappedTag<float, 16> d;
    alignas(64) float total[taps * apart];
    for (int tap = 0; tap < taps; ++tap)
        for (int i = 0; i < group * group; i += int(hn::MaxLanes(d))) {
            const float* const from = sums + tap * group * group + i;
            auto sum = hn::Load(d, from);
            for (int piece = 1; piece < pieces; ++piece)
                sum = hn::Add(sum, hn::Load(d, from + piece * of_piece));
            hn::Store(sum, d, total + tap * apart + i);
        }
    int place[group];
    for (int c = 0; c < group; ++c) place[c] = c / block * block + place_in_pairs(c % block);
    const int first = input_group * group, most = std::min(group, inputs - first);
    for (int o = 0; o < std::min(group, outputs - output_group * group); ++o) {
        float* to = d_weight + (std::int64_t(output_group * group + o) * inputs + first) * taps;
        for (int c = 0; c < most; ++c, to += taps) {
            const float* const from = total + o * group + place[c];
            for (int tap = 0; tap < taps; ++tap) to[tap] = from[tap * apart] + (adds ? to[tap] : 0.0f);
        }
    }
}

void write_gradients(const float* sums, int taps, int pieces, std::int64_t of_piece, int inputs, int outputs,
                     int input_group, int output_group, bool adds, float* d_weight) {
    const auto write = taps == 1 ? adds ? write_group<1, true> : write_group<1, false>
                       : adds ? write_group<9, true>
                                 : write_group<9, false>;
    write(sums, pieces, of_piece, inputs, outputs, input_group, output_group, d_weight);
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(pack_pixels);
HWY_EXPORT(pack_channels);
HWY_EXPORT(pack_pairs);
HWY_EXPORT(pack_weights);
HWY_EXPORT(store_results);
HWY_EXPORT(write_gradients);
}  // namespace

namespace amx {

void pack_pixels(ConstView x, const Plane& plane, Rows rows, int channel_group, Bfloat16* to) {
    HWY_DYNAMIC_DISPATCH(pack_pixels)(as<Bfloat16>(x), plane, rows, channel_group, to);
}

void pack_channels(ConstView d_a, const Plane& plane, Rows rows, int channel_group, std::int64_t row_numbers,
                   Bfloat16* to) {
    HWY_DYNAMIC_DISPATCH(pack_channels)(as<Bfloat16>(d_a), plane, rows, channel_group, row_numbers, to);
}

void pack_pairs(ConstView x, const Plane& plane, Rows rows, int channel_group, std::int64_t first,
                std::int64_t positions, Bfloat16* to) {
    HWY_DYNAMIC_DISPATCH(pack_pairs)(as<Bfloat16>(x), plane, rows, channel_group, first, positions, to);
}

void pack_weights(const WeightPacking& packing, int input_group, int output_group, Bfloat16* to) {
    HWY_DYNAMIC_DISPATCH(pack_weights)(packing, input_group, output_group, to);
}

void store_results(const RowsTask& task, const Plane& plane, std::int64_t first, int count, const float* sums,
                   bool plain) {
    HWY_DYNAMIC_DISPATCH(store_results)(task, plane, first, count, sums, plain);
}

void write_gradients(const float* sums, int taps, int pieces, std::int64_t of_piece, int inputs, int outputs,
                     int input_group, int output_group, Write write, float* d_weight) {
    HWY_DYNAMIC_DISPATCH(write_gradients)
    (sums, taps, pieces, of_piece, inputs, outputs, input_group, output_group, write == Write::accumulate,
     d_weight);
}

}  // namespace amx
}  // namespace tvmap::cpu
#endif
