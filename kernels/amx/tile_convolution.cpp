// Divides the passes among threads. Forward and data: by rows, each task packs those it reads, so that they never leave the
// second cache; where images are small and channels many, all rows are packed once and each task takes a group of
// outputs, whose weights it packs. Weights: by pieces of the rows, each with sums of its own; where one or few pieces hold
// all, rows are packed once and each task takes a group of inputs and one of outputs.
#include "kernels/amx/tile_convolution.h"

#include <algorithm>

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"
#include "kernels/threads/threads.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tvmap::cpu {

using namespace amx;

namespace {

constexpr std::int64_t cache_numbers = 256 * 1024;  // what packed rows may fill of the second cache
constexpr int least_pieces = 4, most_pieces = 32;   // of the weights' sums; fewer: one
constexpr std::int64_t most_sums = 4 << 20;         // floats of all pieces, where they are several

// Numbers from one channel to the next of packed channels: an odd number of cache lines, so that 16 of them do not share
// sets of the first cache.
std::int64_t channel_numbers(const Plane& plane, Rows rows) {
    return (whole(rows.positions(plane)) / 32 | 1) * 32;
}

// The rows of a plane that hold pixels, and the zeros between them.
Rows all_rows(const Plane& plane) { return {1, plane.rows() - 1}; }

#if defined(__x86_64__) && defined(__linux__)
// Products, registers, and rounding of floats to bf16. The operating system keeps room for a thread's tile registers only
// for a process that has asked for it.
bool ask_for_tiles() {
    constexpr long request_permission = 0x1023, tile_data = 18;
    unsigned a = 0, b = 0, c = 0, d = 0;
    constexpr unsigned products = 1u << 22, registers = 1u << 24, rounding = 1u << 5;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & products) || !(d & registers)) return false;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & rounding)) return false;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
bool ask_for_tiles() { return false; }
#endif

}  // namespace

bool amx::has_tiles() {
    static const bool granted = ask_for_tiles();
    return granted && instruction_set() == "AVX-512";
}

bool TileConvolution::applies(const ConvolutionProblem& problem) {
    const Features &x = problem.x, &y = problem.y;
    return x.block == 16 && y.block == 16 && x.element == Element::bf16 && y.element == Element::bf16;
}

TileConvolution::TileConvolution(const ConvolutionProblem& problem)
    : TileConvolution(problem, !has_tiles()) {}

TileConvolution::TileConvolution(const ConvolutionProblem& problem, bool plain)
    : x_(problem.x),
      y_(problem.y),
      slope_(problem.slope),
      threads_(thread_count()),
      plain_(plain),
      plane_(problem.x, problem.kernel) {
    forward_ = divide(x_.c, y_.c);
    data_ = divide(y_.c, x_.c);
    const Rows all = all_rows(plane_);
    const std::int64_t count = all.to - all.from,
                       row = plane_.width() * group * (2 * groups_of(x_.c) + groups_of(y_.c));
    const std::int64_t of_piece =
        std::int64_t(groups_of(x_.c)) * groups_of(y_.c) * sums_floats(plane_.taps());
    const std::int64_t fit = std::clamp<std::int64_t>(most_sums / of_piece, 1, most_pieces);
    const std::int64_t pieces = std::min((count * row + cache_numbers - 1) / cache_numbers, fit);
    piece_rows_ = pieces < least_pieces ? count : (count + pieces - 1) / pieces;
    pieces_ = int((count + piece_rows_ - 1) / piece_rows_);
}

TileConvolution::Division TileConvolution::divide(int inputs, int outputs) const {
    Division d{inputs, outputs};
    const Rows all = all_rows(plane_);
    const std::int64_t count = all.to - all.from, row = plane_.width() * group * groups_of(inputs);
    d.by_outputs = groups_of(outputs) >= 2 * threads_ && count * row <= 2 * cache_numbers;
    const std::int64_t fit = std::max<std::int64_t>(1, cache_numbers / row),
                       each = (count + 4 * threads_ - 1) / (4 * threads_);
    d.task_rows = d.by_outputs ? count : std::min(fit, each);
    d.source_numbers = Rows{0, d.task_rows}.source_positions(plane_) * group;
    const std::int64_t weights = groups_of(inputs) * packed_weight_numbers(plane_.taps()),
                       source = groups_of(inputs) * d.source_numbers;
    d.shared_numbers = d.by_outputs ? source : groups_of(outputs) * weights;
    d.thread_numbers = d.by_outputs ? weights : source;
    return d;
}

