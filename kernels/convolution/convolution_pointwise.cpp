// 1×1 convolution from blocked x to a few planar channels, the network's last layer:
//     y[n,o,i,j] = leaky_relu(bias[o] + Σ_c weight[o,c]·x[n,c,i,j])                 o < Cout ≤ 4
//     d_x[n,c,i,j] = Σ_o weight[o,c]·d_a[n,o,i,j]        d_weight[o,c] = Σ_n Σ_i Σ_j d_a[n,o,i,j]·x[n,c,i,j]
// x and d_x may be bf16; the products are made of floats all the same.
// It is bound by memory, so forward and backward each read x once. Backward cuts the pixels into pieces of
// fixed length with a partial sum each, added up in order: the result does not depend on the threads.
#include <algorithm>

#include "kernels/base/simd.h"
#include "kernels/convolution/convolution_implementations.h"
#include "kernels/layers/activation_gradient.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/convolution/convolution_pointwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

#ifndef TVMAP_KERNELS_POINTWISE_ONCE
#define TVMAP_KERNELS_POINTWISE_ONCE
namespace tvmap::cpu {
constexpr int most_outputs = 4;
constexpr int channels_together = 8;                  // divides every block
constexpr std::int64_t run_pixels = 256;              // pixels summed in single precision
constexpr std::int64_t task_pixels = 4 * run_pixels;  // pixels of one task

// Where the pixels of one task lie. x and d_x: planes of `block` channels, `plane` numbers apart; y and d_a:
// one plane for each output, `pixels` floats apart.
struct PointwisePiece {
    Element element;  // of x and d_x
    int inputs, outputs, block;
    std::int64_t plane, pixels, count;
};
}  // namespace tvmap::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
using D = hn::CappedTag<float, channels_together>;
using V = hn::Vec<D>;
constexpr int lanes = int(hn::MaxLanes(D()));

// The sums of so many vectors, one in each lane, by a tree of pairwise sums.
HWY_INLINE V sum_each(V* v) {
#if HWY_TARGET != HWY_SCALAR
    for (int left = lanes; left > 1; left /= 2)
        for (int i = 0; i < left / 2; ++i)
            v[i] = hn::Add(hn::ConcatEven(D(), v[2 * i + 1], v[2 * i]),
                           hn::ConcatOdd(D(), v[2 * i + 1], v[2 * i]));
#endif
    return v[0];
}

template <int outputs, class Number>
void forward_outputs(const PointwisePiece& piece, const Number* x, const float* weight, const float* bias,
                     float* y, float slope) {
    const D d;
    const int block = piece.block;
    for (std::int64_t pixel = 0; pixel < piece.count; pixel += lanes) {
        const int pixels = int(std::min<std::int64_t>(lanes, piece.count - pixel));
        V sum[outputs][lanes];
        for (auto& row : sum)
            for (auto& s : row) s = hn::Zero(d);
        for (int c = 0; c < piece.inputs; c += lanes) {
            const Number* at = x + c / block * piece.plane + pixel * block + c % block;
            V w[outputs];
            for (int o = 0; o < outputs; ++o) w[o] = hn::LoadU(d, weight + o * piece.inputs + c);
            const auto add_pixel = [&](int k) HWY_ATTR {
                const V value = load(d, at + k * block);
                for (int o = 0; o < outputs; ++o) sum[o][k] = hn::MulAdd(w[o], value, sum[o][k]);
            };
            if (pixels == lanes) {
                for (int k = 0; k < lanes; ++k) add_pixel(k);
            } else {
                for (int k = 0; k < pixels; ++k) add_pixel(k);
            }
        }
        for (int o = 0; o < outputs; ++o) {
            V a = hn::Add(sum_each(sum[o]), hn::Set(d, bias[o]));
            a = hn::IfThenElse(hn::Gt(a, hn::Zero(d)), a, hn::Mul(a, hn::Set(d, slope)));
            float* to = y + o * piece.pixels + pixel;
            if (pixels == lanes) {
                hn::StoreU(a, d, to);
            } else {
                float rest[lanes];
                hn::StoreU(a, d, rest);
                std::copy(rest, rest + pixels, to);
            }
        }
    }
}

void pointwise_forward(const PointwisePiece& piece, const void* x, const float* weight, const float* bias,
                       float* y, float slope) {
    for_element(piece.element, [&](auto number) HWY_ATTR {
        const auto* from = static_cast<const decltype(number)*>(x);
        switch (piece.outputs) {
            case 1:
                return forward_outputs<1>(piece, from, weight, bias, y, slope);
            case 2:
                return forward_outputs<2>(piece, from, weight, bias, y, slope);
            case 3:
                return forward_outputs<3>(piece, from, weight, bias, y, slope);
            case 4:
                return forward_outputs<4>(piece, from, weight, bias, y, slope);
        }
    });
}

