// A model recorded as a graph of operations: define once, plan (engine/graph/plan.h), replay.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/gradient_mode.h"
#include "kernels/backend.h"

namespace tvmap {

class Algorithms;
class Graph;
struct StepTraining;

/// A tensor of a graph.
struct Value {
    int id = -1;
};

/// A weight or bias: its name (PyTorch's), shape, and where its floats start among all parameters.
struct Parameter {
    std::string name;
    std::vector<std::int64_t> shape;
    std::int64_t offset = 0, size = 0;
    std::int64_t fan_in = 1;  ///< in_channels · kernel height · kernel width, for the initialisation
    std::optional<float> start = std::nullopt;  ///< where all values start, instead of at random
};

/// What an operation gets when it runs: everything is bound once, when the plan is made.
struct Binding {
    Backend* backend = nullptr;
    std::vector<ConstView> inputs;
    View output;
    View d_output;                     ///< complete; the operation may destroy it
    std::vector<View> d_inputs;        ///< data is null where no gradient is wanted
    std::vector<Write> d_input_write;  ///< overwrite where this is the first contribution
    std::vector<const float*> parameters;
    std::vector<float*> d_parameters;
    Write parameter_write = Write::overwrite;
    void* workspace = nullptr;  ///< scratch memory, contents undefined
    void* saved = nullptr;      ///< kept from forward to backward
};

/// One operation with its adjoint beside it. To add one: derive, say what backward reads, write forward and
/// backward in terms of the backend's kernels, and give Graph a function that records it. By one thread.
class Operation {
  public:
    virtual ~Operation() = default;
    virtual std::string kind() const = 0;

    /// What backward() reads besides the output's gradient; decides how long tensors live.
    virtual bool backward_reads_input(int /*input*/) const { return false; }
    virtual bool backward_reads_output() const { return false; }

    /// Whether all its tensors must be dense: then none of them can be a slice of a concatenation.
    virtual bool dense_only() const { return false; }

    /// Called once, before the memory is planned: picks algorithms, sets the three sizes below.
    virtual void prepare(Backend& /*backend*/, Algorithms& /*algorithms*/, const Graph& /*graph*/,
                         bool /*training*/) {}

    virtual void forward(const Binding& binding) = 0;
    virtual void backward(const Binding& binding) = 0;

    std::vector<int> inputs;
    int output = -1;
    std::vector<int> parameters;
    std::size_t forward_workspace = 0, backward_workspace = 0;  ///< bytes
    std::size_t saved_bytes = 0;  ///< kept from forward to backward, training only
};

/// Records operations of one thread. Shapes are checked when recorded; errors name operation and shapes.
class Graph {
  public:
    /// A tensor of a graph. A slice of channels lies inside the tensor `root`.
    struct Tensor {
        std::string name;
        Features shape;
        int producer = -1;  ///< operation, or −1 for an input
        int root = -1;      ///< itself, or the concatenation it was written into
        int channel = 0;    ///< first channel inside the root
        bool requires_gradient = false;
    };

    /// `block`: channels per block wherever a channel count is a multiple of it, 1 for planar tensors
    /// throughout.
    explicit Graph(int block) : block_(block) {}

    /// A planar N×C×H×W input. With requires_gradient its gradient can be read after backward().
    Value input(const std::string& name, int n, int c, int h, int w, bool requires_gradient = false);

    /// k×k convolution, stride 1, zero padding, bias, leaky ReLU of this slope (1: none). Its parameters
    /// NAME.weight and NAME.bias are made at the first use of the name; a second use shares them.
    Value convolution(Value x, const std::string& name, int channels, int kernel, float slope);
    Value max_pool(Value x);
    Value upsample(Value x);
    Value add(Value a, Value b);
    /// Channels of all values, one after the other. Costs nothing: the producers write into slices. (A value
    /// that already is a slice, is an input, or belongs to the solver is copied.)
    Value concatenate(const std::vector<Value>& values);
    /// `maps` channels of Λ from the first channels of the raw output.
    Value parameter_map(Value raw, const ParameterMap& map, int maps);
    /// x_T of the solver for N×1×H×W z and N×1×H×W or N×2×H×W lambda. The problem's solves, size and map are
    /// taken from these; the mode says how the gradient is made.
    Value denoise(Value z, Value lambda, PdhgProblem problem, int iterations, const GradientMode& mode = {});
    /// The same with steps that are learned (engine/unrolled/step_sizes.h); the problem's own are not used.
    Value denoise_with_steps(Value z, Value lambda, PdhgProblem problem, int iterations,
                             const StepTraining& training);
    /// The parameters of learned steps, made at the first call: s of τ, of σ, of θ.
    std::vector<int> step_parameters(const StepTraining& training);
    /// The scalar that backward() differentiates. One per graph, recorded last.
    Value loss(Value x, Value target, LossKind kind);

    const Tensor& tensor(Value value) const { return tensors_[value.id]; }
    const std::vector<Tensor>& tensors() const { return tensors_; }
    const std::vector<std::unique_ptr<Operation>>& operations() const { return operations_; }
    const std::vector<Parameter>& parameters() const { return parameters_; }
    std::int64_t parameter_count() const;

    /// Keeps a value to the end of the forward pass, so that it can be read afterwards.
    void keep(Value value) { kept_.push_back(value.id); }
    const std::vector<int>& kept() const { return kept_; }

  private:
    Value record(std::unique_ptr<Operation> operation, const std::vector<Value>& inputs,
                 const std::string& name, const Features& shape);
    Value copy(Value x);
    bool can_become_slice(Value x) const;
    void take_sizes(PdhgProblem& problem, Value& z, Value& lambda);
    Features features(int n, int c, int h, int w) const;
    int parameter(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t fan_in);

    int block_;
    std::vector<Tensor> tensors_;
    std::vector<std::unique_ptr<Operation>> operations_;
    std::vector<Parameter> parameters_;
    std::vector<int> kept_;
};

/// "N×C×H×W", for messages.
std::string describe(const Features& shape);

}  // namespace tvmap
