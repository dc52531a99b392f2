#include "engine/model/model.h"

namespace tvmap {

Model Model::load(Backend& backend, const Config& config, const std::string& checkpoint, int height,
                  int width, const TileLimits& limits) {
    Model model(backend, config);
    model.plan(height, width, limits);
    model.parameters_ = std::make_unique<Parameters>(backend, model.denoiser_->graph().parameters(), false);
    read_weights(checkpoint, config, *model.parameters_);
    model.denoiser_->bind(*model.arena_, *model.parameters_);
    return model;
}

Denoiser& Model::denoiser(int height, int width, const TileLimits& limits) {
    if (height != height_ || width != width_ || limits != limits_) {
        plan(height, width, limits);
        denoiser_->bind(*arena_, *parameters_);
    }
    return *denoiser_;
}

std::size_t Model::solver_bytes(int height, int width) {
    return MapSolver(*backend_, algorithms_, config_, height, width).arena_bytes();
}

/// Memory for one size alone is held.
void Model::plan(int height, int width, const TileLimits& limits) {
    height_ = width_ = 0;
    denoiser_.reset();
    arena_.reset();
    denoiser_ = std::make_unique<Denoiser>(*backend_, algorithms_, config_, height, width, limits);
    arena_ = std::make_unique<Arena>(*backend_, denoiser_->arena_bytes());
    algorithms_.save_for_machine();
    height_ = height;
    width_ = width;
    limits_ = limits;
}

}  // namespace tvmap
