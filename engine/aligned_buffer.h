// Memory as the kernels want it: aligned to 64 bytes, zero at first.
#pragma once
#include <cstddef>
#include <cstring>
#include <new>

namespace tvmap {

/// `size` elements of a trivial type.
template <class T>
class AlignedBuffer {
  public:
    explicit AlignedBuffer(std::size_t size)
        : size_(size), data_(static_cast<T*>(::operator new(size * sizeof(T), alignment))) {
        std::memset(data_, 0, size * sizeof(T));
    }
    ~AlignedBuffer() { ::operator delete(data_, alignment); }
    AlignedBuffer(const AlignedBuffer&) = delete;
    AlignedBuffer& operator=(const AlignedBuffer&) = delete;

    T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T* begin() const { return data_; }
    T* end() const { return data_ + size_; }

  private:
    static constexpr std::align_val_t alignment{64};
    std::size_t size_;
    T* data_;
};

}  // namespace tvmap
