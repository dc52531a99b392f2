// The problem whose gradients a study measures, the fused solver's or one of the family: its examples, what a solve of one
// reads on a device, and its steps and gradients in double.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/config/config.h"
#include "engine/solver/exact_gradient.h"
#include "engine/unrolled/observed_input.h"
#include "engine/unrolled/unrolled_problem.h"
#include "kernels/backend.h"
#include "kernels/device_array.h"

namespace tvmap {

/// One image as it was observed, its clean one, and Λ. weights: where the data term weighs, else empty.
struct Example {
    std::vector<float> clean, noisy, lambda, weights;
};

/// Of single images of side×side. Does not change: threads may share it.
class StudyProblem {
  public:
    /// Throws Error for settings that such images do not fit.
    StudyProblem(const Config& config, int side);

    int maps() const;
    /// As many times Λ₁ as a map is by which w is regularised (tgv), else 1.
    double usual_scale(int map) const;
    UnrolledProblem on(Backend& backend) const;

    /// Steps in double, and the decisions that they take.
    ExactRun run(int iterations, const Example& example) const;
    /// ∂loss/∂Λ in double, from d_x = ∂loss/∂x_T along a run that decided so.
    std::vector<double> gradient(int iterations, const Example& example, const ClipDecisions& decisions,
                                 const std::vector<double>& d_x) const;
    /// The decisions that a backend recorded (on the host).
    ClipDecisions unpack(int iterations, const Example& example, const std::uint8_t* masks) const;

  private:
    friend class ExampleInput;
    const float* data_of(const Example& example) const;

    std::variant<PdhgProblem, SolverProblem> problem_;
    std::vector<float> kernel_;
};

/// What a solve of an example reads, in the memory of the backend, which must outlive it, as must the example.
class ExampleInput {
  public:
    ExampleInput(Backend& backend, const StudyProblem& problem, const Example& example);
    const SolverInput& get() const { return input_; }

  private:
    DeviceInput<float> z_, lambda_, weights_;
    std::optional<ObservedInput> observed_;
    std::optional<DeviceArray<std::byte>> workspace_;
    SolverInput input_;
};

/// Throws Error for study.sizes that solver.operator cannot observe, and for images that are noisy already, with which
/// nothing can be compared.
void check_study_sizes(const Config& config);

/// What the tables of a study are about, where that is not plain denoising by total variation: a line; else "".
std::string study_problem_line(const SolverConfig& solver);

/// One line on steps above the classical bound, of the largest images; else "".
std::string study_steps_warning(const Config& config);

}  // namespace tvmap
