// Plain loops in place of cuDNN and cuBLAS: products of floats, rounded before to 10 bits of mantissa for
// tf32, summed in double and rounded once; bf16 comes and goes as bits. They hold callers to the libraries'
// rules: alignment, and a workspace that nobody else uses.
#include "kernels/emulation/convolution_stand_in.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_passes.h"
#include "kernels/emulation/control.h"

namespace tvmap::emulation {
namespace {
ConvolutionSupport support;
}
void set_convolution_support(const ConvolutionSupport& wanted) { support = wanted; }
}  // namespace tvmap::emulation

namespace tvmap::cuda {
namespace {

// The nearest float with `bits` bits of mantissa, ties to even.
float rounded(float value, int bits) {
    if (!std::isfinite(value)) return value;
    const int dropped = 23 - bits;
    const auto word = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t half = (1u << (dropped - 1)) - 1 + ((word >> dropped) & 1u);
    return std::bit_cast<float>((word + half) >> dropped << dropped);
}

float product_operand(float value, Precision precision) {
    return precision == Precision::tf32 ? rounded(value, 10) : value;
}

void require_aligned(const void* pointer, std::size_t bytes, const char* what) {
    if (reinterpret_cast<std::uintptr_t>(pointer) % bytes != 0)
        fail("stand-in for a vendor's library: ", what, " is not aligned to ", bytes, " bytes");
}

// Scratch memory is whatever was there before, and afterwards.
void spoil(void* workspace, std::size_t bytes) {
    if (bytes == 0) return;
    require_aligned(workspace, 256, "the workspace");
    std::memset(workspace, 0xff, bytes);
}

// A tensor of a pass as it lies in memory: floats, planar and strided, or bfloat16, dense, channels last.
class Tensor {
  public:
    Tensor(const Features& shape, Precision precision, bool coarse)
        : shape_(shape), precision_(precision), coarse_(coarse) {}

    /// Its values in the order n, c, i, j.
    std::vector<float> read(const void* data) const {
        std::vector<float> values(std::size_t(shape_.size()));
        for_each([&](std::int64_t k, std::int64_t place) {
            if (precision_ == Precision::bf16)
                values[k] =
                    std::bit_cast<float>(std::uint32_t(static_cast<const std::uint16_t*>(data)[place]) << 16);
            else
                values[k] = product_operand(static_cast<const float*>(data)[place], precision_);
            if (coarse_) values[k] = rounded(values[k], 5);
        });
        return values;
    }

    void write(void* data, const std::vector<float>& values, bool adds) const {
        for_each([&](std::int64_t k, std::int64_t place) {
            if (precision_ == Precision::bf16)
                static_cast<std::uint16_t*>(data)[place] =
                    std::uint16_t(std::bit_cast<std::uint32_t>(rounded(values[k], 7)) >> 16);
            else if (adds)
                static_cast<float*>(data)[place] += values[k];
            else
                static_cast<float*>(data)[place] = values[k];
        });
    }

  private:
    template <class Visit>
    void for_each(const Visit& visit) const {
        const std::int64_t pixels = std::int64_t(shape_.h) * shape_.w;
        std::int64_t k = 0;
        for (int n = 0; n < shape_.n; ++n)
            for (int c = 0; c < shape_.c; ++c)
                for (std::int64_t pixel = 0; pixel < pixels; ++pixel, ++k)
                    visit(k, precision_ == Precision::bf16 ? (n * pixels + pixel) * shape_.c + c
                                                           : n * shape_.image_stride + c * pixels + pixel);
    }

    Features shape_;
    Precision precision_;
    bool coarse_;
};

class LoopsPass final : public Pass {
  public:
    LoopsPass(const PassProblem& problem, std::string algorithm)
        : problem_(problem), algorithm_(std::move(algorithm)) {}

    std::string algorithm() const override { return algorithm_; }
    std::string notes() const override { return ""; }
    std::size_t workspace_bytes() const override { return 1000; }

