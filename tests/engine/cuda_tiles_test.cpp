// A network that an image passes in tiles, on the CPU and on CUDA: against the network on the whole image in double
// precision, and against the product on the whole image.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>

#include "engine/config/solver_problem.h"
#include "engine/model/denoiser.h"
#include "kernels/cuda_loader.h"
#include "tests/support/device_buffer.h"
#include "tests/support/recording.h"
#include "tests/support/refusal.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;
using namespace tvmap::tests;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

std::unique_ptr<Backend> backend_on(bool cuda) {
    return cuda ? tvmap_cuda_library()->open("fp32") : make_backend("cpu");
}

using Floats = std::vector<float>;

/// Edges, a ramp and noise: the map differs from place to place.
Floats image_of(int height, int width) {
    std::mt19937 generator(static_cast<unsigned>(height * 1000 + width));
    const Doubles noise = random_values(generator, std::size_t(height) * width, -0.1, 0.1);
    Floats image;
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j)
            image.push_back(
                float(0.2 * ((i / 11 + j / 7) % 3) + 0.4 * i / height + noise[std::size_t(i) * width + j]));
    return image;
}

Config config_of(const std::vector<int>& channels, int outputs = 2) {
    Config config;
    config.network.channels = channels;
    config.network.outputs = outputs;
    config.map.separate = outputs == 2;
    config.solver.iterations = config.evaluate.iterations = 12;
    return config;
}

/// A network at work, with everything that it needs.
struct Worker {
    std::unique_ptr<Backend> backend;
    Algorithms algorithms;
    Denoiser denoiser;
    Parameters parameters;
    Arena arena;
    Floats lambda, x;

    Worker(const Config& config, int height, int width, const TileLimits& limits, bool cuda = false)
        : backend(backend_on(cuda)),
          denoiser(*backend, algorithms, config, height, width, limits),
          parameters(*backend, denoiser.graph().parameters(), false),
          arena(*backend, denoiser.arena_bytes()),
          lambda(std::size_t(denoiser.maps()) * height * width),
          x(std::size_t(height) * width) {
        std::mt19937 generator(9);
        set_weights(parameters, random_weights(generator, parameters.list()));
        denoiser.bind(arena, parameters);
    }
    void run(const Floats& image, const Floats& weights = {}) {
        denoiser.run(image.data(), lambda.data(), x.data(), weights.data());
    }
};

/// The map in double: the image is continued by mirroring to multiples, and the network sees all of it.
Doubles exact_map(const Config& config, const std::vector<Parameter>& list, const Floats& image, int height,
                  int width) {
    const int multiple = 1 << (config.network.channels.size() - 1);
    const auto up = [&](int size) { return (size + multiple - 1) / multiple * multiple; };
    Doubles padded;
    for (int i = 0; i < up(height); ++i)
        for (int j = 0; j < up(width); ++j)
            padded.push_back(image[std::size_t(i < height ? i : 2 * height - 1 - i) * width +
                                   (j < width ? j : 2 * width - 1 - j)]);
    std::mt19937 generator(9);
    const NamedDoubles weights = random_weights(generator, list);
    reference::Tape tape(weights);
    const int raw =
        reference::unet(tape, tape.input(1, 1, up(height), up(width), padded), config.network.channels,
                        config.network.outputs, float(config.network.slope));
    const int maps = config.map.separate ? 2 : 1;
    const Doubles& whole = tape.node(tape.map_from_raw(raw, float(config.map.scale), 0, maps)).value;
    Doubles map;
    for (int m = 0; m < maps; ++m)
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j)
                map.push_back(whole[(std::size_t(m) * up(height) + i) * up(width) + j]);
    return map;
}

/// How far apart the largest of them are, against the largest value.
template <class B>
double relative(const Floats& a, const B& b) {
    double largest = 0;
    for (const auto value : b) largest = std::max(largest, std::abs(double(value)));
    return largest_difference(a, b) / largest;
}

// fp32 and Winograd's transforms disturb a layer by some 1e-6; a seam of a tile that is not told where it lies, or
// whose field is cut, is 1e-3 … 1e-1.
constexpr double tolerance = 1e-5;

}  // namespace

