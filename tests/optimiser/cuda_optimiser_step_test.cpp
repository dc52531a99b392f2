// What an optimiser's step does around Adam on CUDA: the CPU's bits, aligned or not, and in a recording.
#include "kernels/optimiser/optimiser_step.h"

#include <doctest/doctest.h>

#include <vector>

#include "kernels/gpu/gpu_runtime.h"
#include "kernels/layers/blas1.h"
#include "tests/support/device_buffer.h"
#include "tests/support/normal_values.h"

using namespace tvmap;

namespace {

/// Values a float past the alignment.
struct Shifted {
    DeviceBuffer<float> buffer;
    explicit Shifted(const std::vector<float>& values) : buffer(std::int64_t(values.size()) + 1) {
        std::vector<float> all = values;
        all.insert(all.begin(), 99.0f);
        buffer.upload(all);
    }
    float* data() const { return buffer.data() + 1; }
    std::vector<float> values() const {
        const std::vector<float> all = buffer.download();
        CHECK(all[0] == 99.0f);
        CHECK(buffer.intact());
        return {all.begin() + 1, all.end()};
    }
};

}  // namespace

TEST_CASE("the kernels around Adam have the CPU's bits") {
    for (const std::int64_t count : {1, 3, 255, 256, 257, 1027}) {
        CAPTURE(count);
        const std::vector<float> a = narrow(random_values(count, 1)), b = narrow(random_values(count, 2));
        {
            std::vector<float> sum = a, gradient = b;
            const Shifted device_sum(a), device_gradient(b);
            cpu::mean_gradient(count, 3, sum.data(), gradient.data());
            cuda::mean_gradient(test_stream(), count, 3, device_sum.data(), device_gradient.data());
            CHECK(compared_bits(device_sum.values(), sum));
            CHECK(compared_bits(device_gradient.values(), gradient));
        }
        const Features shape = dense_features(1, 1, 1, int(count), 1);
        double squared = 0;
        cpu::dot({a.data(), shape}, {a.data(), shape}, &squared);
        for (const double share : {0.3, 1.0, 2.0}) {
            CAPTURE(share);
            std::vector<float> gradient = a;
            const Shifted device_gradient(a);
            DeviceBuffer<double> norm(1);
            cuda::dot(test_stream(), {device_gradient.data(), shape}, {device_gradient.data(), shape},
                      norm.data());
            CHECK(compared_bits(norm.download(), std::vector<double>{squared}));
            cpu::clip_gradient(count, share * std::sqrt(squared), &squared, gradient.data());
            cuda::clip_gradient(test_stream(), count, share * std::sqrt(squared), norm.data(),
                                device_gradient.data());
            CHECK(compared_bits(device_gradient.values(), gradient));
            CHECK((gradient == a) == (share >= 1));
        }
        const StepFactors factors{AdamStep(Adam{.rate = 0.1, .step = 4, .weight_decay = 0.3, .ema = 0.999})};
        {
            std::vector<float> w = a;
            const Shifted device_w(a);
            const std::vector<Span> spans{{0, count / 3}, {count / 2, count - count / 2}};
            DeviceBuffer<Span> device_spans(spans.size());
            device_spans.upload(spans);
            cpu::decay_weights(factors, {spans.data(), 2, count - count / 2}, w.data());
            cuda::decay_weights(test_stream(), factors, {device_spans.data(), 2, count - count / 2},
                                device_w.data());
            CHECK(compared_bits(device_w.values(), w));
        }
        std::vector<float> average = b;
        const Shifted device_w(a), device_average(b);
        cpu::average_weights(factors, count, a.data(), average.data());
        cuda::average_weights(test_stream(), factors, count, device_w.data(), device_average.data());
        CHECK(compared_bits(device_average.values(), average));
        CHECK(compared_bits(device_w.values(), a));
    }
}

TEST_CASE("a recorded step takes the next factors at each replay") {
    const std::int64_t count = 37;
    const std::vector<AdamStep> steps = {
        AdamStep(Adam{.rate = 0.1, .step = 1, .weight_decay = 0.3, .ema = 0.9}),
        AdamStep(Adam{.rate = 0.05, .step = 2, .weight_decay = 0.3, .ema = 0.9})};
    DeviceBuffer<AdamStep> device_steps(steps.size());
    DeviceBuffer<std::uint32_t> counter(1);
    const std::vector<Span> spans{{0, count}};
    DeviceBuffer<Span> device_spans(1);
    device_steps.upload(steps), device_spans.upload(spans), counter.upload({0});
    std::vector<float> w = narrow(random_values(count, 1)), average = w;
    const Shifted device_w(w), device_average(average);
    const StepFactors factors(device_steps.data(), counter.data());
    const auto graph = gpu::record(test_stream(), [&] {
        cuda::decay_weights(test_stream(), factors, {device_spans.data(), 1, count}, device_w.data());
        cuda::average_weights(test_stream(), factors, count, device_w.data(), device_average.data());
    });
    for (std::uint32_t t = 0; t < 2; ++t) {
        counter.upload({t});
        graph->launch(test_stream());
        cpu::decay_weights(StepFactors{steps[t]}, {spans.data(), 1, count}, w.data());
        cpu::average_weights(StepFactors{steps[t]}, count, w.data(), average.data());
        CHECK(compared_bits(device_w.values(), w));
        CHECK(compared_bits(device_average.values(), average));
    }
}
