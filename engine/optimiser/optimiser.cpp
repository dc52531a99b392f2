#include "engine/optimiser/optimiser.h"

#include <algorithm>

#include "kernels/base/shapes.h"

namespace tvmap {
namespace {

std::vector<Span> decaying(const std::vector<Parameter>& list, bool any) {
    std::vector<Span> spans;
    for (const Parameter& p : list)
        if (any && p.shape.size() > 1) spans.push_back({p.offset, p.size});
    return spans;
}

/// A whole array as one image, for the arithmetic of kernels/layers/blas1.h.
View as_image(float* values, std::int64_t count) { return {values, dense_features(1, 1, 1, int(count), 1)}; }

}  // namespace

Kept Optimiser::kept(const Config& config) {
    return {.average = config.train.ema > 0, .sum = config.train.accumulate > 1};
}

Optimiser::Optimiser(Backend& backend, Parameters& parameters, const Config& config)
    : backend_(backend),
      parameters_(parameters),
      settings_(config.optimiser),
      accumulate_(config.train.accumulate),
      clip_(config.optimiser.clip),
      ema_(config.train.ema),
      squared_norm_(backend, clip_ > 0 ? 1 : 0),
      decaying_(backend, decaying(parameters.list(), config.optimiser.decoupled_decay)) {
    for (const Span& span : decaying(parameters.list(), true))
        largest_decaying_ = std::max(largest_decaying_, span.count);
}

Adam Optimiser::adam(double rate, std::int64_t step) const {
    return {.rate = rate,
            .beta1 = settings_.beta1,
            .beta2 = settings_.beta2,
            .eps = settings_.eps,
            .step = step,
            .weight_decay = settings_.decoupled_decay ? settings_.weight_decay : 0,
            .ema = ema_};
}

void Optimiser::gather(Team* team) {
    if (team) parameters_.average_parts(*team);
    const Parameters::Arrays a = parameters_.arrays();
    backend_.axpy(1.0f, as_image(a.gradient, a.count), as_image(a.sum, a.count));
}

void Optimiser::before_adam(const StepFactors& factors) {
    const Parameters::Arrays a = parameters_.arrays();
    if (accumulate_ > 1) mean_gradient(backend_, a.count, accumulate_, a.sum, a.gradient);
    if (clip_ > 0) {
        const View gradient = as_image(a.gradient, a.count);
        backend_.dot(gradient, gradient, squared_norm_.data());
        clip_gradient(backend_, a.count, clip_, squared_norm_.data(), a.gradient);
    }
    if (decaying_.size() > 0)
        decay_weights(backend_, factors, {decaying_.data(), int(decaying_.size()), largest_decaying_},
                      a.weights);
}

void Optimiser::after_adam(const StepFactors& factors) {
    const Parameters::Arrays a = parameters_.arrays();
    if (ema_ > 0) average_weights(backend_, factors, a.count, a.weights, a.average);
}

// A team takes the parts' mean and Adam's step in one go where nothing stands between them.
void Optimiser::step(const Adam& adam, Team* team) {
    const StepFactors factors{AdamStep(adam)};
    const bool apart = team && changes_gradient();
    if (apart) parameters_.average_parts(*team);
    before_adam(factors);
    if (team && !apart)
        parameters_.adam_step(adam, *team);
    else
        parameters_.adam_step(adam);
    after_adam(factors);
}

void Optimiser::step(const Schedule& schedule) {
    const StepFactors factors(schedule.adam, schedule.counter);
    before_adam(factors);
    parameters_.adam_step(schedule);
    after_adam(factors);
}

}  // namespace tvmap