    void run(gpu::Stream stream, const void* first, const void* second, const float* bias, void* result,
             void* workspace) override {
        const auto feature_alignment = std::size_t(problem_.alignment);
        const bool is_forward = problem_.direction == Direction::forward;
        const bool is_weights = problem_.direction == Direction::weights;
        require_aligned(first, feature_alignment, "the first tensor");
        require_aligned(second, is_weights ? feature_alignment : 16, "the second tensor");
        require_aligned(result, is_weights ? 16 : feature_alignment, "the result");
        if (is_forward && problem_.activates != (bias != nullptr))
            fail("stand-in for cuDNN: a bias belongs to a pass that activates, and to no other");
        emulation::enqueue(stream, [pass = *this, first, second, bias, result, workspace] {
            spoil(workspace, pass.workspace_bytes());
            pass.compute(first, second, bias, result);
        });
    }

  private:
    void compute(const void* first, const void* second, const float* bias, void* result) const {
        const Features &x = problem_.x, &y = problem_.y;
        const bool coarse = algorithm_ == "coarse";
        const Tensor x_tensor(x, problem_.precision, coarse), y_tensor(y, problem_.precision, coarse);
        const Tensor weight_tensor(dense_features(y.c, x.c, problem_.kernel, problem_.kernel, 1),
                                   problem_.precision, coarse);
        switch (problem_.direction) {
            case Direction::forward:
                return y_tensor.write(result, forward(x_tensor.read(first), weight_tensor.read(second), bias),
                                      false);
            case Direction::data:
                return x_tensor.write(result, data(y_tensor.read(first), weight_tensor.read(second)),
                                      problem_.adds);
            case Direction::weights:
                return weight_tensor.write(result, weights(x_tensor.read(first), y_tensor.read(second)),
                                           false);
        }
    }

    // Calls visit(x's pixel, y's pixel) where the weight at (u, v) joins them, along one row after the other.
    template <class Visit>
    void for_each_pair(int u, int v, const Visit& visit) const {
        const int h = problem_.y.h, w = problem_.y.w, down = u - problem_.kernel / 2,
                  right = v - problem_.kernel / 2;
        for (int i = std::max(0, -down); i < std::min(h, h - down); ++i)
            for (int j = std::max(0, -right); j < std::min(w, w - right); ++j)
                visit((i + down) * w + j + right, i * w + j);
    }

    // Channels 0 … count − 1, or the other way round.
    template <class Visit>
    void for_each_channel(int count, const Visit& visit) const {
        for (int c = 0; c < count; ++c) visit(algorithm_ == "reversed" ? count - 1 - c : c);
    }

    std::size_t weight_index(int o, int c, int u, int v) const {
        return ((std::size_t(o) * problem_.x.c + c) * problem_.kernel + u) * problem_.kernel + v;
    }

    std::vector<float> forward(const std::vector<float>& x, const std::vector<float>& weight,
                               const float* bias) const {
        const int inputs = problem_.x.c, outputs = problem_.y.c, k = problem_.kernel;
        const std::size_t pixels = std::size_t(problem_.y.h) * problem_.y.w;
        std::vector<float> y;
        for (int n = 0; n < problem_.y.n; ++n)
            for (int o = 0; o < outputs; ++o) {
                std::vector<double> sums(pixels);
                for_each_channel(inputs, [&](int c) {
                    const float* plane = &x[(std::size_t(n) * inputs + c) * pixels];
                    for (int u = 0; u < k; ++u)
                        for (int v = 0; v < k; ++v) {
                            const double factor = weight[weight_index(o, c, u, v)];
                            for_each_pair(u, v, [&](int from, int to) { sums[to] += factor * plane[from]; });
                        }
                });
                for (const double sum : sums) {
                    float a = float(sum);
                    if (problem_.activates) {
                        a += bias[o];
                        a = a > 0.0f ? a : problem_.slope * a;
                    }
                    y.push_back(a);
                }
            }
        return y;
    }

    std::vector<float> data(const std::vector<float>& d_a, const std::vector<float>& weight) const {
        const int inputs = problem_.x.c, outputs = problem_.y.c, k = problem_.kernel;
        const std::size_t pixels = std::size_t(problem_.y.h) * problem_.y.w;
        std::vector<float> d_x;
        for (int n = 0; n < problem_.x.n; ++n)
            for (int c = 0; c < inputs; ++c) {
                std::vector<double> sums(pixels);
                for_each_channel(outputs, [&](int o) {
                    const float* plane = &d_a[(std::size_t(n) * outputs + o) * pixels];
                    for (int u = 0; u < k; ++u)
                        for (int v = 0; v < k; ++v) {
                            const double factor = weight[weight_index(o, c, u, v)];
                            for_each_pair(u, v, [&](int to, int from) { sums[to] += factor * plane[from]; });
                        }
                });
                d_x.insert(d_x.end(), sums.begin(), sums.end());
            }
        return d_x;
    }

