// Marks the time that is spent inside a vendor's library, so that a test which counts heap allocations can
// tell ours from the vendor's own bookkeeping.
#pragma once
#include <atomic>

namespace tvmap {

/// While one lives, in_vendor_call() is true on every thread: the library allocates on its workers too, which
/// never pass through our code. Scopes nest, also across threads.
class VendorScope {
  public:
    VendorScope() { depth.fetch_add(1, std::memory_order_relaxed); }
    ~VendorScope() { depth.fetch_sub(1, std::memory_order_relaxed); }
    VendorScope(const VendorScope&) = delete;
    VendorScope& operator=(const VendorScope&) = delete;

    static bool active() { return depth.load(std::memory_order_relaxed) > 0; }

  private:
    inline static std::atomic<int> depth{0};
};

inline bool in_vendor_call() { return VendorScope::active(); }

}  // namespace tvmap
