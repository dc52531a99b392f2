// A place for small training runs.
#pragma once
#include <doctest/doctest.h>
#include <stdlib.h>

#include <atomic>
#include <sstream>
#include <string>
#include <vector>

#include "engine/files/file.h"
#include "engine/pictures/image.h"
#include "engine/training/trainer.h"
#include "kernels/threads/threads.h"
#include "tests/support/temporary_folder.h"

namespace trainer_case {

using namespace tvmap;

/// A folder with pictures, runs, and a cache of algorithms of its own: all runs take the same ones, and the
/// user's cache is left alone.
struct Workshop {
    TemporaryFolder folder;
    Config config;

    // One thread, unless a test asks for more: so small a network gains nothing from a second one.
    explicit Workshop(int threads = 1) {
        set_threads(threads);
        ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
        write_pictures("train", 7, 24);
        write_pictures("val", 2, 24);
        config.data.train = folder / "train";
        config.data.val = folder / "val";
        config.data.size = 24;
        config.data.limit = {7, 2, 1};
        config.network.channels = {4, 6};
        config.solver.iterations = 6;
        config.evaluate.iterations = 8;
        config.optimiser.rate = 2e-3;
        config.train.epochs = 3;
        config.train.batch = 2;  // three steps an epoch, one image left over
    }

    void write_pictures(const std::string& name, int count, int size) const {
        make_folder(folder / name);
        for (int k = 0; k < count; ++k) {
            Picture picture{size, size, 1, 8, std::vector<float>(std::size_t(size) * size)};
            for (int i = 0; i < size; ++i)
                for (int j = 0; j < size; ++j)
                    picture.values[i * size + j] = float((i / 6 * 5 + j / 8 * 3 + k * 7) % 11) / 10.0f;
            write_png(folder / (name + "/image_" + std::to_string(k) + ".png"), picture);
        }
    }

    /// Runs until done, or until `stop_after` steps of this process; says whether it was finished.
    bool train(const std::string& run, bool resume = false, int stop_after = -1) const {
        return train(config, run, resume, stop_after);
    }
    bool train(const Config& c, const std::string& run, bool resume = false, int stop_after = -1) const {
        std::atomic<bool> stop{stop_after == 0};
        Trainer trainer(c, folder / run, resume);
        int steps = 0;
        return trainer.run([&](const TrainReport&) { stop = ++steps == stop_after; }, stop);
    }

    std::string file(const std::string& run, const std::string& name) const {
        return read_file(folder / (run + "/" + name));
    }
    std::string checkpoint(const std::string& run, const std::string& name = "last") const {
        return file(run, "checkpoints/" + name + ".safetensors");
    }
    /// metrics.csv without the seconds.
    std::string metrics(const std::string& run) const {
        std::istringstream lines(file(run, "metrics.csv"));
        std::string result;
        for (std::string line; std::getline(lines, line);) {
            std::istringstream cells(line);
            std::string cell;
            for (int at = 0; std::getline(cells, cell, ','); ++at)
                if (at != 7) result += cell + ",";
            result += "\n";
        }
        return result;
    }
    /// A column of metrics.csv, one entry an epoch.
    std::vector<std::string> column(const std::string& run, const std::string& name) const {
        std::istringstream lines(file(run, "metrics.csv"));
        std::vector<std::string> result;
        int place = -1;
        for (std::string line; std::getline(lines, line);) {
            std::istringstream cells(line);
            std::string cell;
            for (int at = 0; std::getline(cells, cell, ','); ++at) {
                if (place < 0 && cell == name)
                    place = at;
                else if (at == place && cell != name)
                    result.push_back(cell);
            }
        }
        return result;
    }
    void check_same(const std::string& a, const std::string& b) const {
        // Weights, moments, counters: the whole files. (A second pair of parentheses: not to be printed.)
        CHECK((checkpoint(a) == checkpoint(b)));
        CHECK((checkpoint(a, "best") == checkpoint(b, "best")));
        CHECK(metrics(a) == metrics(b));
    }
};

}  // namespace trainer_case
