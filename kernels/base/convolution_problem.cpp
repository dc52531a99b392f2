// What does not depend on the device that computes a convolution: its key and its checks.
#include "kernels/base/convolution_problem.h"

#include "kernels/base/error.h"

namespace tvmap {

std::string ConvolutionProblem::key() const {
    const auto layout = [](const Features& f) {
        return text(f.c, "b", f.block, f.dense() ? "" : "s", f.element == Element::bf16 ? "h" : "");
    };
    return text("conv", kernel, "x", kernel, " n", x.n, " ", layout(x), ">", layout(y), " ", x.h, "x", x.w,
                " slope ", slope, training ? " training" : " inference", training && needs_d_x ? " d_x" : "");
}

void ConvolutionProblem::check() const {
    const auto refuse = [&](const char* what) { fail("convolution (", key(), "): ", what); };
    if (kernel != 1 && kernel != 3) refuse("kernel must be 1 or 3");
    if (x.n < 1 || x.c < 1 || x.h < 1 || x.w < 1 || y.c < 1) refuse("every size must be at least 1");
    if (y.n != x.n || y.h != x.h || y.w != x.w) refuse("x and y must agree in N, H and W");
    for (const Features* f : {&x, &y}) {
        if (f->block != 1 && f->block != 8 && f->block != 16) refuse("channel blocks must be 1, 8 or 16");
        if (f->c % f->block != 0) refuse("channels must be a multiple of their block");
        if (f->element == Element::bf16 && f->block == 1)
            refuse("tensors of bf16 must lie in blocks of channels");
        if (f->n > 1 && f->image_stride < f->image_size())
            refuse("images overlap: image_stride is too small");
    }
    if (!(slope > 0.0f)) refuse("slope must be positive: the gradient is read off the result's sign");
}

}  // namespace tvmap
