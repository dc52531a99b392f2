// A small stretch of training steps, and its batches pixel by pixel with the generator of reference/random.h.
#pragma once
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "kernels/training/training_step.h"
#include "tests/reference/random.h"

struct TrainingStepCase {
    int size, side;  ///< of the images, and of the squares that are fed
    int count = 5, steps = 3, batch = 2;
    std::uint64_t seed = 0x0123456789abcdefull;
    std::vector<float> images;
    std::vector<tvmap::BatchItem> items;
    std::vector<tvmap::AdamStep> adam;

    TrainingStepCase(int size_, int side_) : size(size_), side(side_) {
        std::mt19937 generator(unsigned(size * 1000 + side));
        for (int i = 0; i < count * size * size; ++i) images.push_back(float(generator() % 256) / 255.0f);
        for (int step = 0; step < steps; ++step) {
            for (int n = 0; n < batch; ++n) {
                tvmap::BatchItem item;
                item.image = generator() % unsigned(count);
                item.top = int(generator() % unsigned(size - side + 1));
                item.left = int(generator() % unsigned(size - side + 1));
                item.mirror = (step + n) % 2;
                item.quarters = (2 * step + n) % 4;
                item.scale = 0.1f + 0.05f * float(step + n);
                item.epoch = 7u + unsigned(step);
                items.push_back(item);
            }
            adam.emplace_back(tvmap::Adam{.rate = 1e-3 / (1 + step), .step = 10 + step});
        }
        // The far corner, which an index off by one leaves, and the first pixel.
        items[0].image = unsigned(count - 1), items[0].top = items[0].left = size - side;
        items[1].image = 0, items[1].top = items[1].left = 0;
    }

    /// A square after a quarter of a turn: what stood on the right, from top to bottom, is its top from left to right.
    std::vector<float> turned(const std::vector<float>& square) const {
        std::vector<float> result;
        for (int i = 0; i < side; ++i)
            for (int j = 0; j < side; ++j) result.push_back(square[j * side + side - 1 - i]);
        return result;
    }

    std::int64_t pixels() const { return std::int64_t(side) * side; }

    /// What make_batch gives in a step: N×S×S.
    std::vector<float> target(int step) const {
        std::vector<float> values;
        for (int n = 0; n < batch; ++n) {
            const tvmap::BatchItem& item = items[step * batch + n];
            std::vector<float> square;
            for (int i = 0; i < side; ++i)
                for (int j = 0; j < side; ++j) {
                    const int column = item.left + (item.mirror ? side - 1 - j : j);
                    square.push_back(images[(int(item.image) * size + item.top + i) * size + column]);
                }
            for (int turn = 0; turn < item.quarters; ++turn) square = turned(square);
            values.insert(values.end(), square.begin(), square.end());
        }
        return values;
    }
    std::vector<float> noisy(int step) const {
        std::vector<float> values = target(step);
        for (int n = 0; n < batch; ++n) {
            const tvmap::BatchItem& item = items[step * batch + n];
            for (std::int64_t i = 0; i < pixels(); ++i) {
                const auto words = reference::philox({std::uint32_t(i / 4), item.image, item.epoch, 1},
                                                     {std::uint32_t(seed), std::uint32_t(seed >> 32)});
                float& value = values[n * pixels() + i];
                value = std::fma(item.scale, reference::inverse_normal(words[i % 4]), value);
            }
        }
        return values;
    }
};
