#include "engine/model/denoiser.h"

#include <algorithm>

#include "engine/config/solver_problem.h"
#include "kernels/base/error.h"

namespace tvmap {

Denoiser::Denoiser(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width,
                   const TileLimits& limits)
    : backend_(backend),
      height_(height),
      width_(width),
      maps_(map_count(config)),
      orientations_(orientations(config.evaluate.orientations)),
      directions_(plane_directions(config)) {
    if (maps_ > 0) solver_.emplace(backend, algorithms, config, height, width);
    if (orientations_.size() == 1 && plan_whole(algorithms, config, limits)) return;
    if (solver_ && solver_->arena_bytes() > limits.bytes)
        fail("denoiser: the solver of ", height, "×", width, " takes ", solver_->arena_bytes(),
             " bytes, more than the ", limits.bytes, " that are left for it; give more memory");
    network_.emplace(backend, algorithms, config, height, width, limits);
    if (orientations_.back().transposed && height != width)
        transposed_network_.emplace(backend, algorithms, config, width, height, limits);
}

/// False where the image has to be padded or to be divided.
bool Denoiser::plan_whole(Algorithms& algorithms, const Config& config, const TileLimits& limits) {
    const int multiple = 1 << halvings(config.network);
    if (height_ % multiple != 0 || width_ % multiple != 0) return false;
    if (limits.divide() && std::max(height_, width_) > limits.longest) return false;
    RecordedModel model =
        record_inference_model(backend_, config, 1, height_, width_, config.evaluate.iterations);
    plan_ = inference_plan(model, backend_, algorithms, limits);
    if (plan_->arena_bytes() > limits.bytes) {
        plan_.reset();
        return false;
    }
    noisy_ = model.noisy;
    weights_ = model.weights;
    lambda_ = model.lambda;
    denoised_ = model.denoised;
    steps_ = model.steps;
    return true;
}

std::size_t Denoiser::arena_bytes() const {
    // The network's tensors are dead when the solver runs, which takes their place.
    return std::max({plan().arena_bytes(),
                     transposed_network_ ? transposed_network_->plan().arena_bytes() : 0,
                     solver_ ? solver_->arena_bytes() : 0});
}

std::size_t Denoiser::host_bytes(const Config& config, int height, int width) {
    if (config.evaluate.orientations == 1) return 0;
    return sizeof(float) * std::size_t(height) * width * (1 + plane_directions(config).size());
}

TiledNetwork& Denoiser::network_for(const Orientation& orientation) {
    return orientation.transposed && transposed_network_ ? *transposed_network_ : *network_;
}

int Denoiser::tiles() {
    if (!network_) return 1;
    int count = 0;
    for (const Orientation& o : orientations_) count += network_for(o).tiles();
    return count;
}

void Denoiser::bind(const Arena& arena, const Parameters& parameters) {
    if (network_)
        network_->bind(arena, parameters);
    else
        plan_->bind(arena, parameters);
    if (transposed_network_) transposed_network_->bind(arena, parameters);
    if (solver_) solver_->bind(arena, parameters, network_ ? network_->steps() : steps_);
}

void Denoiser::forward() {
    if (network_)
        fail("denoiser: ", height_, "×", width_,
             " needs padding, tiles or orientations, which run() sees to on the host; use that");
    plan_->forward();
}

/// The network's planes of the image, or the mean of those of its orientations.
void Denoiser::run_network(const float* noisy, float* result, const std::function<void(int tiles)>& done) {
    if (orientations_.size() == 1) return network_->run(noisy, result, done);
    const std::size_t pixels = std::size_t(height_) * width_, values = pixels * directions_.size();
    std::vector<float> turned(pixels), planes(values);
    std::fill_n(result, values, 0.0f);
    int before = 0;
    for (const Orientation& o : orientations_) {
        TiledNetwork& network = network_for(o);
        turn(o, noisy, height_, width_, turned.data());
        network.run(turned.data(), planes.data(), [&](int tiles) { done(before + tiles); });
        add_turned_back(o, directions_, planes.data(), height_, width_, result);
        before += network.tiles();
    }
    const float share = 1 / float(orientations_.size());
    for (std::size_t i = 0; i < values; ++i) result[i] *= share;
}

void Denoiser::run(const float* noisy, float* lambda, float* denoised, const float* weights,
                   const std::function<void(double part)>& done) {
    const std::size_t plane = sizeof(float) * height_ * width_;
    if (network_) {
        // The solver counts as one more tile.
        const double all = this->tiles() + 1;
        run_network(noisy, maps_ > 0 ? lambda : denoised, [&](int tiles) {
            if (done) done(tiles / all);
        });
        if (solver_) solver_->run(noisy, lambda, denoised, weights);
    } else {
        backend_.upload(input(), noisy, plane);
        if (weights_.id >= 0) backend_.upload(this->weights(), weights, plane);
        forward();
        if (maps_ > 0) backend_.download(lambda, map(), plane * std::size_t(maps_));
        backend_.download(denoised, output(), plane);
    }
    if (done) done(1);
}

void Denoiser::restore(const float* noisy, const float* lambda, float* denoised, const float* weights) {
    solver_->run(noisy, lambda, denoised, weights);
}

}  // namespace tvmap
