// The choice of the way a convolution is computed on the CPU.
#include "kernels/convolution/convolution.h"

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_implementations.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "kernels/threads/threads.h"

namespace tvmap::cpu {

void check_threads(const ConvolutionProblem& problem, int planned) {
    if (thread_count() != planned)
        fail("convolution (", problem.key(), "): planned for ", planned, " threads, called with ",
             thread_count(), "; plan again after changing the number of threads");
}

int channel_block(int channels) {
    int block = onednn_channel_block();
    while (block >= 8 && channels % block != 0) block /= 2;
    return block >= 8 ? block : 1;
}

std::unique_ptr<Convolution> make_convolution(const ConvolutionProblem& problem,
                                              const std::string& algorithms) {
    problem.check();
    struct Own {
        const char* name;
        bool applies;
        std::unique_ptr<Convolution> (*make)(const ConvolutionProblem&);
    };
    const bool free = algorithms.empty() || are_untimed(algorithms);
    for (const Own& own : {Own{pointwise_name, pointwise_applies(problem), pointwise_convolution},
                           Own{single_input_name, single_input_applies(problem), single_input_convolution}}) {
        if (algorithms == own.name && !own.applies)
            fail("convolution (", problem.key(), "): algorithm \"", own.name,
                 "\" does not apply; leave the algorithms empty to have them chosen anew");
        if (own.applies && (free || algorithms == own.name)) return own.make(problem);
    }
    return onednn_convolution(problem, algorithms);
}

}  // namespace tvmap::cpu