std::size_t TileConvolution::bytes(const Division& division) const {
    return std::size_t(division.shared_numbers + threads_ * division.thread_numbers) * sizeof(Bfloat16);
}
std::size_t TileConvolution::forward_workspace_bytes() const { return bytes(forward_); }
std::size_t TileConvolution::data_workspace_bytes() const { return bytes(data_); }

void TileConvolution::convolve(const Division& division, ConstView x, const WeightPacking& weights,
                               const float* bias, float slope, Write write, View y, void* workspace) const {
    auto* const shared = static_cast<Bfloat16*>(workspace);
    const auto own = [&] {
        return shared + division.shared_numbers + thread_index() * division.thread_numbers;
    };
    const int inputs = groups_of(division.inputs), outputs = groups_of(division.outputs);
    const Rows all = all_rows(plane_);
    RowsTask common;
    common.source_group = division.source_numbers;
    common.inputs = division.inputs;
    common.y = y;
    common.bias = bias;
    common.slope = slope;
    common.accumulate = write == Write::accumulate;
    if (division.by_outputs) {
        parallel_for(inputs, x.shape.size(), [&](std::int64_t g) {
            pack_pixels(x, plane_, all, int(g), shared + g * division.source_numbers);
        });
        parallel_for(outputs, serial_floats, [&](std::int64_t output) {
            RowsTask task = common;
            Bfloat16* const packed = own();
            for (int g = 0; g < inputs; ++g)
                pack_weights(weights, g, int(output), packed + g * packed_weight_numbers(plane_.taps()));
            task.source = shared;
            task.weight = packed;
            task.rows = all;
            task.output_group = int(output);
            convolve_rows(task, plane_, plain_);
        });
        return;
    }
    const std::int64_t of_output = inputs * packed_weight_numbers(plane_.taps());
    parallel_for(inputs * outputs, outputs * of_output, [&](std::int64_t k) {
        pack_weights(weights, int(k % inputs), int(k / inputs),
                     shared + k * packed_weight_numbers(plane_.taps()));
    });
    const std::int64_t tasks = (all.to - all.from + division.task_rows - 1) / division.task_rows;
    parallel_for(tasks, x.shape.size() + y.shape.size(), [&](std::int64_t k) {
        RowsTask task = common;
        task.rows.from = all.from + k * division.task_rows;
        task.rows.to = std::min(task.rows.from + division.task_rows, all.to);
        Bfloat16* const source = own();
        for (int g = 0; g < inputs; ++g)
            pack_pixels(x, plane_, task.rows, g, source + g * division.source_numbers);
        task.source = source;
        for (int output = 0; output < outputs; ++output) {
            task.output_group = output;
            task.weight = shared + output * of_output;
            convolve_rows(task, plane_, plain_);
        }
    });
}

void TileConvolution::forward(const float* x, const float* weight, const float* bias, float* y,
                              void* workspace) const {
    convolve(forward_, {x, x_}, {weight, plane_.taps(), x_.c, y_.c, false}, bias, slope_, Write::overwrite,
             {y, y_}, workspace);
}

void TileConvolution::data(ConstView d_a, const float* weight, float* d_x, Write write,
                           void* workspace) const {
    convolve(data_, d_a, {weight, plane_.taps(), y_.c, x_.c, true}, nullptr, 1.0f, write, {d_x, x_},
             workspace);
}

// Packed rows of d_a, a group of outputs after the other, and of x, a group of inputs after the other: pairs that
// begin at even and at odd positions, or, where all neighbours are at one kind (k = 1), these alone.
struct TileConvolution::PackedRows {
    PackedRows(const Plane& plane, Rows rows, int inputs, int outputs)
        : channel(channel_numbers(plane, rows)),
          positions(rows.source_positions(plane)),
          of_output(group * channel),
          of_copy(group * positions),
          first_input(outputs * of_output),
          copies(plane.kernel == 1 ? 1 : 2),
          odd(plane.kernel == 1 && plane.width() % 2 == 1),
          packs(outputs + copies * inputs),
          numbers(first_input + copies * inputs * of_copy) {}
    std::int64_t channel, positions, of_output, of_copy, first_input;
    int copies;
    bool odd;  // the only copy's kind
    std::int64_t packs, numbers;

