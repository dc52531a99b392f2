// Linear upsampling of windows of a larger image (kernels/layers/upsample.h). Where they lie is an input of the graph: one
// plan serves all windows of a size.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "engine/graph/operations.h"
#include "kernels/base/error.h"

namespace tvmap {

/// inputs: x, window. For use alone: windows give no gradient.
class UpsampleWindowOperation final : public Operation {
  public:
    explicit UpsampleWindowOperation(float scale) : scale_(scale) {}
    std::string kind() const override { return "upsample of a window"; }
    Features output_shape(const Graph& graph) const override {
        return upsample_shape(graph.tensors()[inputs[0]].shape);
    }
    std::vector<KernelId> kernels() const override { return {upsample_window_forward.id()}; }
    Places reads(int, Places places) const override { return upsampling_reads(places); }
    bool works_in_bf16() const override { return true; }
    void prepare(Backend&, Algorithms&, const Graph&, bool training) override {
        if (training) fail(kind(), ": gives no gradient; train on whole images, or on squares as whole ones");
    }
    void forward(const Binding& b) override {
        upsample_window_forward(*b.backend, b.inputs[0], b.inputs[1], scale_, b.output);
    }
    void backward(const Binding&) override {}

  private:
    float scale_;
};

/// x: windows of larger images; window: window_shape, in units of which x's pixels have `scale`.
inline Value upsample_window(Graph& graph, Value x, Value window, float scale) {
    return graph.record(std::make_unique<UpsampleWindowOperation>(scale), {x, window},
                        graph.tensor(x).name + ".upsampled");
}

}  // namespace tvmap