// d_x may be null. sums: outputs×inputs doubles.
template <int outputs, class Number>
void backward_outputs(const PointwisePiece& piece, const Number* x, const float* weight, const float* d_a,
                      Number* d_x, bool accumulate, double* sums) {
    const D d;
    const int block = piece.block;
    std::fill(sums, sums + outputs * piece.inputs, 0.0);
    for (std::int64_t run = 0; run < piece.count; run += run_pixels) {
        const std::int64_t end = std::min(run + run_pixels, piece.count);
        for (int c = 0; c < piece.inputs; c += lanes) {
            const std::int64_t place = c / block * piece.plane + c % block;
            V w[outputs], sum[outputs];
            for (int o = 0; o < outputs; ++o) {
                w[o] = hn::LoadU(d, weight + o * piece.inputs + c);
                sum[o] = hn::Zero(d);
            }
            for (std::int64_t pixel = run; pixel < end; ++pixel) {
                const std::int64_t at = place + pixel * block;
                const V value = load(d, x + at);
                V g = d_x && accumulate ? load(d, d_x + at) : hn::Zero(d);
                for (int o = 0; o < outputs; ++o) {
                    const V a = hn::Set(d, d_a[o * piece.pixels + pixel]);
                    sum[o] = hn::MulAdd(a, value, sum[o]);
                    g = hn::MulAdd(a, w[o], g);
                }
                if (d_x) store(g, d, d_x + at);
            }
            for (int o = 0; o < outputs; ++o) {
                float run_sums[lanes];
                hn::StoreU(sum[o], d, run_sums);
                for (int lane = 0; lane < lanes; ++lane)
                    sums[o * piece.inputs + c + lane] += double(run_sums[lane]);
            }
        }
    }
}

void pointwise_backward(const PointwisePiece& piece, const void* x, const float* weight, const float* d_a,
                        void* d_x, bool accumulate, double* sums) {
    for_element(piece.element, [&](auto number) HWY_ATTR {
        const auto* from = static_cast<const decltype(number)*>(x);
        auto* to = static_cast<decltype(number)*>(d_x);
        switch (piece.outputs) {
            case 1:
                return backward_outputs<1>(piece, from, weight, d_a, to, accumulate, sums);
            case 2:
                return backward_outputs<2>(piece, from, weight, d_a, to, accumulate, sums);
            case 3:
                return backward_outputs<3>(piece, from, weight, d_a, to, accumulate, sums);
            case 4:
                return backward_outputs<4>(piece, from, weight, d_a, to, accumulate, sums);
        }
    });
}

}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
HWY_EXPORT(pointwise_forward);
HWY_EXPORT(pointwise_backward);

namespace {

class PointwiseConvolution : public Convolution {
  public:
    explicit PointwiseConvolution(const ConvolutionProblem& problem)
        : x_(problem.x),
          y_(problem.y),
          slope_(problem.slope),
          training_(problem.training),
          pixels_(std::int64_t(x_.h) * x_.w),
          pieces_((pixels_ + task_pixels - 1) / task_pixels) {}

    std::size_t forward_workspace_bytes() const override { return 0; }
    std::size_t backward_workspace_bytes() const override {
        if (!training_) return 0;
        const std::size_t sums = std::size_t(x_.n * pieces_ * x_.c * y_.c) * sizeof(double);
        return std::max(activation_gradient_workspace_bytes(y_), sums);
    }

    void forward(const float* x, const float* weight, const float* bias, float* y, void*) override {
        for_each_piece([&](int image, std::int64_t start, std::int64_t, const PointwisePiece& piece) {
            HWY_DYNAMIC_DISPATCH(pointwise_forward)
            (piece, at_byte(x, x_bytes(image, start)), weight, bias, y + image * y_.image_stride + start,
             slope_);
        });
    }

    void backward(const ConvolutionBackward& b, void* workspace) override {
        activation_gradient({b.y, y_}, {b.d_y, y_}, {b.d_y, y_}, slope_, b.d_bias, b.parameter_write,
                            workspace);
        double* sums = static_cast<double*>(workspace);
        const int count = x_.c * y_.c;
        for_each_piece([&](int image, std::int64_t start, std::int64_t task, const PointwisePiece& piece) {
            const std::int64_t at = x_bytes(image, start);
            HWY_DYNAMIC_DISPATCH(pointwise_backward)
            (piece, at_byte(b.x, at), b.weight, b.d_y + image * y_.image_stride + start,
             b.d_x ? at_byte(b.d_x, at) : nullptr, b.d_x_write == Write::accumulate, sums + task * count);
        });
        for (int k = 0; k < count; ++k) {
            double total = 0;
            for (std::int64_t task = 0; task < x_.n * pieces_; ++task) total += sums[task * count + k];
            b.d_weight[k] = float(total) + (b.parameter_write == Write::accumulate ? b.d_weight[k] : 0.0f);
        }
    }

    std::string algorithms() const override { return pointwise_name; }

  private:
    // Where a pixel of an image of x starts.
    std::int64_t x_bytes(int image, std::int64_t pixel) const {
        return (image * x_.image_stride + pixel * x_.block) * std::int64_t(element_bytes(x_.element));
    }

    template <class Work>
    void for_each_piece(const Work& work) const {
        parallel_for(x_.n * pieces_, x_.size(), [&](std::int64_t task) {
            const std::int64_t start = task % pieces_ * task_pixels;
            work(int(task / pieces_), start, task,
                 PointwisePiece{x_.element, x_.c, y_.c, x_.block, pixels_ * x_.block, pixels_,
                                std::min(task_pixels, pixels_ - start)});
        });
    }

    Features x_, y_;
    float slope_;
    bool training_;
    std::int64_t pixels_, pieces_;
};

}  // namespace

bool pointwise_applies(const ConvolutionProblem& problem) {
    return problem.kernel == 1 && problem.x.block >= channels_together && problem.y.block == 1 &&
           problem.y.c <= most_outputs;
}

std::unique_ptr<Convolution> pointwise_convolution(const ConvolutionProblem& problem) {
    return std::make_unique<PointwiseConvolution>(problem);
}

}  // namespace tvmap::cpu
#endif
