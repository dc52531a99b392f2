#include "tests/outside/multiplication.h"

#include "kernels/base/shapes.h"
#include "kernels/threads/parallel.h"

namespace outside::cpu {

using namespace tvmap;

void multiply(ConstView a, ConstView b, View y, Write write) {
    require_shape("multiply", "b", b.shape, a.shape);
    require_shape("multiply", "y", y.shape, a.shape);
    tvmap::cpu::parallel_pieces(a.shape, [&](int n, std::int64_t offset, std::int64_t length) {
        const float *of_a = a.image(n) + offset, *of_b = b.image(n) + offset;
        float* to = y.image(n) + offset;
        for (std::int64_t i = 0; i < length; ++i) {
            const float product = of_a[i] * of_b[i];
            to[i] = write == Write::accumulate ? to[i] + product : product;
        }
    });
}

}  // namespace outside::cpu
