// A model recorded as a graph of operations: define once, plan (engine/graph/plan.h), replay. The operations that come with
// the library are in engine/graph/operations.h; others are recorded in the same way (engine/graph/operation.h).
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/operation.h"

namespace tvmap {

/// A tensor of a graph.
struct Value {
    int id = -1;
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
    /// throughout. `element`: what tensors in blocks, and their gradients, are stored as.
    explicit Graph(int block, Element element = Element::fp32) : block_(block), element_(element) {}

    /// A planar N×C×H×W input. With requires_gradient its gradient can be read after backward().
    Value input(const std::string& name, int n, int c, int h, int w, bool requires_gradient = false);

    /// Adds an operation, whose parameters are set, on these inputs; answers its output, called `name`. Throws Error,
    /// and adds nothing, where inputs are no values of this graph or do not suit the operation.
    Value record(std::unique_ptr<Operation> operation, const std::vector<Value>& inputs,
                 const std::string& name);

    /// The number of the parameter of this name: made at the first use, shared by later ones, which must agree on the
    /// shape.
    int parameter(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t fan_in,
                  const ParameterStart& start = {});

    /// A dense N×C×H×W tensor in this graph's blocks of channels.
    Features features(int n, int c, int h, int w) const;
    /// Whether the value can still be put into a slice of a joined tensor: it is neither an input nor a joined tensor
    /// or a slice already, and no operation needs it dense.
    bool can_become_slice(Value x) const;

    const Tensor& tensor(Value value) const { return tensors_[value.id]; }
    const std::vector<Tensor>& tensors() const { return tensors_; }
    const std::vector<std::unique_ptr<Operation>>& operations() const { return operations_; }
    const std::vector<Parameter>& parameters() const { return parameters_; }
    std::int64_t parameter_count() const;

    /// Keeps a value to the end of the forward pass, so that it can be read afterwards.
    void keep(Value value) { kept_.push_back(value.id); }
    const std::vector<int>& kept() const { return kept_; }

  private:
    void check_inputs(const Operation& operation, const std::string& name) const;
    void check_element(const Operation& operation, const std::string& name, const Tensor& tensor) const;
    void check_joined(const Operation& operation, const std::string& name, const Features& whole) const;
    void join(const Operation& operation);

    int block_;
    Element element_;
    std::vector<Tensor> tensors_;
    std::vector<std::unique_ptr<Operation>> operations_;
    std::vector<Parameter> parameters_;
    std::vector<int> kept_;
};

}  // namespace tvmap