TEST_CASE("tiles have the map of the whole image, in double") {
    struct Case {
        int height, width;
        std::vector<int> channels;
        int longest, tiles;
    };
    const Case cases[] = {
        {61, 83, {3, 4}, 40, 2 * 3},       // odd sizes, the last tile moved inwards
        {42, 40, {3, 4}, 40, 2},           // slightly larger than a tile
        {90, 13, {2, 3, 4}, 72, 2},        // one dimension smaller than a tile
        {13, 133, {2, 3, 4}, 72, 5},       //
        {75, 77, {16, 16}, 48, 2 * 2},     // in blocks on the CPU
        {150, 155, {2, 2, 2, 2}, 136, 4},  // the reference's depth: its field is 107 wide
        {20, 30, {3}, 16, 2 * 3},          // no halving at all
    };
    for (const bool cuda : {false, true})
        for (const Case& k : cases) {
            CAPTURE(cuda);
            CAPTURE(k.height);
            CAPTURE(k.width);
            const Config config = config_of(k.channels);
            const Floats image = image_of(k.height, k.width);
            const TileLimits limits{.longest = k.longest, .shortest = k.longest};
            Worker tiled(config, k.height, k.width, limits, cuda), whole(config, k.height, k.width, {}, cuda);
            CHECK(tiled.denoiser.tiles() == k.tiles);
            CHECK(whole.denoiser.tiles() == 1);
            tiled.run(image);
            whole.run(image);
            CHECK(relative(tiled.lambda,
                           exact_map(config, tiled.parameters.list(), image, k.height, k.width)) < tolerance);
            CHECK(relative(tiled.lambda, whole.lambda) < tolerance);
            CHECK(relative(tiled.x, whole.x) < tolerance);
        }
}

TEST_CASE("tiles serve every regulariser and operator") {
    const int height = 45, width = 52;
    const Floats image = image_of(height, width);
    Floats known(image.size());
    for (std::size_t i = 0; i < known.size(); ++i) known[i] = i % 5 == 0 ? 0.0f : 1.0f;
    for (const Sight sight : {Sight::identity, Sight::mask, Sight::blur, Sight::impulses})
        for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tv8, Regulariser::tgv}) {
            if (regulariser == Regulariser::tgv && sight == Sight::impulses) continue;
            CAPTURE(int(sight));
            CAPTURE(int(regulariser));
            Config config = config_of({3, 4});
            config.solver.regulariser = regulariser;
            config.solver.observation = {.sight = sight, .missing = 0.2, .blur_size = 3, .blur_sigma = 0.8};
            config.solver.norm_auto = true;
            config.network.outputs = map_count(config.solver, config.map);
            Worker tiled(config, height, width, {.longest = 32, .shortest = 32}),
                whole(config, height, width, {});
            CHECK(tiled.denoiser.tiles() > 1);
            tiled.run(image, known);
            whole.run(image, known);
            CHECK(relative(tiled.lambda, whole.lambda) < tolerance);
            CHECK(relative(tiled.x, whole.x) < tolerance);
        }
}

TEST_CASE("the mean over eight orientations turns with the image, in tiles too, and is their mean") {
    const int height = 45, width = 61;
    const Floats image = image_of(height, width);
    const auto transposed = [](const Floats& plane, int h, int w) {
        Floats result(plane.size());
        for (int i = 0; i < h; ++i)
            for (int j = 0; j < w; ++j) result[std::size_t(j) * h + i] = plane[std::size_t(i) * w + j];
        return result;
    };
    const auto upside_down = [](const Floats& plane, int h, int w) {
        Floats result;
        for (int i = h - 1; i >= 0; --i)
            result.insert(result.end(), plane.begin() + std::ptrdiff_t(i) * w,
                          plane.begin() + std::ptrdiff_t(i + 1) * w);
        return result;
    };
    for (const bool cuda : {false, true})
        for (const bool predicts_image : {false, true})
            for (const TileLimits& limits : {TileLimits{}, TileLimits{.longest = 40, .shortest = 40}}) {
                CAPTURE(cuda);
                CAPTURE(predicts_image);
                CAPTURE(limits.longest);
                Config config = config_of({3, 4});
                config.network.predicts_image = predicts_image;
                config.evaluate.orientations = 8;
                Worker worker(config, height, width, limits, cuda),
                    turned(config, width, height, limits, cuda);
                worker.run(image);
                turned.run(transposed(image, height, width));
                CHECK(relative(turned.x, transposed(worker.x, height, width)) < tolerance);
                const Floats x = worker.x;
                worker.run(upside_down(image, height, width));
                CHECK(relative(worker.x, upside_down(x, height, width)) < tolerance);

                // Four of a denoised image, by hand.
                if (!predicts_image) continue;
                config.evaluate.orientations = 4;
                Worker four(config, height, width, limits, cuda);
                config.evaluate.orientations = 1;
                Worker one(config, height, width, limits, cuda);
                four.run(image);
                Doubles mean(image.size());
                for (const bool mirrored : {false, true})
                    for (const bool down : {false, true}) {
                        const auto there_and_back = [&](const Floats& plane) {
                            Floats result = down ? upside_down(plane, height, width) : plane;
                            if (!mirrored) return result;
                            const Floats columns = transposed(result, height, width);
                            return transposed(upside_down(columns, width, height), width, height);
                        };
                        one.run(there_and_back(image));
                        const Floats back = there_and_back(one.x);
                        for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += back[i] / 4.0;
                    }
                CHECK(relative(four.x, mean) < tolerance);
                CHECK(four.denoiser.tiles() == 4 * one.denoiser.tiles());
            }
}

