// The product of two values (multiplication.h) as an operation of a graph.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "tests/outside/multiplication.h"

namespace outside {

/// inputs: a, b, which may be the same value.
class MultiplicationOperation final : public tvmap::Operation {
  public:
    std::string kind() const override { return "multiplication"; }
    std::vector<tvmap::KernelId> kernels() const override { return {multiply.id()}; }
    tvmap::Features output_shape(const tvmap::Graph& graph) const override {
        const tvmap::Graph::Tensor &a = graph.tensors()[inputs[0]], &b = graph.tensors()[inputs[1]];
        if (!tvmap::same_layout(a.shape, b.shape))
            tvmap::fail("multiplication: ", a.name, " is ", tvmap::shape_text(a.shape), " but ", b.name,
                        " is ", tvmap::shape_text(b.shape));
        return tvmap::dense_features(a.shape.n, a.shape.c, a.shape.h, a.shape.w, a.shape.block);
    }
    bool backward_reads_input(int) const override { return true; }
    void forward(const tvmap::Binding& b) override {
        multiply(*b.backend, b.inputs[0], b.inputs[1], b.output, tvmap::Write::overwrite);
    }
    void backward(const tvmap::Binding& b) override {
        for (int i = 0; i < 2; ++i)
            if (b.d_inputs[i].data)
                multiply(*b.backend, b.inputs[1 - i], b.d_output, b.d_inputs[i], b.d_input_write[i]);
    }
};

inline tvmap::Value multiplication(tvmap::Graph& graph, tvmap::Value a, tvmap::Value b) {
    return graph.record(std::make_unique<MultiplicationOperation>(), {a, b},
                        graph.tensor(a).name + "*" + graph.tensor(b).name);
}

}  // namespace outside
