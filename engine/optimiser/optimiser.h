// One step of the optimiser, as an experiment's `optimiser` and `train` sections describe it: the order and the formulas
// are in kernels/optimiser/optimiser_step.h.
#pragma once
#include <cstdint>

#include "engine/config/config.h"
#include "engine/graph/parameters.h"
#include "kernels/optimiser/optimiser_step.h"

namespace tvmap {

/// Works on parameters with gradients. For the one thread that uses the backend.
class Optimiser {
  public:
    /// What it needs of the parameters besides weights, moments and gradients.
    static Kept kept(const Config& config);

    /// All but the configuration must outlive this. Weights with more than one dimension decay; biases do not, nor do
    /// learned steps of the solver.
    Optimiser(Backend& backend, Parameters& parameters, const Config& config);

    /// Adam's settings at optimiser step `step`, from 1.
    Adam adam(double rate, std::int64_t step) const;

    /// After a batch that is not the last of its step: its gradient joins the sum of theirs. With a team, the gradient is
    /// the mean of the batch's parts.
    void gather(Team* team = nullptr);
    /// After the last one.
    void step(const Adam& adam, Team* team = nullptr);
    /// The same by a schedule, in a recording too.
    void step(const Schedule& schedule);

  private:
    bool changes_gradient() const { return accumulate_ > 1 || clip_ > 0; }
    void before_adam(const StepFactors& factors);
    void after_adam(const StepFactors& factors);

    Backend& backend_;
    Parameters& parameters_;
    OptimiserConfig settings_;
    int accumulate_;
    double clip_, ema_;
    DeviceArray<double> squared_norm_;
    DeviceArray<Span> decaying_;
    std::int64_t largest_decaying_ = 0;
};

}  // namespace tvmap