TEST_CASE("a limit of memory is kept by smaller tiles, or refused") {
    const int height = 150, width = 90;
    const Config config = config_of({16, 16});
    // Not timed, so that the plans are the same each time; they are not run.
    const auto backend = make_backend("cpu");
    Algorithms algorithms;
    algorithms.plan_untimed(Algorithms::Untimed::least);
    const auto planned = [&](const TileLimits& limits) {
        return Denoiser(*backend, algorithms, config, height, width, limits);
    };
    const std::size_t whole = planned({}).arena_bytes();
    for (const std::size_t limit : {whole, whole * 3 / 4, whole / 2}) {
        Denoiser denoiser = planned({.bytes = limit, .longest = 200, .shortest = 24});
        CHECK(denoiser.arena_bytes() <= limit);
        CHECK((denoiser.tiles() > 1) == (limit < whole));
    }

    const auto refused = [&](const TileLimits& tight) { return refusal([&] { planned(tight); }); };
    CHECK(
        has(refused({.bytes = 4 * height * width, .longest = 200, .shortest = 24}), "the solver of 150×90"));
    CHECK(has(refused({.bytes = whole / 2, .longest = 200, .shortest = 152}), "a tile of 150×90"));
}

TEST_CASE("all sizes take the algorithms that were timed for the shortest tiles") {
    const TemporaryFolder folder;
    ::setenv("XDG_CACHE_HOME", folder.path.c_str(), 1);
    const Config config = config_of({16, 16});
    const auto backend = make_backend("cpu");
    Algorithms algorithms;
    const auto plan = [&](int height, int width, int longest) {
        Denoiser(*backend, algorithms, config, height, width, {.longest = longest, .shortest = longest / 2});
    };
    plan(32, 32, 64);
    algorithms.plan_untimed(Algorithms::Untimed::least);  // what would have to be timed is counted instead
    plan(40, 24, 64);
    plan(130, 77, 64);
    CHECK(algorithms.untimed_problems() == 0);
    plan(52, 52, 0);
    CHECK(algorithms.untimed_problems() > 0);

    algorithms.save_for_machine();
    const Algorithms kept = Algorithms::of_machine();
    ::unsetenv("XDG_CACHE_HOME");
    const auto knows = [&](const char* size) {
        return !kept.find(text(backend->algorithm_key(), " | conv3x3 n1 1b1>16b",
                               network_block(*backend, config.network), " ", size, " slope 0.01 inference"))
                    .empty();
    };
    CHECK(knows("32x32"));
    CHECK(!knows("40x24"));
}

TEST_CASE("what is told of the work ends with all of it, and what is thrown there ends it") {
    const Config config = config_of({3, 4});
    Worker worker(config, 61, 83, {.longest = 40, .shortest = 40});
    const Floats image = image_of(61, 83);
    std::vector<double> parts;
    worker.denoiser.run(image.data(), worker.lambda.data(), worker.x.data(), nullptr,
                        [&](double part) { parts.push_back(part); });
    REQUIRE(int(parts.size()) == worker.denoiser.tiles() + 1);
    CHECK(std::is_sorted(parts.begin(), parts.end()));
    CHECK(parts.back() == 1);
    const auto stopped = refusal([&] {
        worker.denoiser.run(image.data(), worker.lambda.data(), worker.x.data(), nullptr,
                            [](double) { throw Interrupted("enough"); });
    });
    CHECK(stopped == "enough");
}
