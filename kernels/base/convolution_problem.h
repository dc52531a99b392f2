// The shapes of a convolution (kernels/convolution/convolution.h): what its algorithms, each in a room of its own, go by.
#pragma once
#include <string>

#include "kernels/base/features.h"

namespace tvmap {

struct ConvolutionProblem {
    Features x;                   ///< N×Cin×H×W; may be a channel slice. d_x is of its element, d_y of y's
    Features y;                   ///< N×Cout×H×W; may be a channel slice
    int kernel = 3;               ///< 1 or 3
    float slope = 1.0f;           ///< of the leaky ReLU on the result; 1: none
    bool training = true;         ///< false: only forward will be called
    bool needs_d_x = true;        ///< whether backward will be asked for d_x
    bool accumulates_d_x = true;  ///< whether backward may be asked to add to d_x; false saves workspace

    /// One line that names the problem in full: the key under which its algorithms are remembered.
    std::string key() const;

    /// Whether x or y is bf16: then products may be made of bf16, see make_convolution.
    bool in_bf16() const { return x.element == Element::bf16 || y.element == Element::bf16; }

    /// Throws Error where the shapes contradict each other or the contract.
    void check() const;
};

}  // namespace tvmap
