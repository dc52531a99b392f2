// A trained network at work: noisy image in, map Λ and denoised image out, for images of any size.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/model/unet.h"
#include "engine/unrolled/observed_input.h"
#include "engine/unrolled/step_sizes.h"
#include "engine/unrolled/unrolled_problem.h"

namespace tvmap {

/// A trained network in use, image by image. For one thread at a time.
class Denoiser {
  public:
    /// Plans for single H×W images and evaluate.iterations steps. Sides that the network cannot halve often
    /// enough are continued by mirroring for the network alone; the solver works on the image itself.
    Denoiser(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width);

    /// Memory that an arena must have for it.
    std::size_t arena_bytes() const;
    /// The arena and the parameters must outlive the denoiser's use.
    void bind(const Arena& arena, const Parameters& parameters);
    const Graph& graph() const { return plan_->graph(); }

    /// Planes of the map: 1 shared, 2 separate; more with other regularisers than tv; 0 where there is none
    /// (network.output: image).
    int maps() const { return maps_; }

    /// noisy: H×W as observed (see Observed), lambda: maps×H×W, denoised: H×W, all on the host. weights: H×W, where
    /// solver.operator is mask, else not used.
    void run(const float* noisy, float* lambda, float* denoised, const float* weights = nullptr);

    /// The solver alone, with a map that is given. As run(), which this is a part of.
    void restore(const float* noisy, const float* lambda, float* denoised, const float* weights = nullptr);

    /// run() in the backend's memory, without waiting (but for learned steps), for sides that the network can halve
    /// often enough: forward() makes map() and output() of what stands at input() and, with masks, at weights().
    void forward();
    float* input() const { return plan_->view(noisy_).data; }
    float* weights() const { return plan_->view(weights_).data; }
    const float* map() const { return maps_ > 0 ? plan_->view(lambda_).data : nullptr; }
    const float* output() const { return plan_->view(denoised_).data; }

  private:
    void upload_padded(const float* image);
    void download_cropped(Value value, int planes, float* to);
    void solve(const float* z, const float* weights, const float* lambda, float* x, std::byte* workspace);
    bool padded() const { return padded_height_ != height_ || padded_width_ != width_; }

    Backend& backend_;
    int height_, width_, padded_height_, padded_width_;
    int maps_, iterations_;
    bool weighs_;          // whether the solver reads weights
    PdhgProblem problem_;  // of learned steps
    UnrolledProblem solver_;
    std::optional<ObservedInput> observed_;  // of the family's problems
    std::size_t solver_bytes_;               // of the solver's scratch memory
    std::optional<StepTraining> learned_;    // the solver's steps, if they are parameters
    std::vector<int> step_parameters_;
    Value noisy_, weights_, lambda_, denoised_;
    std::unique_ptr<Plan> plan_;
    const Arena* arena_ = nullptr;
    std::vector<const float*> steps_;
    std::vector<float> padded_image_, padded_planes_;
};

}  // namespace tvmap
