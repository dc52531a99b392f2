// The operations that come with the library: the functions that record them, and the operations themselves, each of
// which states what its backward pass reads and calls the backend's kernels. Shapes that do not go together are an
// Error of the function.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/unrolled/unrolled_solver.h"
#include "kernels/layers/leaky_relu.h"
#include "kernels/layers/map_from_raw.h"
#include "kernels/layers/max_pool.h"
#include "kernels/layers/upsample.h"
#include "kernels/training/loss.h"

namespace tvmap {

struct StepTraining;

/// Where weight and bias of a convolution start.
struct ConvolutionStart {
    ParameterStart weight, bias;
};

/// k×k convolution, stride 1, zero padding, bias, leaky ReLU of this slope (1: none). Its parameters
/// NAME.weight and NAME.bias are made at the first use of the name; a second use shares them.
Value convolution(Graph& graph, Value x, const std::string& name, int channels, int kernel, float slope,
                  const ConvolutionStart& start = {});
Value max_pool(Graph& graph, Value x);
Value upsample(Graph& graph, Value x);
Value add(Graph& graph, Value a, Value b);
/// A dense copy.
Value copy(Graph& graph, Value x);
/// x itself where it is dense, else a copy: for operations that are dense_only().
Value dense(Graph& graph, Value x);
/// Channels of all values, one after the other. Costs nothing: the producers write into slices. (A value
/// that cannot become a slice, Graph::can_become_slice, is copied.)
Value concatenate(Graph& graph, const std::vector<Value>& values);
/// `maps` channels of Λ from the first channels of the raw output.
Value map_from_raw(Graph& graph, Value raw, const MapFromRaw& map, int maps);
/// x_T of the solver for N×1×H×W z and N×1×H×W or N×2×H×W lambda. The problem's solves, size and map are
/// taken from these; the mode says how the gradient is made.
Value denoise(Graph& graph, Value z, Value lambda, PdhgProblem problem, int iterations,
              const GradientMode& mode = {});
/// The same with steps that are learned (engine/unrolled/step_sizes.h); the problem's own are not used.
Value denoise_with_steps(Graph& graph, Value z, Value lambda, PdhgProblem problem, int iterations,
                         const StepTraining& training);
/// The parameters of learned steps, made at the first call: s of τ, of σ, of θ.
std::vector<int> step_parameters(Graph& graph, const StepTraining& training);
/// The scalar that backward() differentiates. One per graph, recorded last.
Value loss(Graph& graph, Value x, Value target, LossKind kind);

/// The problem with the solves, size and map of these tensors, which must be dense when it is solved.
PdhgProblem sized_problem(const Graph& graph, Value z, Value lambda, PdhgProblem problem);

/// inputs: x; parameters: weight, bias.
class ConvolutionOperation final : public Operation {
  public:
    ConvolutionOperation(int channels, int kernel, float slope)
        : channels_(channels), kernel_(kernel), slope_(slope) {}
    std::string kind() const override { return "convolution"; }
    bool works_in_bf16() const override { return true; }
    Features output_shape(const Graph& graph) const override;
    Places reads(int, Places places) const override {
        return {places.first - kernel_ / 2, places.last + kernel_ / 2};
    }
    bool backward_reads_input(int) const override { return true; }
    bool backward_reads_output() const override { return slope_ != 1.0f; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    std::string borrowed_choice(Backend& backend, Algorithms& algorithms, ConvolutionProblem problem) const;
    void take_workspaces(const Convolution& convolution, bool training);
    void plan_untimed(Backend& backend, Algorithms& algorithms, const ConvolutionProblem& problem,
                      const std::string& key);

    int channels_, kernel_;
    float slope_;
    std::unique_ptr<Convolution> convolution_;  ///< null: planned without being timed, not to be run
};

/// inputs: x.
class MaxPoolOperation final : public Operation {
  public:
    std::string kind() const override { return "max pool"; }
    bool works_in_bf16() const override { return true; }
    Features output_shape(const Graph& graph) const override;
    std::vector<KernelId> kernels() const override { return {max_pool_forward.id(), max_pool_backward.id()}; }
    Places reads(int, Places places) const override { return {2 * places.first, 2 * places.last + 1}; }
    bool backward_reads_input(int) const override { return true; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// Output places 2k−1 and 2k lie between the places k−1 and k (kernels/layers/upsample.h), of a window of the whole too.
inline Places upsampling_reads(Places places) {
    return {((places.first + 1) >> 1) - 1, (places.last + 1) >> 1};
}

/// inputs: x.
class UpsampleOperation final : public Operation {
  public:
    std::string kind() const override { return "upsample"; }
    bool works_in_bf16() const override { return true; }
    Features output_shape(const Graph& graph) const override;
    std::vector<KernelId> kernels() const override { return {upsample_forward.id(), upsample_backward.id()}; }
    Places reads(int, Places places) const override { return upsampling_reads(places); }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: a, b. The gradient goes to both.
class AddOperation final : public Operation {
  public:
    std::string kind() const override { return "add"; }
    Features output_shape(const Graph& graph) const override;
    std::vector<KernelId> kernels() const override { return {add_forward.id()}; }
    Places reads(int, Places places) const override { return places; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: x. Puts a value that cannot be produced in place into a slice of a concatenation.
class CopyOperation final : public Operation {
  public:
    std::string kind() const override { return "copy"; }
    Features output_shape(const Graph& graph) const override;
    Places reads(int, Places places) const override { return places; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: the slices, which already lie in the output, as their gradients lie in its gradient: nothing to
/// do.
class ConcatenateOperation final : public Operation {
  public:
    std::string kind() const override { return "concatenate"; }
    bool works_in_bf16() const override { return true; }
    Features output_shape(const Graph& graph) const override;
    bool joins_inputs() const override { return true; }
    Places reads(int, Places places) const override { return places; }
    void forward(const Binding&) override {}
    void backward(const Binding&) override {}
};

/// inputs: raw.
class MapFromRawOperation final : public Operation {
  public:
    MapFromRawOperation(const MapFromRaw& map, int maps) : map_(map), maps_(maps) {}
    std::string kind() const override { return "map from raw"; }
    Features output_shape(const Graph& graph) const override;
    std::vector<KernelId> kernels() const override {
        return {map_from_raw_forward.id(), map_from_raw_backward.id()};
    }
    Places reads(int, Places places) const override { return places; }
    bool backward_reads_input(int) const override { return true; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    MapFromRaw map_;
    int maps_;
};

/// inputs: z, lambda. Its gradient in any mode, see engine/unrolled/unrolled_solver.h.
class DenoiseOperation final : public Operation {
  public:
    DenoiseOperation(const PdhgProblem& problem, int iterations, const GradientMode& mode)
        : problem_(problem), iterations_(iterations), mode_(mode) {}
    std::string kind() const override { return "denoise"; }
    Features output_shape(const Graph& graph) const override;
    bool backward_reads_input(int) const override { return solver_->recomputes(); }
    bool dense_only() const override { return true; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    PdhgProblem problem_;
    int iterations_;
    GradientMode mode_;
    std::unique_ptr<UnrolledSolver> solver_;
};

/// inputs: x, target. Saves the loss and each image's MSE as doubles: loss first, then MSE_n.
class LossOperation final : public Operation {
  public:
    explicit LossOperation(LossKind loss) : loss_(loss) {}
    std::string kind() const override { return "loss"; }
    Features output_shape(const Graph& graph) const override;
    std::vector<KernelId> kernels() const override { return {loss_forward.id(), loss_backward.id()}; }
    bool is_loss() const override { return true; }
    bool backward_reads_input(int) const override { return true; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    LossKind loss_;
};

}  // namespace tvmap
