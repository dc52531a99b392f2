// 3×3 convolution of one planar channel into blocked y, the network's first layer, without the gradient of x:
//     y[n,o,i,j] = leaky_relu(bias[o] + Σ_u Σ_v weight[o,u,v]·x[n,i+u−1,j+v−1])
//     d_weight[o,u,v] = Σ_n Σ_i Σ_j d_a[n,o,i,j]·x[n,i+u−1,j+v−1]        d_bias[o] = Σ_n Σ_i Σ_j d_a[n,o,i,j]
// y and d_y may be bf16. It is bound by memory, so y and d_y are gone through once, and d_a is never written. Backward
// cuts images into pieces of fixed height with a sum each, added up in order: the result does not depend on the
// threads.
#include <algorithm>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/simd.h"
#include "kernels/convolution/convolution_implementations.h"
#include "kernels/threads/parallel.h"
#include "kernels/threads/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convolution/convolution_single_input.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_SINGLE_INPUT_ONCE
#define TVMAP_KERNELS_SINGLE_INPUT_ONCE
namespace tvmap::cpu {
constexpr int taps = 9;
constexpr int sums_of_channel = taps + 1;  // and that of d_bias
constexpr int run_pixels = 256;            // pixels summed in single precision

// One row of one block of channels. `lines`: the row of x before, the row, and the one behind, each between two zeros, a
// row's `line` floats after the other's. Weights and sums are [tap][block], the last of the sums that of d_bias.
struct SingleInputRow {
    const float* lines;
    std::int64_t line;
    int pixels, block;
    float slope;
};
}  // namespace tvmap::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

template <class Number>
void forward_row(const SingleInputRow& row, const float* weight, const float* bias, Number* y) {
    for_block(row.block, [&](auto d) HWY_ATTR {
        constexpr int lanes = int(hn::MaxLanes(d));
        const auto factor = hn::Set(d, row.slope);
        for (int c = 0; c < row.block; c += lanes) {
            hn::Vec<decltype(d)> w[taps];
            for (int tap = 0; tap < taps; ++tap) w[tap] = hn::LoadU(d, weight + tap * row.block + c);
            const auto start = hn::LoadU(d, bias + c);
            for (int j = 0; j < row.pixels; ++j) {
                // One sum for each line, so that they need not wait for one another.
                auto above = start, level = hn::Zero(d), below = hn::Zero(d);
                for (int v = 0; v < 3; ++v) {
                    const float* const x = row.lines + j + v;
                    above = hn::MulAdd(hn::Set(d, x[0]), w[v], above);
                    level = hn::MulAdd(hn::Set(d, x[row.line]), w[3 + v], level);
                    below = hn::MulAdd(hn::Set(d, x[2 * row.line]), w[6 + v], below);
                }
                auto a = hn::Add(above, hn::Add(level, below));
                a = hn::IfThenElse(hn::Gt(a, hn::Zero(d)), a, hn::Mul(a, factor));
                store(a, d, y + j * row.block + c);
            }
        }
    });
}

// Adds to sums.
template <class Number>
void backward_row(const SingleInputRow& row, const Number* y, const Number* d_y, double* sums) {
    for_block(row.block, [&](auto d) HWY_ATTR {
        constexpr int lanes = int(hn::MaxLanes(d));
        const auto factor = hn::Set(d, row.slope);
        for (int c = 0; c < row.block; c += lanes)
            for (int first = 0; first < row.pixels; first += run_pixels) {
                hn::Vec<decltype(d)> sum[sums_of_channel];
                for (auto& s : sum) s = hn::Zero(d);
                for (int j = first; j < std::min(first + run_pixels, row.pixels); ++j) {
                    auto g = load(d, d_y + j * row.block + c);
                    const auto positive = hn::Gt(load(d, y + j * row.block + c), hn::Zero(d));
                    g = hn::IfThenElse(positive, g, hn::Mul(g, factor));
                    for (int u = 0; u < 3; ++u)
                        for (int v = 0; v < 3; ++v) {
                            const auto x = hn::Set(d, row.lines[u * row.line + j + v]);
                            sum[3 * u + v] = hn::MulAdd(g, x, sum[3 * u + v]);
                        }
                    sum[taps] = hn::Add(sum[taps], g);
                }
                for (int k = 0; k < sums_of_channel; ++k) {
                    float parts[lanes];
                    hn::StoreU(sum[k], d, parts);
                    for (int lane = 0; lane < lanes; ++lane)
                        sums[k * row.block + c + lane] += double(parts[lane]);
                }
            }
    });
}

void single_input_forward(const SingleInputRow& row, Element element, const float* weight, const float* bias,
                          void* y) {
    for_element(element, [&](auto number)
                             HWY_ATTR { forward_row(row, weight, bias, static_cast<decltype(number)*>(y)); });
}

