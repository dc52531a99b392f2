// The choice of the way a convolution is computed on the CPU.
#include "kernels/convolution/convolution.h"

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_implementations.h"
#include "kernels/convolution/untimed_algorithms.h"

namespace tvmap::cpu {

int channel_block(int channels) {
    int block = onednn_channel_block();
    while (block >= 8 && channels % block != 0) block /= 2;
    return block >= 8 ? block : 1;
}

std::unique_ptr<Convolution> make_convolution(const ConvolutionProblem& problem,
                                              const std::string& algorithms) {
    problem.check();
    if (algorithms == "pointwise" && !pointwise_applies(problem))
        fail("convolution (", problem.key(),
             "): algorithm \"pointwise\" does not apply; leave the algorithms",
             " empty to have them chosen anew");
    const bool free = algorithms.empty() || are_untimed(algorithms);
    if (algorithms == "pointwise" || (free && pointwise_applies(problem)))
        return pointwise_convolution(problem);
    return onednn_convolution(problem, algorithms);
}

}  // namespace tvmap::cpu
