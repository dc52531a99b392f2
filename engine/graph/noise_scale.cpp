#include "engine/graph/noise_scale.h"

#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// Throws Error where a tensor that is taken as it is would get a gradient.
void require_constant(const Graph& graph, int input, const char* operation) {
    const Graph::Tensor& tensor = graph.tensors()[input];
    if (tensor.requires_gradient) fail(operation, ": '", tensor.name, "' gets no gradient; give an input");
}

/// inputs: z.
class NoiseLevelOperation final : public Operation {
  public:
    std::string kind() const override { return "noise level"; }
    Features output_shape(const Graph& graph) const override {
        require_constant(graph, inputs[0], "noise level");
        return dense_features(graph.tensors()[inputs[0]].shape.n, 1, 1, 1, 1);
    }
    std::vector<KernelId> kernels() const override { return {noise_level_forward.id()}; }
    bool dense_only() const override { return true; }
    void forward(const Binding& b) override { noise_level_forward(*b.backend, b.inputs[0], b.output); }
    void backward(const Binding&) override {}
};

/// inputs: x, factor.
class ScaledOperation final : public Operation {
  public:
    explicit ScaledOperation(Scaling scaling) : scaling_(scaling) {}
    std::string kind() const override { return "scaled"; }
    Features output_shape(const Graph& graph) const override {
        require_constant(graph, inputs[1], "scaled");
        const Features& x = graph.tensors()[inputs[0]].shape;
        const Features y = dense_features(x.n, x.c, x.h, x.w, x.block);
        check_scaled(y, graph.tensors()[inputs[1]].shape, y);
        return y;
    }
    std::vector<KernelId> kernels() const override { return {scale_images.id()}; }
    bool backward_reads_input(int input) const override { return input == 1; }
    Places reads(int, Places places) const override { return places; }
    void forward(const Binding& b) override {
        scale_images(*b.backend, scaling_, b.inputs[0], b.inputs[1], b.output, Write::overwrite);
    }
    void backward(const Binding& b) override {
        if (b.d_inputs[0].data)
            scale_images(*b.backend, scaling_, b.d_output, b.inputs[1], b.d_inputs[0], b.d_input_write[0]);
    }

  private:
    Scaling scaling_;
};

/// inputs: z, x.
class ResidualOperation final : public Operation {
  public:
    std::string kind() const override { return "residual"; }
    Features output_shape(const Graph& graph) const override {
        require_constant(graph, inputs[0], "residual");
        const Features &z = graph.tensors()[inputs[0]].shape, &x = graph.tensors()[inputs[1]].shape;
        if (z.c != 1 || x.block != 1 || x.n != z.n || x.h != z.h || x.w != z.w)
            fail("residual: images ", shape_text(z), " do not go with ", layout_text(x));
        return dense_features(z.n, 1, z.h, z.w, 1);
    }
    Places reads(int, Places places) const override { return places; }
    void forward(const Binding& b) override {
        b.backend->copy(b.inputs[0], b.output);
        b.backend->axpy(-1.0f, first_channel(b.inputs[1]), b.output);
    }
    void backward(const Binding& b) override {
        if (!b.d_inputs[1].data) return;
        if (b.d_input_write[1] == Write::overwrite) b.backend->fill(b.d_inputs[1], 0.0f);
        b.backend->axpy(-1.0f, b.d_output, first_channel(b.d_inputs[1]));
    }

  private:
    template <class View>
    static View first_channel(View x) {
        x.shape.c = 1;
        return x;
    }
};

}  // namespace

Value noise_level(Graph& graph, Value z) {
    return graph.record(std::make_unique<NoiseLevelOperation>(), {z}, "noise level");
}

Value scaled(Graph& graph, Scaling scaling, Value x, Value factor) {
    return graph.record(std::make_unique<ScaledOperation>(scaling), {x, factor},
                        graph.tensor(x).name + (scaling == Scaling::divide ? " over " : " times ") +
                            graph.tensor(factor).name);
}

Value residual(Graph& graph, Value z, Value x) {
    return graph.record(std::make_unique<ResidualOperation>(), {z, x}, "denoised");
}

}  // namespace tvmap
