#include "engine/model/tiled_network.h"

#include <algorithm>
#include <cstdint>

#include "kernels/base/error.h"
#include "kernels/layers/noise_level.h"

namespace tvmap {
namespace {

int round_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

/// The index that position i of an extended row shows: 0 1 2 … n−1 n−1 … 1 0 0 1 …
int mirrored(int i, int n) {
    const int phase = i % (2 * n);
    return phase < n ? phase : 2 * n - 1 - phase;
}

int multiple_of(const Config& config) { return 1 << halvings(config.network); }

/// What the network makes.
Value result_of(const RecordedModel& model, const Config& config) {
    return config.network.predicts_image ? model.denoised : model.lambda;
}

Rim network_rim(const Backend& backend, const Config& config) {
    const int multiple = multiple_of(config);
    const RecordedModel model = record_window_model(backend, config, multiple, multiple);
    return rim_of(model.graph, result_of(model, config), model.noisy);
}

}  // namespace

TileLimits usual_tiles(const Backend& backend, const Config& config) {
    const Rim rim = network_rim(backend, config);
    TileLimits limits;
    // What tiles compute twice costs time: on 1430×1128 pixels, against the image as a whole (one core of an AMD EPYC,
    // Zen 4, CPU time) 26 % where no side is above 512, 17 % at 768, 12 % at 1024; the process takes 0.25, 0.3 and 0.4 of
    // its memory.
    limits.shortest = round_up(std::max(256, 2 * (rim.head + rim.tail)), multiple_of(config));
    limits.longest = 4 * limits.shortest;
    return limits;
}

std::unique_ptr<Plan> inference_plan(RecordedModel& model, Backend& backend, Algorithms& algorithms,
                                     const TileLimits& limits) {
    const Features& image = model.graph.tensor(model.noisy).shape;
    const Algorithms::BorrowedSizes sizes{image.h, image.w, limits.shortest};
    if (limits.divide()) algorithms.borrow(sizes);
    auto plan = std::make_unique<Plan>(std::move(model.graph), backend, algorithms, false);
    algorithms.borrow(std::nullopt);
    return plan;
}

TiledNetwork::TiledNetwork(Backend& backend, Algorithms& algorithms, const Config& config, int height,
                           int width, const TileLimits& limits)
    : backend_(backend),
      height_(height),
      width_(width),
      padded_height_(round_up(height, multiple_of(config))),
      padded_width_(round_up(width, multiple_of(config))),
      tile_height_(padded_height_),
      tile_width_(padded_width_) {
    const int multiple = multiple_of(config);
    const Rim rim = network_rim(backend, config);
    int rows = 1, columns = 1;  // of tiles
    const auto divide = [&] {
        tile_height_ = tile_side(padded_height_, rows, rim, multiple);
        tile_width_ = tile_side(padded_width_, columns, rim, multiple);
    };
    if (limits.divide()) {
        while (divide(), tile_height_ > limits.longest) ++rows;
        while (divide(), tile_width_ > limits.longest) ++columns;
    }
    make_plan(algorithms, config, limits);
    while (limits.divide() && plan_->arena_bytes() > limits.bytes) {
        // A plan grows with its pixels: the next one is made when its share should fit.
        const double most =
            double(tile_height_) * tile_width_ * double(limits.bytes) / double(plan_->arena_bytes());
        do {
            if (std::max(tile_height_, tile_width_) <= limits.shortest)
                fail("denoiser: a tile of ", tile_height_, "×", tile_width_, " takes ", plan_->arena_bytes(),
                     " bytes, more than the ", limits.bytes, " that are left for it; give more memory");
            ++(tile_height_ >= tile_width_ ? rows : columns);
            divide();
        } while (double(tile_height_) * tile_width_ > most);
        make_plan(algorithms, config, limits);
    }
    rows_ = tile_spans(padded_height_, tile_height_, rim, multiple);
    columns_ = tile_spans(padded_width_, tile_width_, rim, multiple);
    image_.resize(std::size_t(tile_height_) * tile_width_);
    planes_.resize(std::size_t(plan_->graph().tensor(result_).shape.size()));
}

void TiledNetwork::make_plan(Algorithms& algorithms, const Config& config, const TileLimits& limits) {
    RecordedModel model = record_window_model(backend_, config, tile_height_, tile_width_);
    noisy_ = model.noisy;
    window_ = model.window;
    level_ = model.level;
    result_ = result_of(model, config);
    steps_ = model.steps;
    plan_ = inference_plan(model, backend_, algorithms, limits);
}

void TiledNetwork::run(const float* noisy, float* result, const std::function<void(int tiles)>& done) {
    if (level_.id >= 0) {
        float level = 0;
        cpu::noise_level_forward({noisy, dense_features(1, 1, height_, width_, 1)},
                                 {&level, dense_features(1, 1, 1, 1, 1)});
        backend_.upload(plan_->view(level_).data, &level, sizeof level);
    }
    int count = 0;
    for (const TileSpan& rows : rows_)
        for (const TileSpan& columns : columns_) {
            run_tile(noisy, result, rows, columns);
            if (done) done(++count);
        }
}

void TiledNetwork::run_tile(const float* noisy, float* result, const TileSpan& rows,
                            const TileSpan& columns) {
    for (int i = 0; i < tile_height_; ++i) {
        const float* row = noisy + std::size_t(mirrored(rows.start + i, height_)) * width_;
        for (int j = 0; j < tile_width_; ++j)
            image_[std::size_t(i) * tile_width_ + j] = row[mirrored(columns.start + j, width_)];
    }
    const float window[] = {float(rows.start), float(columns.start), float(padded_height_),
                            float(padded_width_)};
    backend_.upload(plan_->view(noisy_).data, image_.data(), sizeof(float) * image_.size());
    backend_.upload(plan_->view(window_).data, window, sizeof window);
    plan_->forward();
    backend_.download(planes_.data(), plan_->view(result_).data, sizeof(float) * planes_.size());
    const int planes = plan_->graph().tensor(result_).shape.c;
    const int to = std::min(rows.to, height_), wide = std::min(columns.to, width_) - columns.from;
    for (int m = 0; m < planes; ++m)
        for (int i = rows.from; i < to; ++i)
            std::copy_n(&planes_[(std::size_t(m) * tile_height_ + i - rows.start) * tile_width_ +
                                 columns.from - columns.start],
                        wide, &result[(std::size_t(m) * height_ + i) * width_ + columns.from]);
}

}  // namespace tvmap
