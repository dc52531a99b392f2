// A CUDA convolution: 1×1 as matrix products (kernels/convolution/convolution_products.cu), 3×3 by a planned pass for
// each direction. In order:
//     forward   the pass; bias and leaky ReLU in place where the pass does not contain them
//     backward  the activation's gradient and the bias gradient, in place of d_y; weights; data
// The passes' operands are the caller's tensors but where the workspace has to step in:
//     bf16      x, weight, d_a are narrowed before a pass, its result is widened after it
//     fp32 and tf32  parameters that are not aligned to 16 bytes; a weight gradient that is added to an
//               earlier one; d_x likewise, where no pass adds by itself
#include "kernels/convolution/convolution.h"

#include <algorithm>
#include <map>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_choice.h"
#include "kernels/convolution/convolution_products.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "kernels/layers/activation_gradient.h"
#include "kernels/layers/bfloat16.h"
#include "kernels/layers/leaky_relu.h"

namespace tvmap::cuda {
namespace {

bool is_aligned(const void* data, std::size_t bytes) {
    return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

// What whole channels of an aligned tensor are aligned to, 16 bytes at most.
int channel_alignment(const Features& f) {
    const std::int64_t bytes = std::int64_t(f.h) * f.w * int(sizeof(float));
    return bytes % 16 == 0 ? 16 : bytes % 8 == 0 ? 8 : 4;
}

Features dense(const Features& f) { return dense_features(f.n, f.c, f.h, f.w, 1); }

class PlannedConvolution final : public Convolution {
  public:
    PlannedConvolution(gpu::Stream stream, Precision precision, const ConvolutionProblem& problem,
                       const std::string& algorithms)
        : stream_(stream),
          precision_(precision),
          problem_(problem),
          weights_(dense_features(problem.y.c, problem.x.c, problem.kernel, problem.kernel, 1)) {
        choose(algorithms);
        lay_out_forward();
        if (problem.training) lay_out_backward();
    }

    std::size_t forward_workspace_bytes() const override { return forward_layout_.bytes(); }
    std::size_t backward_workspace_bytes() const override { return backward_layout_.bytes(); }

    void forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) override {
        check_alignment(x, y);
        std::byte* const base = WorkspaceLayout::base(workspace);
        const void* const x_operand = features_operand(x, problem_.x, base + forward_x_);
        const void* const weight_operand = weight_operand_of(weight, base + forward_weight_);
        void* const result = narrow() ? base + forward_y_ : static_cast<void*>(y);
        forward_.pass->run(stream_, x_operand, weight_operand, forward_.activates ? bias : nullptr, result,
                           base + forward_scratch_);
        if (narrow()) widen(result, {y, problem_.y}, Write::overwrite);
        if (!forward_.activates) bias_activation(stream_, {y, problem_.y}, bias, problem_.slope);
    }

    void backward(const ConvolutionBackward& b, void* workspace) override {
        const bool adds = b.d_x && b.d_x_write == Write::accumulate;
        if (!problem_.training || (b.d_x && !data_) || (adds && !problem_.accumulates_d_x))
            fail("convolution (", problem_.key(), "): planned without this gradient");
        check_alignment(b.x, b.d_y);
        check_alignment(b.d_x, b.d_y);
        std::byte* const base = WorkspaceLayout::base(workspace);
        std::byte* const scratch = base + backward_scratch_;
        activation_gradient(stream_, {b.y, problem_.y}, {b.d_y, problem_.y}, {b.d_y, problem_.y},
                            problem_.slope, b.d_bias, b.parameter_write, scratch);
        const void* const d_a = features_operand(b.d_y, problem_.y, base + backward_d_a_);

        const void* const x_operand = features_operand(b.x, problem_.x, base + backward_x_);
        const bool direct = !narrow() && b.parameter_write == Write::overwrite && is_aligned(b.d_weight, 16);
        void* const d_weight_result = direct ? static_cast<void*>(b.d_weight) : base + backward_d_weight_;
        weights_pass_.pass->run(stream_, x_operand, d_a, nullptr, d_weight_result, scratch);
        if (!direct) finish(d_weight_result, {b.d_weight, weights_}, b.parameter_write);

        if (!b.d_x) return;
        const void* const weight_operand = weight_operand_of(b.weight, base + backward_weight_);
        const bool staged = narrow() || (adds && !data_add_);
        void* const d_x_result = staged ? base + backward_x_ : static_cast<void*>(b.d_x);
        const ChosenPass& pass = adds && !staged ? data_add_ : data_;
        pass.pass->run(stream_, d_a, weight_operand, nullptr, d_x_result, scratch);
        if (staged) finish(d_x_result, {b.d_x, problem_.x}, b.d_x_write);
    }

    std::string algorithms() const override {
        std::string all = "forward=" + forward_.to_string();
        if (weights_pass_) all += ",weights=" + weights_pass_.to_string();
        if (data_) all += ",data=" + data_.to_string();
        if (data_ && adds_itself()) all += ",data_add=" + data_add_.to_string();
        return all;
    }

  private:
    bool narrow() const { return precision_ == Precision::bf16; }
    // Whether there is any use for a pass that adds to d_x.
    bool adds_itself() const { return problem_.accumulates_d_x && !narrow(); }

    PassProblem pass_problem(Direction direction) const {
        PassProblem pass;
        pass.direction = direction;
        pass.precision = precision_;
        pass.x = narrow() ? dense(problem_.x) : problem_.x;
        pass.y = narrow() ? dense(problem_.y) : problem_.y;
        pass.kernel = problem_.kernel;
        if (direction == Direction::forward) pass.slope = problem_.slope;
        pass.alignment = narrow() ? 16 : channel_alignment(problem_.x);
        pass.most_workspace = std::size_t(problem_.x.n) << 26;  // 64 MiB an image
        return pass;
    }

    void choose(const std::string& algorithms) {
        const bool untimed = are_untimed(algorithms);
        std::map<std::string, std::string> given;
        for (std::size_t at = 0; at < algorithms.size();) {
            const std::size_t end = std::min(algorithms.find(',', at), algorithms.size());
            const std::size_t equals = std::min(algorithms.find('=', at), end);
            given[algorithms.substr(at, equals - at)] =
                algorithms.substr(std::min(equals + 1, end), end - std::min(equals + 1, end));
            at = end + 1;
        }
        const auto plan = [&](const char* part, const PassProblem& pass, bool needed) {
            std::string obstacle;
            const ChosenPass chosen = algorithms.empty() ? fastest_pass(stream_, pass, &obstacle)
                                      : untimed ? extreme_pass(pass, algorithms == most_memory, &obstacle)
                                                : given_pass(pass, given[part], &obstacle);
            if (!chosen && needed)
                fail("convolution (", problem_.key(), "): no algorithm for ", pass.key(), ": ", obstacle,
                     algorithms.empty() ? "; choose other sizes or another precision"
                                        : "; leave the algorithms empty to have them chosen anew");
            return chosen;
        };
        forward_ = plan("forward", pass_problem(Direction::forward), true);
        if (problem_.training) {
            weights_pass_ = plan("weights", pass_problem(Direction::weights), true);
            if (problem_.needs_d_x) data_ = plan("data", pass_problem(Direction::data), true);
            if (data_ && adds_itself()) {
                PassProblem adding = pass_problem(Direction::data);
                adding.adds = true;
                data_add_ = plan("data_add", adding, false);
            }
        }
        if (!algorithms.empty() && !untimed && this->algorithms() != algorithms)
            fail("convolution (", problem_.key(), "): algorithms \"", algorithms, "\" do not fit, \"",
                 this->algorithms(), "\" would; leave them empty to have them chosen anew");
    }

    std::size_t narrow_bytes(const Features& f) const {
        return narrow() ? std::size_t(f.size()) * sizeof(std::uint16_t) : 0;
    }
    std::size_t weight_bytes() const {
        return std::size_t(weights_.size()) * (narrow() ? sizeof(std::uint16_t) : sizeof(float));
    }

    void lay_out_forward() {
        forward_x_ = forward_layout_.take(narrow_bytes(problem_.x));
        forward_weight_ = forward_layout_.take(weight_bytes());
        forward_y_ = forward_layout_.take(narrow_bytes(problem_.y));
        forward_scratch_ = forward_layout_.take(forward_.pass->workspace_bytes());
    }

    // x is done with when d_x is written: they share a place.
    void lay_out_backward() {
        const bool stages_d_x = data_ && adds_itself() && !data_add_;
        const Features& x = problem_.x;
        const std::size_t d_x_bytes =
            std::size_t((x.n - 1) * x.image_stride + x.image_size()) * sizeof(float);
        backward_x_ = backward_layout_.take(stages_d_x ? d_x_bytes : narrow_bytes(x));
        backward_d_a_ = backward_layout_.take(narrow_bytes(problem_.y));
        backward_weight_ = backward_layout_.take(weight_bytes());
        backward_d_weight_ = backward_layout_.take(weight_bytes());
        std::size_t scratch = activation_gradient_workspace_bytes(problem_.y);
        for (const ChosenPass* pass : {&weights_pass_, &data_, &data_add_})
            if (*pass) scratch = std::max(scratch, pass->pass->workspace_bytes());
        backward_scratch_ = backward_layout_.take(scratch);
    }

    void check_alignment(const float* a, const float* b) const {
        const std::size_t alignment = std::size_t(channel_alignment(problem_.x));
        if (!is_aligned(a, alignment) || !is_aligned(b, alignment))
            fail("convolution (", problem_.key(), "): tensors must be aligned to ", alignment,
                 " bytes, as whole channels of an aligned tensor are");
    }

    const void* features_operand(const float* data, const Features& shape, std::byte* place) const {
        if (!narrow()) return data;
        to_bfloat16(stream_, {data, shape}, reinterpret_cast<std::uint16_t*>(place), true);
        return place;
    }

    const void* weight_operand_of(const float* weight, std::byte* place) const {
        if (narrow()) return features_operand(weight, weights_, place);
        if (is_aligned(weight, 16)) return weight;
        gpu::copy(stream_, place, weight, weight_bytes());
        return place;
    }

    void widen(const void* result, View y, Write write) const {
        from_bfloat16(stream_, static_cast<const std::uint16_t*>(result), true, y, write);
    }

    // From where a pass left its result, in the strides of y, to where it belongs.
    void finish(const void* result, View y, Write write) const {
        if (narrow()) return widen(result, y, write);
        if (write == Write::accumulate)
            return add(stream_, y, {static_cast<const float*>(result), y.shape}, y);
        gpu::copy(stream_, y.data, result, std::size_t(y.shape.size()) * sizeof(float));
    }

    gpu::Stream stream_;
    Precision precision_;
    ConvolutionProblem problem_;
    Features weights_;  // out×in×k×k
    ChosenPass forward_, weights_pass_, data_, data_add_;
    WorkspaceLayout forward_layout_, backward_layout_;
    std::size_t forward_x_ = 0, forward_weight_ = 0, forward_y_ = 0, forward_scratch_ = 0;
    std::size_t backward_x_ = 0, backward_d_a_ = 0, backward_weight_ = 0, backward_d_weight_ = 0,
                backward_scratch_ = 0;
};

constexpr const char* precision_names[] = {"fp32", "tf32", "bf16"};

}  // namespace

const char* precision_name(Precision precision) { return precision_names[int(precision)]; }

Precision parse_precision(const std::string& name) {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
        if (name == precision_name(precision)) return precision;
    fail("precision \"", name, "\" is none of fp32, tf32, bf16");
}

const char* name(Direction direction) {
    constexpr const char* names[] = {"forward", "data", "weights"};
    return names[int(direction)];
}

std::string PassProblem::key() const {
    return text(name(direction), " ", kernel, "x", kernel, " ", precision_name(precision),
                precision == Precision::bf16 ? " channels last, n" : " planar, n", x.n, " ", x.c, ">", y.c,
                " ", x.h, "x", x.w, ", image strides ", x.image_stride, " and ", y.image_stride,
                ", aligned to ", alignment, activates ? ", activation" : "", ", slope ", slope,
                adds ? ", adding" : "");
}

std::unique_ptr<Convolution> make_convolution(gpu::Stream stream, Precision precision,
                                              const ConvolutionProblem& problem,
                                              const std::string& algorithms) {
    problem.check();
    if (problem.x.block != 1 || problem.y.block != 1)
        fail("convolution (", problem.key(), "): tensors on CUDA are planar, in blocks of 1");
    if (const std::string missing = vendor_libraries_missing(); !missing.empty()) fail(missing);
    std::unique_ptr<Convolution> convolution;
    const bool runs = !are_untimed(algorithms);
    if (problem.kernel == 1) {
        if (!algorithms.empty() && runs && algorithms != "matrix_product")
            fail("convolution (", problem.key(), "): algorithms \"", algorithms,
                 "\" do not fit, \"matrix_product\" would; leave them empty");
        convolution = pointwise_convolution(stream, precision, problem);
    } else {
        const bool wide = problem.x.c % 8 == 0 && problem.y.c % 8 == 0;
        if (precision == Precision::bf16 && !wide) precision = Precision::tf32;
        convolution = std::make_unique<PlannedConvolution>(stream, precision, problem, algorithms);
    }
    if (runs) rehearse(stream, precision, problem, *convolution);
    return convolution;
}

}  // namespace tvmap::cuda
