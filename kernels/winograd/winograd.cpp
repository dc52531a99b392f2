// Divides Winograd's passes among threads. Forward and data passes: where tiles abound, the weights are transformed
// once, and each task takes some tiles through all stages. Where they are fewer than output channels, the tiles are
// transformed once, and each task takes a panel of channels: transformed weights, 36 floats for every 9, then never
// leave the second cache. Neither changes a result's bits.
#include "kernels/winograd/winograd.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/threads/parallel.h"
#include "kernels/threads/threads.h"
#include "kernels/winograd/winograd_kernels.h"

namespace tvmap::cpu {

using namespace winograd;

namespace {

constexpr std::int64_t second_cache_floats = 96 * 1024;  // what of it a task's tiles may fill
constexpr int most_tiles = 48;                           // of a task
constexpr int channel_tiles = 64;  // tiles that a task of a panel of channels takes together
constexpr int sum_tiles = 64;      // tiles whose products are added up before they are transformed back
constexpr std::int64_t most_pieces = 32;

std::int64_t multiple_of_4(std::int64_t n) { return (n + 3) / 4 * 4; }
std::int64_t whole_lines(std::int64_t floats) { return (floats + 15) / 16 * 16; }

}  // namespace

bool Winograd::applies(const ConvolutionProblem& problem) {
    const int block = std::min(problem.x.block, problem.y.block);
    return problem.kernel == 3 && block >= 8 && vector_lanes(block) > 1;
}

Winograd::Winograd(const ConvolutionProblem& problem)
    : problem_(problem),
      threads_(thread_count()),
      block_(std::min(problem.x.block, problem.y.block)),
      width_(applies(problem) ? panel_width(block_) : 0),
      tiles_(Tiling(problem.x).count) {
    if (width_ == 0)
        fail("convolution (", problem.key(),
             "): winograd4 needs 3x3 weights and channels in blocks of 8 or 16; "
             "leave the algorithms empty to have others chosen");
    forward_ = divide(problem.x.c, problem.y.c);
    data_ = divide(problem.y.c, problem.x.c);
    piece_tiles_ = std::max<std::int64_t>(sum_tiles, (tiles_ + most_pieces - 1) / most_pieces);
    piece_tiles_ = (piece_tiles_ + sum_tiles - 1) / sum_tiles * sum_tiles;
    pieces_ = int((tiles_ + piece_tiles_ - 1) / piece_tiles_);
    capacity_ = int(std::min<std::int64_t>(sum_tiles, multiple_of_4(tiles_)));
}

Winograd::Division Winograd::divide(int inputs, int outputs) const {
    Division d{inputs, outputs};
    d.by_channels = tiles_ < outputs;
    if (d.by_channels) {
        d.together = width_;
        d.capacity = int(std::min<std::int64_t>(channel_tiles, multiple_of_4(tiles_)));
        d.shared_floats = whole_lines(transformed_tiles_floats(inputs, multiple_of_4(tiles_)));
        d.thread_floats = transformed_weight_floats(inputs, width_, block_);
    } else {
        d.together =
            std::min(inputs > 64 ? 4 * width_ : 2 * width_, (outputs + width_ - 1) / width_ * width_);
        const std::int64_t fit = second_cache_floats / (points * (inputs + d.together));
        const std::int64_t each = tiles_ / (4 * threads_);
        d.capacity = int(multiple_of_4(std::clamp<std::int64_t>(std::min(fit, each), 12, most_tiles)));
        d.shared_floats = whole_lines(transformed_weight_floats(inputs, outputs, block_));
    }
    d.thread_floats =
        whole_lines(d.thread_floats + tiles_scratch_floats(inputs, d.together, d.capacity, !d.by_channels));
    return d;
}

std::size_t Winograd::forward_workspace_bytes() const {
    return std::size_t(forward_.shared_floats + threads_ * forward_.thread_floats) * sizeof(float);
}

std::size_t Winograd::data_workspace_bytes() const {
    return std::size_t(data_.shared_floats + threads_ * data_.thread_floats) * sizeof(float);
}

void Winograd::check() const {
    if (thread_count() != threads_ || panel_width(block_) != width_)
        fail("convolution (", problem_.key(), "): planned for ", threads_, " threads and vectors of ",
             width_ / 2, " floats, called with ", thread_count(), " and ", panel_width(block_) / 2,
             "; plan again after changing either");
}

void Winograd::convolve(const Division& division, ConstView x, const float* weight, bool transposed,
                        const float* bias, float slope, Write write, View y, float* workspace) const {
    check();
    const int inputs = division.inputs, outputs = division.outputs, panels = (outputs + width_ - 1) / width_;
    float* const shared = workspace;
    const auto own = [&] {
        return workspace + division.shared_floats + thread_index() * division.thread_floats;
    };
    TilesTask all;
    all.x = x;
    all.y = y;
    all.bias = bias;
    all.slope = slope;
    all.accumulate = write == Write::accumulate;
    all.capacity = division.capacity;
    all.together = division.together;
    const WeightTransform weights{
        .weight = weight, .inputs = inputs, .outputs = outputs, .transposed = transposed, .block = block_};
    const std::int64_t work = x.shape.size() + y.shape.size();
    if (division.by_channels) {
        const TransformedTiles v = TransformedTiles::by_point(shared, inputs, multiple_of_4(tiles_), block_);
        parallel_for(inputs / block_, 2 * work, [&](std::int64_t c) {
            transform_tiles(x, block_, 0, int(tiles_), 0, int(c) * block_, int(c + 1) * block_, v);
        });
        parallel_for(panels, serial_floats, [&](std::int64_t panel) {
            TilesTask task = all;
            float* const u = own();
            task.from = int(panel) * width_;
            task.to = std::min(task.from + width_, outputs);
            WeightTransform whole = weights;
            whole.panel = int(panel);
            whole.to = inputs;
            whole.first = task.from;
            whole.transformed = u;
            transform_weights(whole);
            task.weight = u;
            task.weight_from = task.from;
            task.scratch = u + transformed_weight_floats(inputs, width_, block_);
            for (task.first = 0; task.first < tiles_; task.first += division.capacity) {
                task.count = int(std::min<std::int64_t>(division.capacity, tiles_ - task.first));
                task.v = v;
                task.v.data += task.first * vector_lanes(block_);
                convolve_tiles(task);
            }
        });
        return;
    }
    const std::int64_t blocks = inputs / block_;
    parallel_for(panels * blocks, points * std::int64_t(inputs) * outputs / 4, [&](std::int64_t k) {
        WeightTransform part = weights;
        part.panel = int(k / blocks);
        part.from = int(k % blocks) * block_;
        part.to = part.from + block_;
        part.transformed = shared;
        transform_weights(part);
    });
    parallel_for((tiles_ + division.capacity - 1) / division.capacity, work, [&](std::int64_t group) {
        TilesTask task = all;
        task.weight = shared;
        task.to = outputs;
        task.first = group * division.capacity;
        task.count = int(std::min<std::int64_t>(division.capacity, tiles_ - task.first));
        task.scratch = own();
        convolve_tiles(task);
    });
}

void Winograd::forward(const float* x, const float* weight, const float* bias, float* y,
                       void* workspace) const {
    convolve(forward_, {x, problem_.x}, weight, false, bias, problem_.slope, Write::overwrite,
             {y, problem_.y}, static_cast<float*>(workspace));
}

void Winograd::data(ConstView d_a, const float* weight, float* d_x, Write write, void* workspace) const {
    convolve(data_, d_a, weight, true, nullptr, 1.0f, write, {d_x, problem_.x},
             static_cast<float*>(workspace));
}

// Sums of d_bias, [piece][output], and of d_weight, [piece][output][input][9]; the tiles of x, where one piece is all;
// each thread's scratch.
std::int64_t Winograd::weights_thread_floats() const {
    const bool shares_v = pieces_ == 1;
    return whole_lines(weights_scratch_floats(
        problem_.x.c, shares_v ? width_ : (problem_.y.c + width_ - 1) / width_ * width_, capacity_,
        !shares_v));
}

std::size_t Winograd::weights_workspace_bytes() const {
    const std::int64_t outputs = problem_.y.c, inputs = problem_.x.c;
    const std::int64_t floats =
        pieces_ * (2 * outputs + whole_lines(9 * inputs * outputs)) +
        (pieces_ == 1 ? whole_lines(transformed_tiles_floats(int(inputs), capacity_)) : 0) +
        threads_ * weights_thread_floats();
    return std::size_t(whole_lines(floats) + 16) * sizeof(float);
}

void Winograd::weights(const float* x, const float* y, const float* d_y, View d_a, float* d_weight,
                       float* d_bias, Write write, void* workspace) const {
    check();
    const int inputs = problem_.x.c, outputs = problem_.y.c, panels = (outputs + width_ - 1) / width_;
    const std::int64_t of_piece = whole_lines(std::int64_t(9) * inputs * outputs);
    double* const bias_sums = static_cast<double*>(workspace);
    float* const sums = static_cast<float*>(workspace) + whole_lines(2 * std::int64_t(pieces_) * outputs);
    float* const shared = sums + pieces_ * of_piece;
    WeightsTask all;
    all.x = {x, problem_.x};
    all.y = {y, problem_.y};
    all.d_y = {d_y, problem_.y};
    if (problem_.slope != 1.0f || d_a.data != d_y) all.d_a = d_a;
    all.slope = problem_.slope;
    all.capacity = capacity_;
    const std::int64_t work = problem_.x.size() + 2 * problem_.y.size();
    const auto write_panel = [&](std::int64_t panel) {
        const int from = int(panel) * width_;
        write_weight_gradients(sums + std::int64_t(from) * inputs * 9, pieces_, of_piece, block_, inputs,
                               from, std::min(width_, outputs - from), write, d_weight);
    };
    if (pieces_ == 1) {
        all.v = TransformedTiles::by_channel(shared, capacity_, block_);
        float* const scratch = shared + whole_lines(transformed_tiles_floats(inputs, capacity_));
        parallel_for(inputs / block_, 2 * work, [&](std::int64_t c) {
            transform_tiles(all.x, block_, 0, int(tiles_), 0, int(c) * block_, int(c + 1) * block_, all.v);
        });
        parallel_for(panels, serial_floats, [&](std::int64_t panel) {
            WeightsTask task = all;
            task.count = tiles_;
            task.from = int(panel) * width_;
            task.to = std::min(task.from + width_, outputs);
            task.sums = sums + std::int64_t(task.from) * inputs * 9;
            task.bias_sums = bias_sums + task.from;
            task.scratch = scratch + thread_index() * weights_thread_floats();
            gather_weight_gradients(task);
            write_panel(panel);
        });
    } else {
        parallel_for(pieces_, work, [&](std::int64_t piece) {
            WeightsTask task = all;
            task.first = piece * piece_tiles_;
            task.count = std::min(piece_tiles_, tiles_ - task.first);
            task.to = outputs;
            task.sums = sums + piece * of_piece;
            task.bias_sums = bias_sums + piece * outputs;
            task.scratch = shared + thread_index() * weights_thread_floats();
            gather_weight_gradients(task);
        });
        parallel_for(panels, pieces_ * of_piece, write_panel);
    }
    for (int k = 0; k < outputs; ++k) {
        double sum = 0;
        for (int piece = 0; piece < pieces_; ++piece) sum += bias_sums[piece * outputs + k];
        d_bias[k] = float(sum) + (write == Write::accumulate ? d_bias[k] : 0.0f);
    }
}

}  // namespace tvmap::cpu
