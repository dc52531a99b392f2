// What does not depend on the way a convolution is computed: its key, its checks, the choice of the way.
#include "kernels/convolution.h"

#include "kernels/convolution_implementations.h"
#include "kernels/error.h"

namespace tvmap {

std::string ConvolutionProblem::key() const {
    const auto layout = [](const Features& f) { return text(f.c, "b", f.block, f.dense() ? "" : "s"); };
    return text("conv", kernel, "x", kernel, " n", x.n, " ", layout(x), ">", layout(y), " ", x.h, "x", x.w,
                " slope ", slope, training ? " training" : " inference", training && needs_d_x ? " d_x" : "");
}

namespace cpu {

namespace {
void check(const ConvolutionProblem& problem) {
    const Features &x = problem.x, &y = problem.y;
    const auto refuse = [&](const char* what) { fail("convolution (", problem.key(), "): ", what); };
    if (problem.kernel != 1 && problem.kernel != 3) refuse("kernel must be 1 or 3");
    if (x.n < 1 || x.c < 1 || x.h < 1 || x.w < 1 || y.c < 1) refuse("every size must be at least 1");
    if (y.n != x.n || y.h != x.h || y.w != x.w) refuse("x and y must agree in N, H and W");
    for (const Features* f : {&x, &y}) {
        if (f->block != 1 && f->block != 8 && f->block != 16) refuse("channel blocks must be 1, 8 or 16");
        if (f->c % f->block != 0) refuse("channels must be a multiple of their block");
        if (f->n > 1 && f->image_stride < f->image_size())
            refuse("images overlap: image_stride is too small");
    }
    if (!(problem.slope > 0.0f)) refuse("slope must be positive: the gradient is read off the result's sign");
}
}  // namespace

int channel_block(int channels) {
    int block = onednn_channel_block();
    while (block >= 8 && channels % block != 0) block /= 2;
    return block >= 8 ? block : 1;
}

std::unique_ptr<Convolution> make_convolution(const ConvolutionProblem& problem,
                                              const std::string& algorithms) {
    check(problem);
    if (algorithms == "pointwise" && !pointwise_applies(problem))
        fail("convolution (", problem.key(),
             "): algorithm \"pointwise\" does not apply; leave the algorithms",
             " empty to have them chosen anew");
    if (algorithms == "pointwise" || (algorithms.empty() && pointwise_applies(problem)))
        return pointwise_convolution(problem);
    return onednn_convolution(problem, algorithms);
}

}  // namespace cpu
}  // namespace tvmap
