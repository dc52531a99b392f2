// The solver's steps as parameters of the model, so that training finds them together with the network:
//     τ = sigmoid(s_τ)/L     σ = sigmoid(s_σ)/L     θ = sigmoid(s_θ)
// Whatever s becomes, στL² < 1 and θ < 1: the steps cannot leave the region where the iteration is stable.
// The parameters solver.step.tau, solver.step.sigma and solver.step.theta hold s, either one value for all
// iterations or one for each iteration of training. Where a trained model makes more iterations than it was
// trained with, the steps of the last one are repeated; where it makes fewer, the first ones are taken. What
// is solved without the model (the scalars of an evaluation, say) keeps the configured steps.
//
// They start from the configured steps: s = ln(f/(1−f)) for the fraction f = τL, σL or θ, but within ±10, as
// the usual fractions of 1 have no s (sigmoid(10) = 0.99995).
#pragma once
#include <array>
#include <vector>

#include "engine/config/config.h"
#include "kernels/backend.h"

namespace tvmap {

/// One for each of τ, σ, θ.
template <class T>
using PerStepKind = std::array<T, 3>;

inline constexpr PerStepKind<const char*> step_parameter_names{"solver.step.tau", "solver.step.sigma",
                                                               "solver.step.theta"};

/// What the steps of a model are: how many triples, what L is, where s starts.
struct StepTraining {
    int count = 1;
    double norm = 3;
    PerStepKind<float> start{10, 10, 10};
};

/// For the problem that pdhg_problem made of this configuration, whose steps are where training starts.
StepTraining step_training(const SolverConfig& solver, const PdhgProblem& problem);

/// Steps by iteration. Does not change: threads may share it.
class StepSizes {
  public:
    /// raw: the parameters s, `count` of each kind. Throws Error where one is not a number.
    StepSizes(const StepTraining& training, const PerStepKind<std::vector<float>>& raw);

    int count() const { return int(tau_.size()); }
    /// The triple of iteration k.
    int triple(int k) const { return k < count() ? k : count() - 1; }
    /// The problem with the steps of iteration k.
    PdhgProblem at(PdhgProblem problem, int k) const;
    /// The end of the run of iterations from k on, at most `end`, that share their steps.
    int same_until(int k, int end) const { return triple(k) + 1 < count() ? k + 1 : end; }

    /// ∂loss/∂s from ∂loss/∂(τ, σ, θ) of each triple (3·count values, triple by triple).
    PerStepKind<std::vector<float>> raw_gradient(const std::vector<double>& d_steps) const;

  private:
    double norm_;
    PerStepKind<std::vector<float>> raw_;
    std::vector<float> tau_, sigma_, theta_;
};

/// Reads the parameters from the backend's memory, and waits for it.
StepSizes read_step_sizes(Backend& backend, const StepTraining& training,
                          const std::vector<const float*>& parameters);

/// Floats of a batch's iterates, and where in so many floats they lie.
std::int64_t state_floats(const PdhgProblem& problem);
PdhgState state_in(float* memory, const PdhgProblem& problem);

/// Iterations from … to−1, from the start where `from` is 0, else from the state; output.x and the state that
/// output.state points to receive what is reached. workspace: the backend's for pdhg_forward.
void pdhg_forward_with_steps(Backend& backend, const PdhgProblem& problem, const StepSizes& steps, int from,
                             int to, const PdhgInput& input, PdhgOutput output,
                             const PdhgWorkspace& workspace);

}  // namespace tvmap
