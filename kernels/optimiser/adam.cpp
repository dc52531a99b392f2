// Elementwise: four streams read, three written, so it runs at the memory's speed.
#include "kernels/optimiser/adam.h"

#include "kernels/base/simd.h"
#include "kernels/threads/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/optimiser/adam.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include "kernels/base/simd_loops.h"

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {
namespace {

void update_span(const AdamStep& f, std::int64_t count, float* w, const float* gradient, float* m, float* v) {
    for_each_vector(count, [&](auto d, std::int64_t i) HWY_ATTR {
        const auto g = hn::LoadU(d, gradient + i);
        const auto m1 =
            hn::MulAdd(hn::Set(d, f.decay1), hn::LoadU(d, m + i), hn::Mul(hn::Set(d, f.gain1), g));
        const auto v1 = hn::MulAdd(hn::Set(d, f.decay2), hn::LoadU(d, v + i),
                                   hn::Mul(hn::Mul(hn::Set(d, f.gain2), g), g));
        const auto root = hn::MulAdd(hn::Sqrt(v1), hn::Set(d, f.root_gain), hn::Set(d, f.eps));
        hn::StoreU(m1, d, m + i);
        hn::StoreU(v1, d, v + i);
        hn::StoreU(hn::NegMulAdd(hn::Set(d, f.rate), hn::Div(m1, root), hn::LoadU(d, w + i)), d, w + i);
    });
}

}  // namespace
}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {
namespace {
HWY_EXPORT(update_span);
}

void adam_step(const AdamStep& step, std::int64_t count, float* w, const float* gradient, float* m,
               float* v) {
    parallel_pieces(count, 4 * count, [&](std::int64_t at, std::int64_t length) {
        HWY_DYNAMIC_DISPATCH(update_span)(step, length, w + at, gradient + at, m + at, v + at);
    });
}

void adam_step(const Adam& adam, std::int64_t count, float* w, const float* gradient, float* m, float* v) {
    adam_step(AdamStep(adam), count, w, gradient, m, v);
}

}  // namespace tvmap::cpu
#endif
