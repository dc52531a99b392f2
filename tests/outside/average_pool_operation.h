// Average pooling (average_pool.h) as an operation of a graph.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/graph.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "tests/outside/average_pool.h"

namespace outside {

/// inputs: x.
class AveragePoolOperation final : public tvmap::Operation {
  public:
    std::string kind() const override { return "average pool"; }
    std::vector<tvmap::KernelId> kernels() const override {
        return {average_pool_forward.id(), average_pool_backward.id()};
    }
    tvmap::Features output_shape(const tvmap::Graph& graph) const override {
        const tvmap::Graph::Tensor& tensor = graph.tensors()[inputs[0]];
        const tvmap::Features& x = tensor.shape;
        if (x.h < 2 || x.w < 2)
            tvmap::fail("average pool: ", tensor.name, " is ", tvmap::shape_text(x),
                        ", a window needs 2x2 pixels");
        return tvmap::dense_features(x.n, x.c, x.h / 2, x.w / 2, x.block);
    }
    void forward(const tvmap::Binding& b) override {
        average_pool_forward(*b.backend, b.inputs[0], b.output);
    }
    void backward(const tvmap::Binding& b) override {
        if (b.d_inputs[0].data)
            average_pool_backward(*b.backend, b.d_output, b.d_inputs[0], b.d_input_write[0]);
    }
};

inline tvmap::Value average_pool(tvmap::Graph& graph, tvmap::Value x) {
    return graph.record(std::make_unique<AveragePoolOperation>(), {x}, graph.tensor(x).name + ".averaged");
}

}  // namespace outside
