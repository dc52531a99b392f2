#include "tests/outside/average_pool.h"

#include "kernels/base/shapes.h"
#include "kernels/threads/parallel.h"

namespace outside::cpu {

using namespace tvmap;

namespace {

Features pooled(const Features& x) { return dense_features(x.n, x.c, x.h / 2, x.w / 2, x.block); }

}  // namespace

void average_pool_forward(ConstView x, View y) {
    require_shape("average_pool", "y", y.shape, pooled(x.shape));
    const int width = x.shape.w, block = x.shape.block, out_width = y.shape.w;
    tvmap::cpu::parallel_rows(y.shape, y.shape.h, x.shape.size(), [&](int n, std::int64_t plane, int i) {
        const float* upper = x.image(n) + (plane * x.shape.h + 2 * i) * width * block;
        const float* lower = upper + width * block;
        float* out = y.image(n) + (plane * y.shape.h + i) * out_width * block;
        for (int j = 0; j < out_width; ++j)
            for (int c = 0; c < block; ++c) {
                const int left = 2 * j * block + c, right = left + block;
                out[j * block + c] = 0.25f * ((upper[left] + upper[right]) + (lower[left] + lower[right]));
            }
    });
}

void average_pool_backward(ConstView d_y, View d_x, Write write) {
    require_shape("average_pool backward", "d_y", d_y.shape, pooled(d_x.shape));
    const Features &in = d_x.shape, &out = d_y.shape;
    tvmap::cpu::parallel_rows(in, in.h, in.size(), [&](int n, std::int64_t plane, int i) {
        const float* from = d_y.image(n) + (plane * out.h + i / 2) * out.w * in.block;
        float* to = d_x.image(n) + (plane * in.h + i) * in.w * in.block;
        for (int j = 0; j < in.w; ++j)
            for (int c = 0; c < in.block; ++c) {
                const bool pooled_here = i / 2 < out.h && j / 2 < out.w;
                const float gradient = pooled_here ? 0.25f * from[j / 2 * in.block + c] : 0.0f;
                float& at = to[j * in.block + c];
                at = write == Write::accumulate ? at + gradient : gradient;
            }
    });
}

}  // namespace outside::cpu
