// A batch of feature maps in memory with sentinels: before, behind, and between the images where these are
// strided. Values go in and out in the plain order n, c, h, w, so that tests need not know about blocks, nor about
// bfloat16, to which values are rounded where that is the tensor's element.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/base/features.h"
#include "tests/reference/bfloat16.h"

class FeatureBuffer {
  public:
    static constexpr float sentinel = -12345.0f;

    /// `slack` channels lie between one image and the next; values start as the sentinel.
    FeatureBuffer(int n, int c, int h, int w, int block, int slack = 0)
        : FeatureBuffer(tvmap::Features{{n, c, 1, h, w}, block, std::int64_t(c + slack) * h * w}) {}
    explicit FeatureBuffer(const tvmap::Features& shape) : shape_(shape) {
        numbers_ = 2 * margin + shape.n * shape.image_stride;
        const std::int64_t bytes = numbers_ * std::int64_t(tvmap::element_bytes(shape.element));
        memory_.reset(static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
        for (std::int64_t i = 0; i < numbers_; ++i) put(i, sentinel);
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
    float* data() { return view().data; }
    tvmap::View view() {
        return {tvmap::at_byte(memory_.get(), margin * std::int64_t(tvmap::element_bytes(shape_.element))),
                shape_};
    }
    tvmap::ConstView view() const { return const_cast<FeatureBuffer*>(this)->view(); }

    void set(const std::vector<double>& values) {
        for (std::int64_t i = 0; i < shape_.size(); ++i) put(place(i), values[i]);
    }
    std::vector<double> get() const {
        std::vector<double> values(shape_.size());
        for (std::int64_t i = 0; i < shape_.size(); ++i) values[i] = at(place(i));
        return values;
    }

    /// Nothing but the values was written.
    bool intact() const {
        std::vector<bool> owned(numbers_, false);
        for (std::int64_t i = 0; i < shape_.size(); ++i) owned[place(i)] = true;
        for (std::int64_t i = 0; i < numbers_; ++i)
            if (!owned[i] && at(i) != (narrow() ? reference::nearest_bfloat16(sentinel) : sentinel))
                return false;
        return true;
    }

  private:
    static constexpr std::int64_t margin = 64;

    bool narrow() const { return shape_.element == tvmap::Element::bf16; }
    tvmap::Bfloat16* narrow_memory() const { return reinterpret_cast<tvmap::Bfloat16*>(memory_.get()); }
    void put(std::int64_t place, double value) {
        if (narrow()) {
            const float nearest = float(reference::nearest_bfloat16(value));  // exact: all are floats
            narrow_memory()[place].bits = std::uint16_t(std::bit_cast<std::uint32_t>(nearest) >> 16);
        } else {
            memory_[place] = float(value);
        }
    }
    double at(std::int64_t place) const {
        return narrow() ? reference::bfloat16_value(narrow_memory()[place].bits) : double(memory_[place]);
    }

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
    std::int64_t numbers_ = 0;
    std::unique_ptr<float[], Free> memory_;
};
