// What tests ask of the stand-in for cuDNN: to offer less than it can, or more than one way.
#pragma once

namespace tvmap::emulation {

struct ConvolutionSupport {
    bool plans = true;     ///< offers anything at all
    bool fuses = true;     ///< forward passes with bias and leaky ReLU
    bool adds = true;      ///< data passes that add to d_x
    bool several = false;  ///< two ways: "loops", and "reversed", which sums in another order
    bool coarse = false;   ///< another one, "coarse", whose operands have 5 bits of mantissa
    bool exact = true;     ///< "loops"
};

/// For passes planned from now on.
void set_convolution_support(const ConvolutionSupport& support);

}  // namespace tvmap::emulation
