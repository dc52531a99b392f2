// A trained network at work: noisy image in, map Λ and denoised image out, for images of any size.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/model/map_solver.h"
#include "engine/model/orientations.h"
#include "engine/model/tiled_network.h"

namespace tvmap {

/// A trained network in use, image by image. For one thread at a time.
class Denoiser {
  public:
    /// Plans for single H×W images and evaluate.iterations steps. Sides that the network cannot halve often
    /// enough are continued by mirroring for the network alone; the solver works on the image itself. An image beyond
    /// the limits passes the network in tiles, with the map of the whole but for the rounding of sums. With
    /// evaluate.orientations above 1 the map is the mean of those that the network makes of so many orientations of
    /// the image. Throws Error where even in tiles it takes more than limits.bytes.
    Denoiser(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width,
             const TileLimits& limits = {});

    /// Memory that an arena must have for it.
    std::size_t arena_bytes() const;
    /// The arena and the parameters must outlive the denoiser's use.
    void bind(const Arena& arena, const Parameters& parameters);
    const Graph& graph() const { return plan().graph(); }

    /// Planes of the map: 1 shared, 2 separate; more with other regularisers than tv; 0 where there is none
    /// (network.output: image).
    int maps() const { return maps_; }
    /// In how many tiles the image passes the network, all its orientations counted.
    int tiles();
    /// Memory on the host that run() takes beside what it is given.
    static std::size_t host_bytes(const Config& config, int height, int width);

    /// noisy: H×W as observed (see Observed), lambda: maps×H×W, denoised: H×W, all on the host. weights: H×W, where
    /// the data term weighs, else not used. `done` is told now and then which part of the work is; what it throws ends
    /// the work.
    void run(const float* noisy, float* lambda, float* denoised, const float* weights = nullptr,
             const std::function<void(double part)>& done = {});

    /// The solver alone, with a map that is given.
    void restore(const float* noisy, const float* lambda, float* denoised, const float* weights = nullptr);

    /// run() in the backend's memory, without waiting (but for learned steps), for sides that the network can halve
    /// often enough, one orientation and no limits: forward() makes map() and output() of what stands at input() and, with
    /// masks, at weights().
    void forward();
    float* input() const { return plan_->view(noisy_).data; }
    float* weights() const { return plan_->view(weights_).data; }
    const float* map() const { return maps_ > 0 ? plan_->view(lambda_).data : nullptr; }
    const float* output() const { return plan_->view(denoised_).data; }

  private:
    const Plan& plan() const { return network_ ? network_->plan() : *plan_; }
    bool plan_whole(Algorithms& algorithms, const Config& config, const TileLimits& limits);
    TiledNetwork& network_for(const Orientation& orientation);
    void run_network(const float* noisy, float* result, const std::function<void(int tiles)>& done);

    Backend& backend_;
    int height_, width_, maps_;
    // Either network and solver in one graph,
    std::unique_ptr<Plan> plan_;
    Value noisy_, weights_, lambda_, denoised_;
    std::vector<int> steps_;
    // or one after the other. The solver serves restore(), too, and is there unless there are no maps.
    std::optional<TiledNetwork> network_, transposed_network_;  // the second where it has another shape
    std::optional<MapSolver> solver_;
    std::vector<Orientation> orientations_;
    std::vector<Direction> directions_;  // of the network's planes
};

}  // namespace tvmap
