#include "engine/graph/sure.h"

#include "kernels/base/error.h"
#include "kernels/training/loss.h"

namespace tvmap {
namespace {

/// inputs: x, target. Saves the loss and each pair's SURE as doubles: loss first, then SURE_n.
class SureOperation final : public Operation {
  public:
    explicit SureOperation(double epsilon) : epsilon_(epsilon) {}
    std::string kind() const override { return "SURE"; }
    Features output_shape(const Graph& graph) const override {
        const Graph::Tensor &x = graph.tensors()[inputs[0]], &target = graph.tensors()[inputs[1]];
        require_pairs("SURE", x.shape, target.shape);
        if (target.requires_gradient) fail("SURE: the target '", target.name, "' gets no gradient");
        return dense_features(1, 1, 1, 1, 1);
    }
    std::vector<KernelId> kernels() const override { return {sure_forward.id(), sure_backward.id()}; }
    bool is_loss() const override { return true; }
    bool backward_reads_input(int) const override { return true; }
    void prepare(Backend&, Algorithms&, const Graph& graph, bool) override {
        saved_bytes = sizeof(double) * (1 + graph.tensors()[inputs[0]].shape.n / 2);
    }
    void forward(const Binding& b) override {
        double* saved = static_cast<double*>(b.saved);
        sure_forward(*b.backend, epsilon_, b.inputs[0], b.inputs[1], saved + 1, saved);
    }
    void backward(const Binding& b) override {
        if (b.d_inputs[0].data)
            sure_backward(*b.backend, epsilon_, b.inputs[0], b.inputs[1], b.d_inputs[0], b.d_input_write[0]);
    }

  private:
    double epsilon_;
};

}  // namespace

Value sure(Graph& graph, Value x, Value target, double epsilon) {
    return graph.record(std::make_unique<SureOperation>(epsilon), {x, target}, "SURE");
}

}  // namespace tvmap