    /// Of one group of outputs, k < outputs, or of one group of inputs for one copy.
    void pack(const TileConvolution& c, ConstView x, ConstView d_a, Rows rows, std::int64_t k,
              Bfloat16* to) const {
        const std::int64_t outputs = first_input / of_output, copy = k - outputs;
        if (k < outputs) return pack_channels(d_a, c.plane_, rows, int(k), channel, to + k * of_output);
        const Rows source{rows.from - 1, rows.to + 1};
        pack_pairs(x, c.plane_, source, int(copy / copies), Rows::lead + (odd ? 1 : copy % copies), positions,
                   to + first_input + copy * of_copy);
    }

    void sum_up(const TileConvolution& c, Rows rows, int input, int output, const Bfloat16* packed,
                float* sums) const {
        SumsTask task;
        task.outputs = packed + output * of_output;
        task.row_numbers = channel;
        for (int copy = 0; copy < copies; ++copy)
            task.inputs[odd ? 1 : copy] = packed + first_input + (copies * input + copy) * of_copy;
        task.source_positions = positions;
        task.rows = rows;
        sum_products(task, c.plane_, c.plain_, sums);
    }
};

// Sums, [piece][group of outputs][group of inputs], and packed rows, each thread's or all.
std::size_t TileConvolution::weights_workspace_bytes() const {
    const int inputs = groups_of(x_.c), outputs = groups_of(y_.c);
    const PackedRows packed(plane_, {0, piece_rows_}, inputs, outputs);
    return std::size_t(pieces_) * std::size_t(inputs * outputs) * std::size_t(sums_floats(plane_.taps())) *
               sizeof(float) +
           std::size_t((pieces_ == 1 ? 1 : threads_) * packed.numbers) * sizeof(Bfloat16);
}

void TileConvolution::weights(const float* x, ConstView d_a, float* d_weight, Write write,
                              void* workspace) const {
    const int inputs = groups_of(x_.c), outputs = groups_of(y_.c);
    const Rows all = all_rows(plane_);
    const PackedRows layout(plane_, {0, piece_rows_}, inputs, outputs);
    const std::int64_t of_product = sums_floats(plane_.taps()), products = std::int64_t(inputs) * outputs,
                       of_piece = products * of_product;
    float* const sums = static_cast<float*>(workspace);
    auto* const packed = reinterpret_cast<Bfloat16*>(sums + pieces_ * of_piece);
    const ConstView source{x, x_};
    const auto write_out = [&](std::int64_t k) {
        write_gradients(sums + k * of_product, plane_.taps(), pieces_, of_piece, x_.c, y_.c, int(k % inputs),
                        int(k / inputs), write, d_weight);
    };
    if (pieces_ == 1) {
        parallel_for(layout.packs, x_.size() + y_.size(),
                     [&](std::int64_t k) { layout.pack(*this, source, d_a, all, k, packed); });
        parallel_for(products, serial_floats, [&](std::int64_t k) {
            layout.sum_up(*this, all, int(k % inputs), int(k / inputs), packed, sums + k * of_product);
            write_out(k);
        });
        return;
    }
    parallel_for(pieces_, x_.size() + y_.size(), [&](std::int64_t piece) {
        Rows rows;
        rows.from = all.from + piece * piece_rows_;
        rows.to = std::min(rows.from + piece_rows_, all.to);
        Bfloat16* const own = packed + thread_index() * layout.numbers;
        for (std::int64_t k = 0; k < layout.packs; ++k) layout.pack(*this, source, d_a, rows, k, own);
        for (int k = 0; k < products; ++k)
            layout.sum_up(*this, rows, k % inputs, k / inputs, own, sums + piece * of_piece + k * of_product);
    });
    parallel_for(products, pieces_ * of_piece, write_out);
}

}  // namespace tvmap::cpu