void single_input_backward(const SingleInputRow& row, Element element, const void* y, const void* d_y,
                           double* sums) {
    for_element(element, [&](auto number) HWY_ATTR {
        using Number = decltype(number);
        backward_row(row, static_cast<const Number*>(y), static_cast<const Number*>(d_y), sums);
    });
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(single_input_forward);
HWY_EXPORT(single_input_backward);

constexpr int piece_rows = 16;

class SingleInputConvolution : public Convolution {
  public:
    explicit SingleInputConvolution(const ConvolutionProblem& problem)
        : problem_(problem),
          x_(problem.x),
          y_(problem.y),
          threads_(thread_count()),
          pieces_((x_.h + piece_rows - 1) / piece_rows) {}

    std::size_t forward_workspace_bytes() const override { return layout(nullptr, false).bytes; }
    std::size_t backward_workspace_bytes() const override {
        return problem_.training ? layout(nullptr, true).bytes : 0;
    }

    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) override {
        check_threads(problem_, threads_);
        const Layout at = layout(workspace, false);
        // From out×3×3 to [block][tap][channel of it].
        for (int o = 0; o < y_.c; ++o)
            for (int tap = 0; tap < taps; ++tap)
                at.weight[(o / y_.block * taps + tap) * y_.block + o % y_.block] = weight[o * taps + tap];
        for_each_piece([&](int image, int plane, int first, int last, std::int64_t) {
            for_each_row(x, image, first, last, own_lines(at), [&](const SingleInputRow& row, int i) {
                HWY_DYNAMIC_DISPATCH(single_input_forward)
                (row, y_.element, at.weight + plane * taps * y_.block, bias + plane * y_.block,
                 at_byte(y, row_bytes(image, plane, i)));
            });
        });
    }

    void backward(const ConvolutionBackward& b, void* workspace) override {
        check_threads(problem_, threads_);
        if (b.d_x || !problem_.training)
            fail("convolution (", problem_.key(), "): planned without this gradient");
        const Layout at = layout(workspace, true);
        const int of_task = sums_of_channel * y_.block;
        for_each_piece([&](int image, int plane, int first, int last, std::int64_t task) {
            double* const sums = at.sums + task * of_task;
            std::fill(sums, sums + of_task, 0.0);
            for_each_row(b.x, image, first, last, own_lines(at), [&](const SingleInputRow& row, int i) {
                const std::int64_t bytes = row_bytes(image, plane, i);
                HWY_DYNAMIC_DISPATCH(single_input_backward)
                (row, y_.element, at_byte(b.y, bytes), at_byte(b.d_y, bytes), sums);
            });
        });
        const bool adds = b.parameter_write == Write::accumulate;
        for (int o = 0; o < y_.c; ++o)
            for (int k = 0; k < sums_of_channel; ++k) {
                double total = 0;
                for (int image = 0; image < y_.n; ++image)
                    for (int piece = 0; piece < pieces_; ++piece)
                        total += at.sums[task_of(image, o / y_.block, piece) * of_task + k * y_.block +
                                         o % y_.block];
                float& to = k < taps ? b.d_weight[o * taps + k] : b.d_bias[o];
                to = float(total) + (adds ? to : 0.0f);
            }
    }

    std::string algorithms() const override { return single_input_name; }

  private:
    struct Layout {
        float* lines = nullptr;   // of each thread, three
        float* weight = nullptr;  // forward's
        double* sums = nullptr;   // backward's, [task][sum][channel of the block]
        std::size_t bytes = 0;
    };

    std::int64_t line() const { return (x_.w + 2 + 15) / 16 * 16; }

    Layout layout(void* workspace, bool backward) const {
        BumpAllocator memory(workspace);
        Layout result;
        result.lines = memory.take<float>(std::size_t(threads_ * 3 * line()));
        if (backward)
            result.sums = memory.take<double>(std::size_t(y_.n) * pieces_ * sums_of_channel * y_.c);
        else
            result.weight = memory.take<float>(std::size_t(taps) * std::size_t(y_.c));
        result.bytes = memory.bytes();
        return result;
    }

    float* own_lines(const Layout& at) const { return at.lines + thread_index() * 3 * line(); }

    // Where a row of a block of y begins.
    std::int64_t row_bytes(int image, int plane, int i) const {
        const std::int64_t row = std::int64_t(plane) * y_.h + i;
        return (image * y_.image_stride + row * y_.w * y_.block) * std::int64_t(element_bytes(y_.element));
    }

    std::int64_t task_of(int image, int plane, int piece) const {
        return (std::int64_t(image) * y_.planes() + plane) * pieces_ + piece;
    }

    /// work(image, plane, first row, row behind the last, task)
    template <class Work>
    void for_each_piece(const Work& work) const {
        parallel_for(task_of(y_.n, 0, 0), y_.size(), [&](std::int64_t task) {
            const int piece = int(task % pieces_), plane = int(task / pieces_ % y_.planes());
            work(int(task / pieces_ / y_.planes()), plane, piece * piece_rows,
                 std::min((piece + 1) * piece_rows, y_.h), task);
        });
    }

    /// work(row, its number) for rows of an image of x, whose neighbourhood is written to `lines`.
    template <class Work>
    void for_each_row(const float* x, int image, int first, int last, float* lines, const Work& work) const {
        const SingleInputRow row{lines, line(), x_.w, y_.block, problem_.slope};
        const float* const from = x + image * x_.image_stride;
        for (int i = first; i < last; ++i) {
            for (int u = 0; u < 3; ++u) {
                float* const to = lines + u * line();
                const int source = i + u - 1;
                const bool exists = source >= 0 && source < x_.h;
                to[0] = to[x_.w + 1] = 0;
                if (exists)
                    std::copy_n(from + std::int64_t(source) * x_.w, x_.w, to + 1);
                else
                    std::fill_n(to + 1, x_.w, 0.0f);
            }
            work(row, i);
        }
    }

    ConvolutionProblem problem_;
    Features x_, y_;
    int threads_, pieces_;
};

}  // namespace

bool single_input_applies(const ConvolutionProblem& problem) {
    return problem.kernel == 3 && problem.x.c == 1 && problem.x.element == Element::fp32 &&
           problem.y.block >= 8 && !(problem.training && problem.needs_d_x);
}

std::unique_ptr<Convolution> single_input_convolution(const ConvolutionProblem& problem) {
    return std::make_unique<SingleInputConvolution>(problem);
}

}  // namespace tvmap::cpu
#endif
