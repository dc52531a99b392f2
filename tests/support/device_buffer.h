// Device memory with sentinels, and the comparisons of what kernels left there. The comparisons also note
// that the kernels launched since the last one have been compared (kernels/emulation/control.h).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/base/features.h"
#include "kernels/gpu/gpu_runtime.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/control.h"
#endif

/// One stream for a whole test program.
inline tvmap::gpu::Stream test_stream() {
    static const tvmap::gpu::Stream stream = tvmap::gpu::make_stream();
    return stream;
}

/// `count` values in device memory between margins of sentinels; the values start as sentinels as well.
/// data() is aligned to 256 bytes.
template <class T>
class DeviceBuffer {
  public:
    explicit DeviceBuffer(std::int64_t count) : count_(std::size_t(count)) {
        const std::vector<unsigned char> bytes(2 * margin + count_ * sizeof(T), sentinel_byte);
        memory_ = static_cast<unsigned char*>(tvmap::gpu::allocate(bytes.size()));
        tvmap::gpu::copy(test_stream(), memory_, bytes.data(), bytes.size());
    }
    explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(std::int64_t(values.size())) {
        upload(values);
    }
    ~DeviceBuffer() { tvmap::gpu::release(memory_); }
    DeviceBuffer(const DeviceBuffer&) = delete;
    DeviceBuffer& operator=(const DeviceBuffer&) = delete;

    T* data() const { return reinterpret_cast<T*>(memory_ + margin); }
    std::size_t size() const { return count_; }

    void upload(const std::vector<T>& values) {
        if (values.size() != count_) std::abort();
        tvmap::gpu::copy(test_stream(), data(), values.data(), count_ * sizeof(T));
    }
    std::vector<T> download() const {
        const std::vector<unsigned char> bytes = everything();
        std::vector<T> values(count_);
        if (count_ != 0) std::memcpy(values.data(), bytes.data() + margin, count_ * sizeof(T));
        return values;
    }

    /// Nothing was written beside the values.
    bool intact() const {
        const std::vector<unsigned char> bytes = everything();
        const auto untouched = [](unsigned char byte) { return byte == sentinel_byte; };
        return std::all_of(bytes.begin(), bytes.begin() + margin, untouched) &&
               std::all_of(bytes.end() - margin, bytes.end(), untouched);
    }
    /// Not even the values were written (since upload() at most once).
    bool untouched() const {
        const std::vector<unsigned char> bytes = everything();
        return std::all_of(bytes.begin(), bytes.end(), [](unsigned char b) { return b == sentinel_byte; });
    }

  private:
    static constexpr std::ptrdiff_t margin = 256;
    static constexpr unsigned char sentinel_byte = 0xc5;  // floats of -6331.8

    std::vector<unsigned char> everything() const {
        std::vector<unsigned char> bytes(2 * margin + count_ * sizeof(T));
        tvmap::gpu::copy(test_stream(), bytes.data(), memory_, bytes.size());
        tvmap::gpu::synchronise(test_stream());
        return bytes;
    }

    std::size_t count_;
    unsigned char* memory_;
};

/// Planar feature maps in device memory, with sentinels also between the images where `slack` channels lie
/// there. They begin `offset` floats behind an address aligned to 256 bytes, as a slice does. Values go in
/// and out in the order n, c, h, w.
class DeviceFeatures {
  public:
    DeviceFeatures(int n, int c, int h, int w, int slack = 0, int offset = 0)
        : shape_{{n, c, 1, h, w}, 1, std::int64_t(c + slack) * h * w},
          offset_(offset),
          memory_(offset + n * shape_.image_stride) {}
    DeviceFeatures(int n, int c, int h, int w, int slack, const std::vector<double>& values, int offset = 0)
        : DeviceFeatures(n, c, h, w, slack, offset) {
        set(values);
    }

    const tvmap::Features& shape() const { return shape_; }
    float* data() const { return memory_.data() + offset_; }
    tvmap::View view() const { return {data(), shape_}; }

