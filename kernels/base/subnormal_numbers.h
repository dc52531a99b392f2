// Numbers below the smallest normal one, 1.2e-38 in fp32. What decays, as the adjoint's iterates do over some hundred
// steps, comes to rest among them, and a processor may take thirty times as long for each (measured on a Xeon).
#pragma once
#include <atomic>
#include <cstdint>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace tvmap::cpu {

/// While it lives, the calling thread's floating-point operations take subnormal numbers for zero and give zero in their
/// place, in every instruction set; then they do what they did before. That holds for what is read from memory and
/// written to it meanwhile; values that stay in registers the compiler may compute earlier or later.
class SubnormalsAreZero {
  public:
    SubnormalsAreZero() : before_(control()) {
        if ((before_ & bits) != bits) set_control(before_ | bits);
        fence();
    }
    ~SubnormalsAreZero() {
        fence();
        if ((before_ & bits) != bits) set_control(before_);
    }
    SubnormalsAreZero(const SubnormalsAreZero&) = delete;
    SubnormalsAreZero& operator=(const SubnormalsAreZero&) = delete;

  private:
    static void fence() { std::atomic_signal_fence(std::memory_order_seq_cst); }  // for the compiler alone
#if defined(__SSE__)
    using Control = unsigned;                // MXCSR
    static constexpr Control bits = 0x8040;  // results (FTZ) and operands (DAZ)
    static Control control() { return _mm_getcsr(); }
    static void set_control(Control value) { _mm_setcsr(value); }
#elif defined(__aarch64__)
    using Control = std::uint64_t;             // FPCR
    static constexpr Control bits = 1u << 24;  // FZ: results and operands
    static Control control() {
        Control value;
        __asm__ volatile("mrs %0, fpcr" : "=r"(value));
        return value;
    }
    static void set_control(Control value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
#else
    using Control = unsigned;
    static constexpr Control bits = 0;
    static Control control() { return 0; }
    static void set_control(Control) {}
#endif

    Control before_;
};

}  // namespace tvmap::cpu
