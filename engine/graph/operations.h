// The operations of a graph. Each states what its backward pass reads and calls the backend's kernels.
#pragma once
#include "engine/graph/graph.h"
#include "engine/unrolled/unrolled_solver.h"

namespace tvmap {

/// inputs: x; parameters: weight, bias.
class ConvolutionOperation final : public Operation {
  public:
    ConvolutionOperation(int kernel, float slope) : kernel_(kernel), slope_(slope) {}
    std::string kind() const override { return "convolution"; }
    bool backward_reads_input(int) const override { return true; }
    bool backward_reads_output() const override { return slope_ != 1.0f; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    void take_workspaces(const Convolution& convolution, bool training);
    void plan_untimed(Backend& backend, Algorithms& algorithms, const ConvolutionProblem& problem,
                      const std::string& key);

    int kernel_;
    float slope_;
    std::unique_ptr<Convolution> convolution_;  ///< null: planned without being timed, not to be run
};

/// inputs: x.
class MaxPoolOperation final : public Operation {
  public:
    std::string kind() const override { return "max pool"; }
    bool backward_reads_input(int) const override { return true; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: x.
class UpsampleOperation final : public Operation {
  public:
    std::string kind() const override { return "upsample"; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: a, b. The gradient goes to both.
class AddOperation final : public Operation {
  public:
    std::string kind() const override { return "add"; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: x. Puts a value that cannot be produced in place into a slice of a concatenation.
class CopyOperation final : public Operation {
  public:
    std::string kind() const override { return "copy"; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;
};

/// inputs: the slices, which already lie in the output, as their gradients lie in its gradient: nothing to
/// do.
class ConcatenateOperation final : public Operation {
  public:
    std::string kind() const override { return "concatenate"; }
    void forward(const Binding&) override {}
    void backward(const Binding&) override {}
};

/// inputs: raw.
class ParameterMapOperation final : public Operation {
  public:
    explicit ParameterMapOperation(const ParameterMap& map) : map_(map) {}
    std::string kind() const override { return "parameter map"; }
    bool backward_reads_input(int) const override { return true; }
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    ParameterMap map_;
};

/// inputs: z, lambda. Its gradient in any mode, see engine/unrolled/unrolled_solver.h.
class DenoiseOperation final : public Operation {
  public:
    DenoiseOperation(const PdhgProblem& problem, int iterations, const GradientMode& mode)
        : problem_(problem), iterations_(iterations), mode_(mode) {}
    std::string kind() const override { return "denoise"; }
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
    bool backward_reads_input(int) const override { return true; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    LossKind loss_;
};

}  // namespace tvmap
