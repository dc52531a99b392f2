// A trained network, from its checkpoint to images.
#pragma once
#include <memory>
#include <string>

#include "engine/model/checkpoint.h"
#include "engine/model/denoiser.h"

namespace tvmap {

/// Weights that were trained, and the network planned for images of one size at a time. For one thread at a time.
class Model {
  public:
    /// Plans for H×W images under `config` and these limits (engine/model/tiled_network.h), and reads the weights.
    /// Algorithms that had to be timed are kept for the machine. Throws Error for weights that cannot be used under this
    /// configuration (read_weights), and as Denoiser's constructor does. The backend must outlive the model.
    static Model load(Backend& backend, const Config& config, const std::string& checkpoint, int height,
                      int width, const TileLimits& limits = {});

    /// For images of the size that was planned last.
    Denoiser& denoiser() { return *denoiser_; }
    /// For H×W images and these limits: plans again where they are others.
    Denoiser& denoiser(int height, int width, const TileLimits& limits = {});

    /// Memory that an arena must have for the solver alone, on an H×W image.
    std::size_t solver_bytes(int height, int width);

  private:
    Model(Backend& backend, const Config& config) : backend_(&backend), config_(config) {}
    void plan(int height, int width, const TileLimits& limits);

    Backend* backend_;
    Config config_;
    Algorithms algorithms_ = Algorithms::of_machine();
    int height_ = 0, width_ = 0;
    TileLimits limits_;
    std::unique_ptr<Denoiser> denoiser_;
    std::unique_ptr<Parameters> parameters_;
    std::unique_ptr<Arena> arena_;
};

}  // namespace tvmap
