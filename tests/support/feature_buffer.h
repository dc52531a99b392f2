// A batch of feature maps in memory with sentinels: before, behind, and between the images where these are
// strided. Values go in and out in the plain order n, c, h, w, so that tests need not know about blocks.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/base/features.h"

class FeatureBuffer {
  public:
    static constexpr float sentinel = -12345.0f;

    /// `slack` channels lie between one image and the next; values start as the sentinel.
    FeatureBuffer(int n, int c, int h, int w, int block, int slack = 0)
        : FeatureBuffer(tvmap::Features{{n, c, 1, h, w}, block, std::int64_t(c + slack) * h * w}) {}
    explicit FeatureBuffer(const tvmap::Features& shape) : shape_(shape) {
        floats_ = 2 * margin + shape.n * shape.image_stride;
        memory_.reset(static_cast<float*>(std::aligned_alloc(64, (floats_ * 4 + 63) / 64 * 64)));
        std::fill(memory_.get(), memory_.get() + floats_, sentinel);
    }
    /// So many plain floats.
    static FeatureBuffer vector(std::int64_t count) {
        return FeatureBuffer(tvmap::dense_features(1, 1, 1, int(count), 1));
    }
    FeatureBuffer(int n, int c, int h, int w, int block, int slack, const std::vector<double>& values)
        : FeatureBuffer(n, c, h, w, block, slack) {
        set(values);
    }

    const tvmap::Features& shape() const { return shape_; }
    float* data() { return memory_.get() + margin; }
    tvmap::View view() { return {memory_.get() + margin, shape_}; }
    tvmap::ConstView view() const { return {memory_.get() + margin, shape_}; }

    void set(const std::vector<double>& values) {
        for (std::int64_t i = 0; i < shape_.size(); ++i) memory_[place(i)] = float(values[i]);
    }
    std::vector<double> get() const {
        std::vector<double> values(shape_.size());
        for (std::int64_t i = 0; i < shape_.size(); ++i) values[i] = memory_[place(i)];
        return values;
    }

    /// Nothing but the values was written.
    bool intact() const {
        std::vector<bool> owned(floats_, false);
        for (std::int64_t i = 0; i < shape_.size(); ++i) owned[place(i)] = true;
        for (std::int64_t i = 0; i < floats_; ++i)
            if (!owned[i] && memory_[i] != sentinel) return false;
        return true;
    }

  private:
    static constexpr std::int64_t margin = 64;

    /// Where value i in the order n, c, h, w lies in memory.
    std::int64_t place(std::int64_t i) const {
        const std::int64_t pixels = std::int64_t(shape_.h) * shape_.w, block = shape_.block;
        const std::int64_t n = i / shape_.image_size(), c = i % shape_.image_size() / pixels,
                           pixel = i % pixels;
        return margin + n * shape_.image_stride + (c / block * pixels + pixel) * block + c % block;
    }

    struct Free {
        void operator()(float* p) const { std::free(p); }
    };
    tvmap::Features shape_;
    std::int64_t floats_ = 0;
    std::unique_ptr<float[], Free> memory_;
};
