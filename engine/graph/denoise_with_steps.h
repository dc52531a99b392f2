// The solver with learned steps as an operation of a graph, and its exact gradient for z, Λ and the steps.
//
// The steps' gradient needs iterates, so forward keeps those at every ⌈√T⌉th iteration; backward takes one
// stretch between them after the other, the last first: it repeats the stretch, keeping every iterate and the
// clip's decisions, then goes back through it one iteration at a time and adds up what each contributes.
// Both passes read the steps to the host: this operation cannot be recorded (Backend::record).
#pragma once
#include "engine/graph/graph.h"
#include "engine/unrolled/step_sizes.h"

namespace tvmap {

/// inputs: z, lambda; parameters: s of τ, σ, θ (engine/unrolled/step_sizes.h). For one thread at a time.
class DenoiseWithStepsOperation final : public Operation {
  public:
    DenoiseWithStepsOperation(const PdhgProblem& problem, int iterations, const StepTraining& training);
    std::string kind() const override { return "denoise with steps"; }
    Features output_shape(const Graph& graph) const override;
    bool backward_reads_input(int) const override { return true; }
    bool dense_only() const override { return true; }
    void prepare(Backend& backend, Algorithms& algorithms, const Graph& graph, bool training) override;
    void forward(const Binding& b) override;
    void backward(const Binding& b) override;

  private:
    struct Scratch;
    Scratch scratch_of(const Backend& backend, void* workspace) const;
    float* iterates_after(int k, const Binding& b, const Scratch& s) const;
    void repeat_stretch(const Binding& b, const StepSizes& steps, int from, int to, const Scratch& s) const;
    void write_gradient(const Binding& b, const StepSizes& steps, const double* d_steps) const;

    PdhgProblem problem_;
    int iterations_, stretch_;
    std::size_t solver_bytes_ = 0, kernel_bytes_ = 0;  // scratch memory of the solver, and of any kernel
    StepTraining training_;
};

}  // namespace tvmap
