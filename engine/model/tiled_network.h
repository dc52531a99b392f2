// The network on an image that is larger than a plan may be: in overlapping tiles, with the map of the whole.
#pragma once
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "engine/graph/plan.h"
#include "engine/model/tiles.h"
#include "engine/model/unet.h"

namespace tvmap {

/// How large a plan for an image may be.
struct TileLimits {
    /// Of the backend's memory, for the tensors and their workspaces, not for the weights.
    std::size_t bytes = std::numeric_limits<std::size_t>::max();
    /// The sides of tiles: the longest, and one that memory alone makes shorter. 0: there are none.
    int longest = 0, shortest = 0;

    bool divide() const { return longest > 0; }
    bool operator==(const TileLimits&) const = default;
};

/// The limits for a network's tiles, but for memory's: on a longer side the rims are a small part, on a shorter one a
/// large one.
TileLimits usual_tiles(const Backend& backend, const Config& config);

/// A plan for use. Where there are tiles, algorithms are timed for images of `shortest`×`shortest` alone, which lend them
/// to all others.
std::unique_ptr<Plan> inference_plan(RecordedModel& model, Backend& backend, Algorithms& algorithms,
                                     const TileLimits& limits);

/// From an image to its map or, where network.output is image, to the denoised one. The image is continued by
/// mirroring to sides that the network can halve often enough; of that image, tiles of one size pass the network,
/// each knowing where it lies. For one thread at a time.
class TiledNetwork {
  public:
    /// Plans for height×width images, with few and even tiles. Throws Error where the shortest ones take too much.
    TiledNetwork(Backend& backend, Algorithms& algorithms, const Config& config, int height, int width,
                 const TileLimits& limits);

    const Plan& plan() const { return *plan_; }
    /// The parameters of learned steps, see RecordedModel.
    const std::vector<int>& steps() const { return steps_; }
    void bind(const Arena& arena, const Parameters& parameters) { plan_->bind(arena, parameters); }

    int tiles() const { return int(rows_.size() * columns_.size()); }

    /// noisy: H×W, result: maps×H×W or H×W, on the host. `done` is told after each tile how many are done.
    void run(const float* noisy, float* result, const std::function<void(int tiles)>& done);

  private:
    void make_plan(Algorithms& algorithms, const Config& config, const TileLimits& limits);
    void run_tile(const float* noisy, float* result, const TileSpan& rows, const TileSpan& columns);

    Backend& backend_;
    int height_, width_, padded_height_, padded_width_;
    int tile_height_ = 0, tile_width_ = 0;
    std::vector<TileSpan> rows_, columns_;
    Value noisy_, window_, level_, result_;
    std::vector<int> steps_;
    std::unique_ptr<Plan> plan_;
    std::vector<float> image_, planes_;  // of a tile
};

}  // namespace tvmap
