// Values in a backend's memory.
#pragma once
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace tvmap {

/// `size` values of a trivial type, zero at first. Like all here for the one thread that uses the backend.
template <class T>
class DeviceArray {
  public:
    DeviceArray(Backend& backend, std::size_t size)
        : backend_(backend),
          size_(size),
          data_(size ? static_cast<T*>(backend.allocate(size * sizeof(T))) : nullptr) {
        // The host hands out a page when it is first touched: here, not where somebody takes the time.
        if (size && !backend.separate_memory()) std::memset(static_cast<void*>(data_), 0, bytes());
    }
    DeviceArray(Backend& backend, const std::vector<T>& values) : DeviceArray(backend, values.size()) {
        upload(values.data(), values.size());
    }
    ~DeviceArray() {
        if (data_) backend_.release(data_, bytes());
    }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() const { return data_; }
    std::size_t size() const { return size_; }
    std::size_t bytes() const { return size_ * sizeof(T); }

    /// Copies `count` values from the host, or to it, and waits.
    void upload(const T* host, std::size_t count, std::size_t first = 0) {
        if (count) backend_.upload(data_ + first, host, count * sizeof(T));
    }
    void download(T* host, std::size_t count, std::size_t first = 0) const {
        if (count) backend_.download(host, data_ + first, count * sizeof(T));
    }

  private:
    Backend& backend_;
    std::size_t size_;
    T* data_;
};

/// Values of the host as the backend sees them: where they stand if the backend works in the host's memory,
/// else in a copy. T may be const.
template <class T>
class DeviceMirror {
    using Value = std::remove_const_t<T>;

  public:
    DeviceMirror(Backend& backend, T* host, std::size_t size)
        : host_(host), copy_(backend, backend.separate_memory() ? size : 0) {}

    T* data() const { return copy_.size() ? copy_.data() : host_; }

    /// Brings the host's values to the backend, or the backend's to the host, and waits.
    void upload() { copy_.upload(host_, copy_.size()); }
    void download() const { copy_.download(host_, copy_.size()); }

  private:
    T* host_;
    DeviceArray<Value> copy_;
};

/// What an operation reads: a mirror that is brought up to date once.
template <class T>
class DeviceInput : DeviceMirror<const T> {
  public:
    DeviceInput(Backend& backend, const T* host, std::size_t size)
        : DeviceMirror<const T>(backend, host, size) {
        this->upload();
    }
    using DeviceMirror<const T>::data;
};

}  // namespace tvmap
