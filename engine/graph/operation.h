// What an operation of a graph is: everything that graph and plan ask of one. To add one, derive from Operation in
// files of its own and record it by Graph::record; neither graph nor plan know any operation by name.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/base/kernel.h"

namespace tvmap {

class Algorithms;
class Graph;

/// Where the values of a parameter start: all at `value`, or uniform in ±gain/√fan_in.
struct ParameterStart {
    float gain = 1;
    std::optional<float> value = std::nullopt;
};

/// A weight or bias: its name (PyTorch's), shape, and where its floats start among all parameters.
struct Parameter {
    std::string name;
    std::vector<std::int64_t> shape;
    std::int64_t offset = 0, size = 0;
    std::int64_t fan_in = 1;  ///< in_channels · kernel height · kernel width, for the initialisation
    ParameterStart start = {};
};

/// Places along an axis of a tensor, rows or columns, both ends included.
struct Places {
    std::int64_t first = 0, last = 0;
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

/// One operation with its adjoint beside it. A function of its own makes it, adds its parameters (Graph::parameter)
/// and records it. Tensors may be slices of wider ones (image_stride), unless dense_only() says otherwise. By one thread.
class Operation {
  public:
    virtual ~Operation() = default;
    /// What it is, for messages: "max pool".
    virtual std::string kind() const = 0;

    /// Shape and layout of the output, from those of the inputs: graph.tensors()[inputs[i]]. Asked once, when the
    /// operation is recorded. Throws Error, which names the tensors, where they do not go together.
    virtual Features output_shape(const Graph& graph) const = 0;

    /// The kernels that it runs (kernels/base/kernel.h): a plan for a backend without one of them is refused.
    virtual std::vector<KernelId> kernels() const { return {}; }

    /// What backward() reads besides the output's gradient; decides how long tensors live.
    virtual bool backward_reads_input(int /*input*/) const { return false; }
    virtual bool backward_reads_output() const { return false; }

    /// Whether it works on tensors of bf16 (kernels/base/features.h) as on others.
    virtual bool works_in_bf16() const { return false; }
    /// Whether all its tensors must be dense: then none of them can be a slice of a concatenation.
    virtual bool dense_only() const { return false; }
    /// Whether the inputs lie in the output as its channels, one after the other, and their gradients in its gradient:
    /// then forward() and backward() have nothing to do.
    virtual bool joins_inputs() const { return false; }
    /// Whether the backward pass starts here: this is the graph's last operation then. `saved` begins with the loss, a
    /// double, and is kept to the end, where nobody trains too; the output is not used.
    virtual bool is_loss() const { return false; }

    /// The places of an input that these places of the output depend on, of rows as of columns, as if no axis had an end.
    /// Throws Error, unless an operation says it: networks that use it are not divided into tiles.
    virtual Places reads(int input, Places places) const;

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

}  // namespace tvmap