    void set(const std::vector<double>& values) {
        if (values.size() != std::size_t(shape_.size())) std::abort();
        std::vector<float> all = memory_.download();
        for (std::int64_t i = 0; i < shape_.size(); ++i) all[place(i)] = float(values[std::size_t(i)]);
        memory_.upload(all);
    }
    std::vector<double> get() const {
        const std::vector<float> all = memory_.download();
        std::vector<double> values(std::size_t(shape_.size()));
        for (std::int64_t i = 0; i < shape_.size(); ++i) values[std::size_t(i)] = all[place(i)];
        return values;
    }

    /// Nothing but the values was written.
    bool intact() const {
        const std::vector<float> all = memory_.download();
        std::vector<bool> owned(all.size(), false);
        for (std::int64_t i = 0; i < shape_.size(); ++i) owned[place(i)] = true;
        const float sentinel = DeviceBuffer<float>(1).download()[0];
        for (std::size_t i = 0; i < all.size(); ++i)
            if (!owned[i] && std::memcmp(&all[i], &sentinel, sizeof(float)) != 0) return false;
        return memory_.intact();
    }

  private:
    std::size_t place(std::int64_t i) const {
        return std::size_t(offset_ + i / shape_.image_size() * shape_.image_stride + i % shape_.image_size());
    }

    tvmap::Features shape_;
    int offset_;
    DeviceBuffer<float> memory_;
};

/// Notes that kernels have been compared by other means than the functions below.
inline void compared_otherwise() {
#ifdef TVMAP_EMULATED
    tvmap::emulation::mark_compared();
#endif
}

/// True where two arrays are the same; else it says where they first differ, which a failing CHECK prints.
struct Comparison {
    std::string difference;
    operator bool() const { return difference.empty(); }
    friend std::ostream& operator<<(std::ostream& out, const Comparison& c) {
        return out << (c ? "the same" : c.difference);
    }
};

/// A value, and its bytes as the number they are.
template <class T>
std::string value_and_bits(const T& value) {
    std::uint64_t bits = 0;
    static_assert(sizeof value <= sizeof bits);
    std::memcpy(&bits, &value, sizeof value);
    std::ostringstream out;
    out << std::setprecision(std::numeric_limits<T>::max_digits10) << +value << " (0x" << std::hex << bits
        << ")";
    return out.str();
}

/// Whether the values are the same, bit by bit; empty ones never are.
template <class T>
Comparison compared_bits(const std::vector<T>& actual, const std::vector<T>& expected) {
    compared_otherwise();
    if (expected.empty()) return {"nothing to compare"};
    if (actual.size() != expected.size())
        return {std::to_string(actual.size()) + " values, not " + std::to_string(expected.size())};
    std::size_t first = expected.size(), wrong = 0;
    for (std::size_t i = expected.size(); i-- > 0;)
        if (std::memcmp(&actual[i], &expected[i], sizeof(T)) != 0) first = i, ++wrong;
    if (wrong == 0) return {};
    return {"[" + std::to_string(first) + "] is " + value_and_bits(actual[first]) + ", not " +
            value_and_bits(expected[first]) + "; " + std::to_string(wrong) + " of " +
            std::to_string(expected.size()) + " differ"};
}

/// ‖a − b‖₂ / ‖b‖₂; infinite where lengths differ, where there is nothing to compare or anything is NaN.
template <class A, class B>
double relative_difference(const std::vector<A>& actual, const std::vector<B>& expected) {
    compared_otherwise();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (expected.empty() || actual.size() != expected.size()) return infinity;
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double a = double(actual[i]), b = double(expected[i]);
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    if (difference == 0) return 0;
    const double ratio = std::sqrt(difference / norm);
    return std::isnan(ratio) ? infinity : ratio;
}

/// max |a − b|; infinite in the same cases.
template <class A, class B>
double largest_difference(const std::vector<A>& actual, const std::vector<B>& expected) {
    compared_otherwise();
    constexpr double infinity = std::numeric_limits<double>::infinity();
    if (expected.empty() || actual.size() != expected.size()) return infinity;
    double largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        const double difference = std::abs(double(actual[i]) - double(expected[i]));
        if (std::isnan(difference)) return infinity;
        largest = std::max(largest, difference);
    }
    return largest;
}
