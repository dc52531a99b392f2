// One direction of a convolution as oneDNN computes it: a primitive, its operands, and the reorders between
// the layouts and elements that the caller has and those that the primitive wants. Built once, run for ever: run() only
// rebinds pointers and executes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <dnnl.hpp>

#include "kernels/convolution/convolution.h"

namespace tvmap::cpu::onednn {

enum class Direction { forward, data, weights };

/// "forward", "data", "weights".
const char* name(Direction direction);

/// A way to compute one direction. Written and read as NAME[+images][+staged].
struct Algorithm {
    std::string implementation;  ///< oneDNN's name for it, e.g. "jit_wino_4x3:avx512_core"
    bool images = false;         ///< one primitive for one image, run N times; else one for the batch
    bool staged = false;         ///< activations go through buffers in the layout that oneDNN prefers

    std::string to_string() const;
    static Algorithm parse(const std::string& written);
    bool is_reference() const;  ///< oneDNN's plain loops, the last resort
};

/// The implementations that oneDNN offers for this direction and layout, in its order; each name once.
std::vector<Algorithm> available(const ConvolutionProblem& problem, Direction direction, bool images,
                                 bool staged);

/// A tensor at run time.
struct Pointer {
    void* data = nullptr;
    std::int64_t image_bytes =
        0;  ///< between images; used where the pass runs image by image, 0: shared by all
};

/// A planned pass, for one thread at a time.
class Pass {
  public:
    /// Empty where oneDNN does not offer this algorithm here.
    static std::optional<Pass> make(const ConvolutionProblem& problem, Direction direction,
                                    const Algorithm& algorithm);

    const Algorithm& algorithm() const { return algorithm_; }
    std::size_t workspace_bytes() const { return workspace_bytes_; }
    /// forward: whether the leaky ReLU is part of it.
    bool activates() const { return activates_; }

    /// forward: x, weight, bias, y. data: d_a, weight, d_x. weights: x, d_a, d_weight. The last is written as
    /// `write` says, the rest is only read.
    void run(std::span<const Pointer> pointers, Write write, std::byte* workspace);

  private:
    struct Operand {
        dnnl::memory outer, inner;  // as the caller has it, as the primitive wants it
        bool same = true;           // both alike
        dnnl::primitive copy, add;  // inputs: outer → inner; result: inner → outer, overwriting or adding
        std::size_t staging = 0;    // where in the workspace inner lies if it is not the caller's
    };

    void reorder(const dnnl::primitive& primitive, const dnnl::memory& from, const dnnl::memory& to);

    Algorithm algorithm_;
    bool activates_ = false;
    int repeats_ = 1;
    dnnl::stream stream_;
    dnnl::primitive primitive_;
    std::vector<Operand> operands_;
    dnnl::memory scratchpad_, reorder_scratchpad_;
    std::vector<dnnl_exec_arg_t> arguments_;
    std::size_t workspace_bytes_ = 0, reorder_scratch_ = 0;
};

}  // namespace tvmap::cpu::onednn
