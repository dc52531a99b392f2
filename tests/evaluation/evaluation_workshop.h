// What the tests of an evaluation share: images, an experiment and untrained weights.
#pragma once
#include <doctest/doctest.h>
#include <stdlib.h>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <limits>
#include <set>
#include <sstream>

#include "engine/config/solver_problem.h"
#include "engine/data/noise.h"
#include "engine/data/observation.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/evaluation/evaluator.h"
#include "engine/files/csv.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "engine/model/checkpoint.h"
#include "engine/model/denoiser.h"
#include "engine/model/model.h"
#include "engine/pictures/image.h"
#include "engine/solver/search.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"
#include "kernels/threads/threads.h"
#include "kernels/training/metrics.h"
#include "tests/support/temporary_folder.h"

namespace evaluation_workshop {

using namespace tvmap;

inline constexpr int side = 32, count = 3;
inline constexpr std::int64_t pixels = side * side;

/// Test images, a configuration, and a checkpoint with random weights.
struct Workshop {
    TemporaryFolder folder;
    Config config;
    std::string checkpoint;

    explicit Workshop(bool separate = false) {
        set_threads(separate ? 2 : 1);
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
        make_folder(folder / "test");
        for (int k = 0; k < count; ++k) {
            Picture picture{side, side, 1, 8, std::vector<float>(pixels)};
            for (int i = 0; i < side; ++i)
                for (int j = 0; j < side; ++j)
                    picture.values[i * side + j] = float((i / 8 * 5 + j / 11 * 3 + k * 7) % 11) / 10.0f;
            write_png(folder / ("test/image_" + std::to_string(k) + ".png"), picture);
        }
        config.data.test = folder / "test";
        config.data.size = side;
        config.data.limit.test = count;
        config.network.channels = {4, 6};
        config.map.separate = separate;
        config.evaluate.iterations = 16;
        config.evaluate.sigma = {0.3, 0.6};
        config.evaluate.search = {0, 0.4, 5};
        checkpoint = folder / "weights.safetensors";
        write_weights();
    }

    /// Untrained ones, for the configuration as it is.
    void write_weights() const {
        const auto backend = make_backend("cpu");
        Parameters parameters(
            *backend, record_inference_model(*backend, config, 1, side, side, 0).graph.parameters(), true);
        parameters.initialise(3);
        write_checkpoint(checkpoint, parameters, config, {});
    }

    Evaluation run(int pictures = 0) const {
        const std::atomic<bool> stop{false};
        int last = 0;
        const auto backend = make_backend("cpu");
        const Evaluation result = evaluate(
            *backend, config, checkpoint, folder / "evaluation", pictures,
            [&](int done, int total) {
                CHECK(done == last + 1);
                CHECK(total == count);
                last = done;
            },
            stop);
        CHECK(last == count);
        return result;
    }
};

inline std::vector<std::vector<std::string>> csv(const std::string& path) {
    std::vector<std::vector<std::string>> rows;
    std::istringstream lines(read_file(path));
    for (std::string line; std::getline(lines, line);) {
        rows.emplace_back();
        std::istringstream cells(line);
        for (std::string cell; std::getline(cells, cell, ',');) rows.back().push_back(cell);
    }
    return rows;
}

}  // namespace evaluation_workshop
