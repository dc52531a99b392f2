// The operation that restores images by a member of the solver's family (kernels/family/family.h).
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "engine/graph/graph.h"
#include "engine/unrolled/observed_input.h"
#include "engine/unrolled/unrolled_solver.h"

namespace tvmap {

/// Images as they were observed, N×1×H×W; for super_resolution each value stands in all pixels of its block.
struct Observed {
    Value image;
    Value weights = {};              ///< DataTerm::weights: N×1×H×W, else none
    std::vector<float> kernel = {};  ///< blur: kernel_height×kernel_width, else empty
};

/// x_T, N×1×H×W. lambda has as many channels as the problem has maps. The problem's solves and size are taken from
/// these; the mode says how the gradient is made, which goes to lambda alone. Throws Error for shapes that do not go
/// together, and for an image that wants a gradient.
Value restore(Graph& graph, const Observed& observed, Value lambda, SolverProblem problem, int iterations,
              const GradientMode& mode = {});

/// inputs: image, lambda and, for weights, those.
class RestoreOperation final : public Operation {
  public:
    RestoreOperation(const SolverProblem& problem, const std::vector<float>& kernel, int iterations,
                     const GradientMode& mode)
        : problem_(problem), kernel_(kernel), iterations_(iterations), mode_(mode) {}
    std::string kind() const override { return "restore"; }
    Features output_shape(const Graph& graph) const override;
    bool backward_reads_input(int input) const override { return input == 2 || solver_->recomputes(); }
    bool dense_only() const override { return true; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    /// What the solver reads, made at the start of the workspace; what is left of that goes to the solver.
    SolverInput input(const Binding& b) const;
    std::byte* solver_workspace(const Binding& b) const;

    SolverProblem problem_;
    std::vector<float> kernel_;
    int iterations_;
    GradientMode mode_;
    std::optional<ObservedInput> observed_;
    std::unique_ptr<UnrolledSolver> solver_;
};

}  // namespace tvmap
