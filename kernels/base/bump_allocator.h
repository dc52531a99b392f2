// Memory that is handed out from its start, piece by piece: how every workspace is cut up. Without memory it only counts,
// so that a workspace's size and its pieces come from the same lines.
#pragma once
#include <cstddef>

namespace tvmap {

/// Of workspaces and of their pieces, in bytes.
constexpr std::size_t piece_alignment = 64;

constexpr std::size_t aligned(std::size_t bytes, std::size_t alignment = piece_alignment) {
    return (bytes + alignment - 1) / alignment * alignment;
}

/// For one thread.
class BumpAllocator {
  public:
    /// memory: aligned like its pieces, or null.
    explicit BumpAllocator(void* memory = nullptr, std::size_t alignment = piece_alignment)
        : memory_(static_cast<std::byte*>(memory)), alignment_(alignment) {}

    /// The next piece, of so many bytes, as its distance from the start.
    std::size_t reserve(std::size_t bytes) {
        const std::size_t place = bytes_;
        bytes_ += aligned(bytes, alignment_);
        return place;
    }
    /// The next piece, of so many values: null without memory.
    template <class T>
    T* take(std::size_t count) {
        const std::size_t place = reserve(count * sizeof(T));
        return memory_ ? reinterpret_cast<T*>(memory_ + place) : nullptr;
    }
    /// Of all pieces so far.
    std::size_t bytes() const { return bytes_; }

  private:
    std::byte* memory_;
    std::size_t alignment_, bytes_ = 0;
};

}  // namespace tvmap
