// The 1×1 convolution as matrix products; with P = H·W pixels, for every image n
//     y[n]     = W·x[n]          Cout×P = Cout×Cin · Cin×P, then bias and leaky ReLU in place
//     d_x[n]   = Wᵀ·d_a[n]       Cin×P = Cin×Cout · Cout×P
//     d_weight = Σ_n d_a[n]·x[n]ᵀ          Cout×Cin, sums over N·P pixels
// The last has a small result and long sums: these are cut into pieces of fixed length, one product each, and
// the pieces are added up in a fixed order by a kernel of ours.
#include "kernels/convolution/convolution_products.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_choice.h"
#include "kernels/gpu/gpu.h"
#include "kernels/layers/activation_gradient.h"

namespace tvmap::cuda {
namespace {

constexpr int piece_pixels = 1024;

constexpr unsigned sum_columns = 32, sum_rows = 16;  // of a block: weights × shares of the pieces

// sums: pieces×weights. d_weight[w] = Σ_k sums[k, w], or added to it. A block's rows add up every
// sum_rows-th piece each, its first row adds up the rows, all in double.
__global__ void sum_pieces_kernel(const float* sums, int pieces, int weights, float* d_weight,
                                  bool accumulate) {
    double* shares = gpu::shared_memory<double>();
    const unsigned column = threadIdx.x, row = threadIdx.y;
    const int weight = int(blockIdx.x * sum_columns + column);
    double share = 0;
    if (weight < weights)
        for (int k = int(row); k < pieces; k += int(sum_rows))
            share += double(sums[std::int64_t(k) * weights + weight]);
    shares[row * sum_columns + column] = share;
    __syncthreads();
    if (row > 0 || weight >= weights) return;
    double total = 0;
    for (unsigned r = 0; r < sum_rows; ++r) total += shares[r * sum_columns + column];
    d_weight[weight] = float(total) + (accumulate ? d_weight[weight] : 0.0f);
}

class PointwiseConvolution final : public Convolution {
  public:
    PointwiseConvolution(gpu::Stream stream, Precision precision, const ConvolutionProblem& problem)
        : stream_(stream),
          precision_(precision == Precision::fp32 ? Precision::fp32 : Precision::tf32),
          problem_(problem),
          x_(problem.x),
          y_(problem.y),
          pixels_(x_.h * x_.w),
          whole_(pixels_ / piece_pixels),
          pieces_(whole_ + (pixels_ % piece_pixels != 0)),
          weights_(x_.c * y_.c) {
        sums_ = backward_.take(std::size_t(x_.n) * pieces_ * weights_ * sizeof(float));
        scratch_ = backward_.take(
            std::max(matrix_product_workspace_bytes(), activation_gradient_workspace_bytes(y_)));
        forward_.take(matrix_product_workspace_bytes());
    }

    std::size_t forward_workspace_bytes() const override { return forward_.bytes(); }
    std::size_t backward_workspace_bytes() const override {
        return problem_.training ? backward_.bytes() : 0;
    }

    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) override {
        MatrixProduct p = product(y_.c, pixels_, x_.c);
        p.a_row = x_.c, p.b_row = p.c_row = pixels_;
        p.count = x_.n, p.b_stride = x_.image_stride, p.c_stride = y_.image_stride;
        multiply(stream_, p, weight, x, y, WorkspaceLayout::base(workspace));
        bias_activation(stream_, {y, y_}, bias, problem_.slope);
    }

    void backward(const ConvolutionBackward& b, void* workspace) override {
        const bool adds = b.d_x && b.d_x_write == Write::accumulate;
        if (!problem_.training || (b.d_x && !problem_.needs_d_x) || (adds && !problem_.accumulates_d_x))
            fail("convolution (", problem_.key(), "): planned without this gradient");
        std::byte* const base = WorkspaceLayout::base(workspace);
        std::byte* const scratch = base + scratch_;
        activation_gradient(stream_, {b.y, y_}, {b.d_y, y_}, {b.d_y, y_}, problem_.slope, b.d_bias,
                            b.parameter_write, scratch);
        weights_pass(b.x, b.d_y, reinterpret_cast<float*>(base + sums_), b.d_weight, b.parameter_write,
                     scratch);
        if (!b.d_x) return;
        MatrixProduct p = product(x_.c, pixels_, y_.c);
        p.transpose_a = true, p.a_row = x_.c, p.b_row = p.c_row = pixels_;
        p.count = x_.n, p.b_stride = y_.image_stride, p.c_stride = x_.image_stride;
        p.adds = adds;
        multiply(stream_, p, b.weight, b.d_y, b.d_x, scratch);
    }

    std::string algorithms() const override { return "matrix_product"; }

  private:
    MatrixProduct product(int rows, int columns, int inner) const {
        MatrixProduct p;
        p.rows = rows, p.columns = columns, p.inner = inner, p.precision = precision_;
        return p;
    }

    // Piece k of image n goes to sums[n, k]. A batch runs over the images or over the pieces of one image,
    // whichever takes fewer products.
    void weights_pass(const float* x, const float* d_a, float* sums, float* d_weight, Write write,
                      void* scratch) const {
        const auto multiply_pieces = [&](int image, int piece, int pixels, int count, bool over_images) {
            MatrixProduct p = product(y_.c, x_.c, pixels);
            p.transpose_b = true, p.a_row = p.b_row = pixels_, p.c_row = x_.c, p.count = count;
            p.a_stride = over_images ? y_.image_stride : piece_pixels;
            p.b_stride = over_images ? x_.image_stride : piece_pixels;
            p.c_stride = std::int64_t(over_images ? pieces_ : 1) * weights_;
            const std::int64_t start = std::int64_t(piece) * piece_pixels;
            multiply(stream_, p, d_a + image * y_.image_stride + start, x + image * x_.image_stride + start,
                     sums + (std::int64_t(image) * pieces_ + piece) * weights_, scratch);
        };
        if (whole_ < x_.n)
            for (int piece = 0; piece < whole_; ++piece) multiply_pieces(0, piece, piece_pixels, x_.n, true);
        else
            for (int image = 0; image < x_.n; ++image) multiply_pieces(image, 0, piece_pixels, whole_, false);
        if (whole_ < pieces_) multiply_pieces(0, whole_, pixels_ % piece_pixels, x_.n, true);

        gpu::launch(stream_,
                    {.name = "sum_pieces_kernel",
                     .grid = dim3(gpu::blocks_for(weights_, sum_columns)),
                     .block = dim3(sum_columns, sum_rows),
                     .shared_bytes = sum_columns * sum_rows * sizeof(double)},
                    sum_pieces_kernel, sums, x_.n * pieces_, weights_, d_weight, write == Write::accumulate);
    }

    gpu::Stream stream_;
    Precision precision_;
    ConvolutionProblem problem_;
    Features x_, y_;
    int pixels_, whole_, pieces_, weights_;  // pixels of an image, its whole pieces, all its pieces; Cin·Cout
    WorkspaceLayout forward_, backward_;
    std::size_t sums_ = 0, scratch_ = 0;
};

}  // namespace

std::unique_ptr<Convolution> pointwise_convolution(gpu::Stream stream, Precision precision,
                                                   const ConvolutionProblem& problem) {
    return std::make_unique<PointwiseConvolution>(stream, precision, problem);
}

}  // namespace tvmap::cuda
