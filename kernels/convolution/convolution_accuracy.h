// How exact one pass of a CUDA convolution is, found out by trying it. What a vendor says of an engine's
// arithmetic is not enough: notes name the hardware and not the error, and an engine that rounds its operands
// looks like one that does not. So a pass runs on numbers that use their whole mantissa, and some entries of
// its result are compared with sums in double on the host.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/convolution/convolution_passes.h"

namespace tvmap::cuda {

/// What memory full of operands is filled with, over and over: as many floats in (−1, 1), always the same. In
/// bf16 they are bfloat16, two to a float.
class MadeUpNumbers {
  public:
    explicit MadeUpNumbers(Precision precision);
    /// The pattern as it lies in memory.
    const void* data() const { return bits_.data(); }
    std::size_t bytes() const { return bits_.size(); }
    /// The number at this place of a tensor (in elements from its start) that begins with the pattern.
    double operator[](std::int64_t place) const { return values_[std::size_t(place) % values_.size()]; }

  private:
    std::vector<double> values_;
    std::vector<std::byte> bits_;
};

/// Entries of a pass's result: where they lie (in elements from its start), and what they are.
struct ExactEntries {
    std::vector<std::int64_t> places;
    std::vector<double> values;

    /// ‖found − exact‖₂/‖exact‖₂; infinite where a value is not finite.
    double relative_error(const std::vector<double>& found) const;
};

/// Some entries of what the pass makes of tensors that are all filled with `numbers`: with the bias and the
/// leaky ReLU in a forward pass, and what it adds to.
ExactEntries exact_entries(const PassProblem& problem, const MadeUpNumbers& numbers);

/// The most that a pass may be off, ‖·‖₂ relative. On an H200 cuDNN's engines in fp32 were 3e-7 … 7e-6 off
/// (the most: Winograd's for weights), those in TF32 2.6e-4 or, where they cut operands off, 7e-4, so that
/// the bound of fp32 lies far from either; operands of bf16, and a result in bf16, leave some 3e-3.
double most_error(Precision precision);

}  // namespace tvmap::cuda
