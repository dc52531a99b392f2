// The solver of a trained network on one image with its map, where the network has not had the whole image in its graph.
#pragma once
#include <optional>
#include <vector>

#include "engine/config/config.h"
#include "engine/graph/plan.h"
#include "engine/unrolled/observed_input.h"
#include "engine/unrolled/step_sizes.h"
#include "engine/unrolled/unrolled_problem.h"

namespace tvmap {

class BumpAllocator;

/// evaluate.iterations steps on H×W images, one after the other. For one thread at a time.
class MapSolver {
  public:
    MapSolver(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width);

    /// Memory that an arena must have for it: image, map, result and the solver's own.
    std::size_t arena_bytes() const;
    /// `steps`: the parameters of learned steps. Arena and parameters must outlive its use; others may use the arena
    /// between two runs.
    void bind(const Arena& arena, const Parameters& parameters, const std::vector<int>& steps);

    /// noisy: H×W, lambda: maps×H×W, denoised: H×W, all on the host. weights: H×W, where the data term weighs.
    void run(const float* noisy, const float* lambda, float* denoised, const float* weights);

  private:
    struct Arrays {
        float *z, *x, *lambda, *weights, *state;
        std::byte *observed, *workspace;
    };
    Arrays arrays(BumpAllocator& pieces) const;

    Backend& backend_;
    std::size_t pixels_;
    int iterations_;
    bool weighs_;          // whether it reads weights
    PdhgProblem problem_;  // of learned steps
    UnrolledProblem solver_;
    std::size_t workspace_bytes_;
    std::optional<ObservedInput> observed_;  // of the family's problems
    std::optional<StepTraining> learned_;    // the steps, if they are parameters
    std::vector<const float*> steps_;
    const Arena* arena_ = nullptr;
};

}  // namespace tvmap
