// How the gradient through T steps of the solver is made. All modes run one adjoint (kernels/solver/pdhg.h); they
// differ in which of the clip's decisions it reads, for how many steps, and where these come from.
//     masks        exact; the decisions of all steps are kept: 4 bits a pixel and step
//     checkpoint   exact; iterates are kept now and then, and the decisions between them made again
//     stored       exact; the iterates of every step are kept, as an autograd framework does: the yardstick
//     truncated:K  through the last K steps alone, as if x_{T−K} were given (K = 1: Jacobian-free
//                  backpropagation)
//     implicit     the last step's decisions repeated until the adjoint converges: the gradient of the fixed
//                  point that x_T is taken for
// The gradient for z goes with it: truncated and implicit count what z does inside the steps that they see
// (as data of the problem), not that the iteration starts at z; of a fixed point that is the whole.
#pragma once
#include <optional>
#include <string>

namespace tvmap {

struct GradientMode {
    enum class Kind { masks, checkpoint, stored, truncated, implicit };
    Kind kind = Kind::masks;
    int steps = 0;  ///< truncated: K

    /// implicit: steps are taken in stretches, and a stretch that adds to d_Λ at most `tolerance` of its sum
    /// (norms, every solve of a batch) is the last, on every backend and in a recorded step too. 0: always
    /// `cap` steps.
    double tolerance = 1e-4;
    int cap = 1000;  ///< implicit: at most so many steps

    /// masks, truncated:8, …
    std::string name() const;
    /// Whether it is the derivative of x_T, and not something like it.
    bool exact(int iterations) const;
    /// Why it does not go with so many iterations; empty where it does.
    std::string refusal(int iterations) const;
    bool operator==(const GradientMode&) const = default;
};

/// The mode of this name, nothing where there is none; tolerance and cap are the defaults.
std::optional<GradientMode> gradient_mode(const std::string& name);

/// What name() can be, for messages: "masks | checkpoint | …".
inline constexpr const char* gradient_mode_names = "masks | checkpoint | stored | truncated:K | implicit";

}  // namespace tvmap