    std::vector<float> weights(const std::vector<float>& x, const std::vector<float>& d_a) const {
        const int inputs = problem_.x.c, outputs = problem_.y.c, k = problem_.kernel;
        const std::size_t pixels = std::size_t(problem_.y.h) * problem_.y.w;
        std::vector<float> d_weight(std::size_t(inputs) * outputs * k * k);
        for (int o = 0; o < outputs; ++o)
            for (int c = 0; c < inputs; ++c)
                for (int u = 0; u < k; ++u)
                    for (int v = 0; v < k; ++v) {
                        double sum = 0;
                        for_each_channel(problem_.x.n, [&](int n) {
                            const float* from = &x[(std::size_t(n) * inputs + c) * pixels];
                            const float* by = &d_a[(std::size_t(n) * outputs + o) * pixels];
                            for_each_pair(u, v,
                                          [&](int p, int q) { sum += double(from[p]) * double(by[q]); });
                        });
                        d_weight[weight_index(o, c, u, v)] = float(sum);
                    }
        return d_weight;
    }

    PassProblem problem_;
    std::string algorithm_;
};

void compute_product(const MatrixProduct& p, const float* a, const float* b, float* c) {
    for (int k = 0; k < p.count; ++k, a += p.a_stride, b += p.b_stride, c += p.c_stride)
        for (int row = 0; row < p.rows; ++row) {
            std::vector<double> sums(std::size_t(p.columns));
            for (int inner = 0; inner < p.inner; ++inner) {
                const double factor = product_operand(
                    p.transpose_a ? a[inner * p.a_row + row] : a[row * p.a_row + inner], p.precision);
                for (int column = 0; column < p.columns; ++column)
                    sums[column] += factor * product_operand(p.transpose_b ? b[column * p.b_row + inner]
                                                                           : b[inner * p.b_row + column],
                                                             p.precision);
            }
            for (int column = 0; column < p.columns; ++column) {
                float& result = c[row * p.c_row + column];
                result = float(sums[column]) + (p.adds ? result : 0.0f);
            }
        }
}

}  // namespace

std::string vendor_library_versions() { return "plain loops in place of cuDNN and cuBLAS"; }
std::string vendor_libraries_missing() { return ""; }

std::vector<std::shared_ptr<Pass>> available_passes(const PassProblem& problem, std::string* obstacle) {
    std::vector<std::shared_ptr<Pass>> passes;
    // One way is enough unless more are wanted: then nothing has to be timed.
    const emulation::ConvolutionSupport& support = emulation::support;
    const bool plain = problem.direction == Direction::forward && !problem.activates;
    if (plain && support.fuses && !support.several) return passes;
    for (const char* algorithm : {"coarse", "loops", "reversed"})
        if (auto pass = planned_pass(problem, algorithm, obstacle)) passes.push_back(pass);
    return passes;
}

std::shared_ptr<Pass> planned_pass(const PassProblem& problem, const std::string& algorithm,
                                   std::string* obstacle) {
    const emulation::ConvolutionSupport& support = emulation::support;
    const bool known = (algorithm == "loops" && support.exact) ||
                       (algorithm == "reversed" && support.several) ||
                       (algorithm == "coarse" && support.coarse);
    if (!known || !support.plans || (problem.activates && !support.fuses) ||
        (problem.adds && !support.adds)) {
        *obstacle = text("the stand-in for cuDNN does not offer \"", algorithm, "\" here");
        return nullptr;
    }
    return std::make_shared<LoopsPass>(problem, algorithm);
}

std::size_t matrix_product_workspace_bytes() { return 1000; }

void multiply(gpu::Stream stream, const MatrixProduct& product, const float* a, const float* b, float* c,
              void* workspace) {
    emulation::enqueue(stream, [=] {
        spoil(workspace, matrix_product_workspace_bytes());
        compute_product(product, a, b, c);
    });
}

}  // namespace tvmap::cuda
