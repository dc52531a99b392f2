// Losses, Adam, noise and batches on CUDA: against double references, and the CPU's bits where
// both promise the same.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/gpu/gpu_runtime.h"
#include "kernels/optimiser/adam.h"
#include "kernels/training/finite.h"
#include "kernels/training/loss.h"
#include "kernels/training/random.h"
#include "kernels/training/training_step.h"
#include "tests/kernels/training_step_case.h"
#include "tests/reference/random.h"
#include "tests/reference/training.h"
#include "tests/support/device_buffer.h"
#include "tests/support/normal_values.h"

using namespace tvmap;

namespace {

struct LossCase {
    int n, c, h, w, slack;
};
// The last is large enough for a cluster per image.
const LossCase loss_cases[] = {{1, 1, 1, 1, 0}, {1, 1, 5, 7, 0}, {3, 2, 17, 9, 1}, {2, 1, 103, 89, 2}};

/// Loss and MSEs of a case: {loss, MSE_0, …}.
std::vector<double> device_loss(LossKind kind, const DeviceFeatures& x, const DeviceFeatures& target) {
    const int n = x.shape().n;
    DeviceBuffer<double> mse(n), loss(1);
    cuda::loss_forward(test_stream(), kind, x.view(), target.view(), mse.data(), loss.data());
    std::vector<double> values = loss.download();
    for (const double m : mse.download()) values.push_back(m);
    CHECK(mse.intact());
    CHECK(loss.intact());
    return values;
}

}  // namespace

TEST_CASE("losses and their gradients") {
    for (const auto& [n, c, h, w, slack] : loss_cases)
        for (const LossKind kind : {LossKind::mse, LossKind::log_mse}) {
            CAPTURE(h);
            const std::int64_t size = std::int64_t(n) * c * h * w, image = size / n;
            std::vector<double> x = random_values(size, 1);
            const std::vector<double> target = random_values(size, 2), old = random_values(size, 3);
            for (std::int64_t i = image; i < size; ++i) x[i] = float(x[i] * 3);  // images weigh differently
            DeviceFeatures x_device(n, c, h, w, slack), y_device(n, c, h, w, 2 * slack);
            x_device.set(x), y_device.set(target);

            const bool logarithmic = kind == LossKind::log_mse;
            std::vector<double> exact = {reference::loss(logarithmic, x, target, n)};
            for (int k = 0; k < n; ++k)
                exact.push_back(
                    reference::loss(false, {x.begin() + k * image, x.begin() + (k + 1) * image},
                                    {target.begin() + k * image, target.begin() + (k + 1) * image}, 1));
            const std::vector<double> loss = device_loss(kind, x_device, y_device);
            // Sums of up to 1e4 positive doubles in different orders.
            for (std::size_t i = 0; i < exact.size(); ++i)
                CHECK(relative_difference(std::vector{loss[i]}, std::vector{exact[i]}) < 1e-13);

            // The gradient has the CPU's bits, which tests/kernels/training_test.cpp measures against double and
            // finite differences; here once more against double.
            DeviceBuffer<double> mse(n);
            mse.upload({loss.begin() + 1, loss.end()});
            const std::vector<float> xs = narrow(x), ys = narrow(target);
            const Features dense = dense_features(n, c, h, w, 1);
            for (const Write write : {Write::overwrite, Write::accumulate}) {
                DeviceFeatures d_x(n, c, h, w, slack);
                d_x.set(old);
                cuda::loss_backward(test_stream(), kind, x_device.view(), y_device.view(), mse.data(),
                                    d_x.view(), write);
                std::vector<float> expected = narrow(old);
                cpu::loss_backward(kind, {xs.data(), dense}, {ys.data(), dense}, loss.data() + 1,
                                   {expected.data(), dense}, write);
                CHECK(compared_bits(narrow(d_x.get()), expected));
                CHECK(d_x.intact());
                std::vector<double> slope(size);
                for (std::int64_t i = 0; i < size; ++i)
                    slope[i] =
                        2.0 / double(size) / (logarithmic ? loss[1 + i / image] : 1) * (x[i] - target[i]) +
                        (write == Write::accumulate ? old[i] : 0);
                // Four roundings of 2^-24: factor, difference, product, sum.
                CHECK(relative_difference(d_x.get(), slope) < 2.5e-7);
                if (write == Write::accumulate) continue;
                cuda::loss_backward(test_stream(), kind, x_device.view(), y_device.view(), mse.data(),
                                    x_device.view(), write);  // in the place of x
                CHECK(compared_bits(narrow(x_device.get()), expected));
                CHECK(x_device.intact());
                x_device.set(x);
            }
        }
}

TEST_CASE("SURE, and its gradient with the CPU's bits") {
    const double epsilon = 0.125;
    for (const auto& [pairs, c, h, w, slack] : loss_cases) {
        CAPTURE(h);
        const std::int64_t size = std::int64_t(2) * pairs * c * h * w, image = size / (2 * pairs);
        const std::vector<double> x = random_values(size, 1), old = random_values(size, 3);
        std::vector<double> target = random_values(size, 2);
        for (std::int64_t i = 0; i < size; ++i)
            if (i / image % 2 == 1) target[i] *= std::ldexp(0.25, int(i / image));
        DeviceFeatures x_device(2 * pairs, c, h, w, slack), target_device(2 * pairs, c, h, w, 2 * slack);
        x_device.set(x), target_device.set(target);
        DeviceBuffer<double> sure(pairs), loss(1);
        cuda::sure_forward(test_stream(), epsilon, x_device.view(), target_device.view(), sure.data(),
                           loss.data());
        // Sums of up to 3e4 doubles of both signs, which cancel a thousandfold at most, in different orders.
        CHECK(relative_difference(loss.download(),
                                  std::vector<double>{reference::sure(epsilon, x, target, pairs)}) < 1e-11);
        for (int k = 0; k < pairs; ++k) {
            const auto part = [&](const std::vector<double>& all) {
                return std::vector<double>(all.begin() + 2 * k * image, all.begin() + 2 * (k + 1) * image);
            };
            CHECK(relative_difference(
                      std::vector<double>{sure.download()[std::size_t(k)]},
                      std::vector<double>{reference::sure(epsilon, part(x), part(target), 1)}) < 1e-11);
        }
        CHECK(sure.intact());
        CHECK(loss.intact());

        const std::vector<float> xs = narrow(x), targets = narrow(target);
        const Features dense = dense_features(2 * pairs, c, h, w, 1);
        for (const Write write : {Write::overwrite, Write::accumulate}) {
            DeviceFeatures d_x(2 * pairs, c, h, w, slack);
            d_x.set(old);
            cuda::sure_backward(test_stream(), epsilon, x_device.view(), target_device.view(), d_x.view(),
                                write);
            std::vector<float> expected = narrow(old);
            cpu::sure_backward(epsilon, {xs.data(), dense}, {targets.data(), dense}, {expected.data(), dense},
                               write);
            CHECK(compared_bits(narrow(d_x.get()), expected));
            CHECK(d_x.intact());
            if (write == Write::accumulate) continue;
            cuda::sure_backward(test_stream(), epsilon, x_device.view(), target_device.view(),
                                x_device.view(),
                                write);  // in the place of x
            CHECK(compared_bits(narrow(x_device.get()), expected));
            CHECK(x_device.intact());
            x_device.set(x);
        }
    }
}

TEST_CASE("the logarithm has a floor, and no slope below it; a NaN comes through") {
    DeviceFeatures x(2, 1, 3, 3, 0), d_x(2, 1, 3, 3, 0);
    x.set(std::vector<double>(18, 0.5));
    const std::vector<double> loss = device_loss(LossKind::log_mse, x, x);
    CHECK(relative_difference(loss, std::vector<double>{std::log(1e-12), 0, 0}) < 1e-15);
    DeviceBuffer<double> mse(2);
    mse.upload({0, 0});
    cuda::loss_backward(test_stream(), LossKind::log_mse, x.view(), x.view(), mse.data(), d_x.view(),
                        Write::overwrite);
    CHECK(compared_bits(narrow(d_x.get()), std::vector<float>(18, 0.0f)));

    DeviceFeatures broken(2, 1, 3, 3, 0);
    std::vector<double> values(18, 0.25);
    values[11] = std::numeric_limits<double>::quiet_NaN();
    broken.set(values);
    for (const LossKind kind : {LossKind::mse, LossKind::log_mse}) {
        const std::vector<double> with_nan = device_loss(kind, broken, x);
        CHECK(std::isnan(with_nan[0]));
        CHECK(with_nan[1] == 0.0625);
        CHECK(std::isnan(with_nan[2]));
    }
}

#ifdef TVMAP_EMULATED
TEST_CASE("a sum has the same bits with clusters and without") {
    const gpu::Device device = gpu::device();
    DeviceFeatures x(3, 1, 131, 97, 1), y(3, 1, 131, 97, 0);
    x.set(random_values(x.shape().size(), 1)), y.set(random_values(x.shape().size(), 2));
    const std::vector<double> with = device_loss(LossKind::mse, x, y);
    gpu::Device older = device;
    older.largest_cluster = 1;
    emulation::set_device(older);
    const std::vector<double> without = device_loss(LossKind::mse, x, y);
    emulation::set_device(device);
    CHECK(compared_bits(with, without));
}
#endif

TEST_CASE("the loss refuses images of different shapes") {
    DeviceFeatures x(1, 1, 4, 4, 0), y(1, 1, 4, 5, 0);
    DeviceBuffer<double> mse(1), loss(1);
    CHECK_THROWS_AS(
        cuda::loss_forward(test_stream(), LossKind::mse, x.view(), y.view(), mse.data(), loss.data()), Error);
    CHECK_THROWS_AS(cuda::loss_backward(test_stream(), LossKind::mse, x.view(), x.view(), mse.data(),
                                        y.view(), Write::overwrite),
                    Error);
}

TEST_CASE("Adam has the CPU's bits, for one step's factors and for a schedule's, aligned or not") {
    for (const std::int64_t count : {1, 3, 4, 6, 1027})
        for (const int shift : {0, 1}) {  // a float past the alignment
            CAPTURE(count);
            CAPTURE(shift);
            const std::vector<float> start = narrow(random_values(count, 7));
            std::vector<float> w = start, m(count, 0.0f), v = m;
            std::vector<reference::AdamState> exact(count);
            for (std::int64_t i = 0; i < count; ++i) exact[i].w = start[i];

            struct Moments {
                DeviceBuffer<float> w, m, v;
                explicit Moments(std::int64_t floats) : w(floats), m(floats), v(floats) {}
            } plain(count + shift), scheduled(count + shift);
            DeviceBuffer<float> gradient(count + shift);
            const auto shifted = [shift = shift](std::vector<float> values) {
                values.insert(values.begin(), shift, 99.0f);
                return values;
            };
            for (Moments* state : {&plain, &scheduled}) {
                state->w.upload(shifted(w));
                state->m.upload(shifted(m));
                state->v.upload(shifted(v));
            }

            const int steps = 3;
            std::vector<Adam> adam;
            std::vector<AdamStep> factors;
            for (int t = 1; t <= steps; ++t) {
                adam.push_back({.rate = 1e-2 / t, .step = t});
                factors.emplace_back(adam.back());
            }
            DeviceBuffer<AdamStep> device_factors(steps);
            device_factors.upload(factors);
            DeviceBuffer<std::uint32_t> counter(1);
            const Schedule schedule{steps, 1, counter.data(), device_factors.data(), nullptr, nullptr};

            for (int t = 0; t < steps; ++t) {
                std::vector<float> g(count);
                const std::vector<double> values = random_values(count, 8 + t);
                for (std::int64_t i = 0; i < count; ++i) {
                    // Gradients from 1e-9 (where eps counts) to 1, and some that are zero.
                    g[i] = i % 11 == 10 ? 0.0f : float(values[i] * std::pow(10.0, -double(i % 10)));
                    exact[i].step(t + 1, g[i], adam[t].rate, adam[t].beta1, adam[t].beta2, adam[t].eps);
                }
                gradient.upload(shifted(g));
                cpu::adam_step(adam[t], count, w.data(), g.data(), m.data(), v.data());
                cuda::adam_step(test_stream(), adam[t], count, plain.w.data() + shift,
                                gradient.data() + shift, plain.m.data() + shift, plain.v.data() + shift);
                counter.upload({std::uint32_t(t)});
                cuda::adam_step(test_stream(), schedule, count, scheduled.w.data() + shift,
                                gradient.data() + shift, scheduled.m.data() + shift,
                                scheduled.v.data() + shift);
                for (const Moments* state : {&plain, &scheduled}) {
                    CHECK(compared_bits(state->w.download(), shifted(w)));
                    CHECK(compared_bits(state->m.download(), shifted(m)));
                    CHECK(compared_bits(state->v.download(), shifted(v)));
                    CHECK(state->w.intact());
                    CHECK(state->m.intact());
                    CHECK(state->v.intact());
                }
            }
            std::vector<double> truth;
            for (const auto& state : exact) truth.push_back(state.w);
            // A step rounds w once (2^-24 of values up to 4) and moves it by about the rate times 1 + 1e-6.
            CHECK(largest_difference(std::vector<double>(w.begin(), w.end()), truth) <
                  steps * (2.4e-7 + 1e-8));
        }
}

TEST_CASE("noise has the bits of its definition, in place too, from any address") {
    const std::uint64_t seed = 0x0123456789abcdefull;
    const std::uint32_t epoch = 7, image = 0xfffffff0u;
    for (const std::int64_t count : {1, 2, 3, 4, 5, 1023, 4097}) {
        CAPTURE(count);
        std::vector<float> clean(count), expected(count), from_cpu(count);
        for (std::int64_t i = 0; i < count; ++i) {
            clean[i] = float(i % 97) / 97.0f;
            const auto words =
                reference::philox({std::uint32_t(i / 4), image, epoch, 1}, {0x89abcdefu, 0x01234567u});
            expected[i] = std::fma(0.3f, reference::inverse_normal(words[i % 4]), clean[i]);
        }
        cpu::add_noise(seed, epoch, image, count, clean.data(), 0.3f, from_cpu.data());
        DeviceBuffer<float> in_place(count), noisy(count + 1);
        in_place.upload(clean);
        noisy.upload(std::vector<float>(count + 1, 99.0f));
        cuda::add_noise(test_stream(), seed, epoch, image, count, in_place.data(), 0.3f, noisy.data() + 1);
        cuda::add_noise(test_stream(), seed, epoch, image, count, in_place.data(), 0.3f, in_place.data());
        std::vector<float> shifted = expected;
        shifted.insert(shifted.begin(), 99.0f);
        CHECK(compared_bits(noisy.download(), shifted));
        CHECK(compared_bits(in_place.download(), expected));
        CHECK(compared_bits(in_place.download(), from_cpu));
        CHECK(noisy.intact());
        CHECK(in_place.intact());
    }
    CHECK_THROWS_AS(cuda::add_noise(test_stream(), 1, 1, 1, (std::int64_t(4) << 32) + 1, nullptr, 1, nullptr),
                    Error);
}

TEST_CASE("a recorded step makes the next batch, takes the next factors and notes the loss at each replay") {
    for (const auto& [size, side, slack] : {std::tuple{9, 9, 0}, {13, 6, 1}, {61, 37, 2}}) {
        CAPTURE(side);
        const TrainingStepCase c(size, side);
        DeviceBuffer<float> images(c.images.size());
        DeviceBuffer<BatchItem> items(c.items.size());
        DeviceBuffer<AdamStep> adam(c.steps);
        DeviceBuffer<std::uint32_t> counter(1);
        DeviceBuffer<double> losses(c.steps), loss(1), mse(c.batch);
        images.upload(c.images), items.upload(c.items), adam.upload(c.adam), counter.upload({0});
        losses.upload(std::vector<double>(c.steps, -1));
        DeviceFeatures target(c.batch, 1, side, side, slack), noisy(c.batch, 1, side, side, 2 * slack);
        const std::int64_t count = 37;
        DeviceBuffer<float> w(count), g(count), m(count), v(count);
        std::vector<float> w_cpu = narrow(random_values(count, 1)), m_cpu(count, 0.0f), v_cpu(count, 0.0f);
        const std::vector<float> gradient = narrow(random_values(count, 2));
        w.upload(w_cpu), g.upload(gradient), m.upload(m_cpu), v.upload(v_cpu);

        const gpu::Stream stream = test_stream();
        const TrainingImages training{images.data(), c.count, c.size};
        const Schedule schedule{c.steps, c.batch, counter.data(), adam.data(), items.data(), losses.data()};
        const auto graph = gpu::record(stream, [&] {
            cuda::make_batch(stream, c.seed, training, schedule, target.view(), noisy.view());
            cuda::loss_forward(stream, LossKind::mse, noisy.view(), target.view(), mse.data(), loss.data());
            cuda::adam_step(stream, schedule, count, w.data(), g.data(), m.data(), v.data());
            cuda::finish_step(stream, schedule, loss.data());
        });
        CHECK(counter.download() == std::vector<std::uint32_t>{0});  // recorded, not carried out
        std::vector<double> expected_losses(c.steps, -1);
        for (int step = 0; step < c.steps; ++step) {
            graph->launch(stream);
            CHECK(compared_bits(narrow(target.get()), c.target(step)));
            CHECK(compared_bits(narrow(noisy.get()), c.noisy(step)));
            cpu::adam_step(c.adam[step], count, w_cpu.data(), gradient.data(), m_cpu.data(), v_cpu.data());
            CHECK(compared_bits(w.download(), w_cpu));
            expected_losses[step] = loss.download()[0];
            CHECK(compared_bits(losses.download(), expected_losses));
            CHECK(compared_bits(counter.download(), std::vector<std::uint32_t>{std::uint32_t(step + 1)}));
        }
        CHECK(expected_losses[0] != expected_losses[1]);
        CHECK(target.intact());
        CHECK(noisy.intact());
        CHECK(losses.intact());
        CHECK(counter.intact());
    }
}

TEST_CASE("what is not finite is found wherever it stands, and what is large is not") {
    constexpr float infinity = std::numeric_limits<float>::infinity(),
                    nan = std::numeric_limits<float>::quiet_NaN(), most = std::numeric_limits<float>::max(),
                    least = std::numeric_limits<float>::denorm_min();
    // One value, an end of a block's share, and many blocks; from any address.
    for (const int count : {1, 5, 2048, 2049, 20000})
        for (const int place : {0, count / 2, count - 1})
            for (const auto& [value, expected] : {std::pair{infinity, 1u},
                                                  {-infinity, 1u},
                                                  {nan, 1u},
                                                  {-nan, 1u},
                                                  {most, 0u},
                                                  {-most, 0u},
                                                  {least, 0u}}) {
                CAPTURE(count);
                CAPTURE(place);
                CAPTURE(value);
                std::vector<float> x(count + 2, nan);  // which is around what is looked at
                std::fill(x.begin() + 1, x.end() - 1, 0.5f);
                x[1 + place] = value;
                DeviceBuffer<float> device(x.size());
                device.upload(x);
                DeviceBuffer<std::uint32_t> found(1);
                found.upload({0});
                cuda::find_not_finite(test_stream(), device.data() + 1, count, found.data());
                CHECK(compared_bits(found.download(), std::vector<std::uint32_t>{expected}));
                std::uint32_t from_cpu = 0;
                cpu::find_not_finite(x.data() + 1, count, &from_cpu);
                CHECK(from_cpu == expected);
                // What was found before stays found.
                found.upload({1});
                cuda::find_not_finite(test_stream(), device.data() + 1, count, found.data());
                CHECK(found.download() == std::vector<std::uint32_t>{1});
                CHECK(found.intact());
            }
}

TEST_CASE("a batch of a wrong shape is refused") {
    const TrainingImages images{nullptr, 1, 8};
    Schedule schedule;
    schedule.steps = 1, schedule.batch = 1;
    DeviceFeatures square(1, 1, 8, 8, 0), oblong(1, 1, 8, 7, 0), larger(1, 1, 9, 9, 0);
    const auto make = [&](DeviceFeatures& target, DeviceFeatures& noisy) {
        cuda::make_batch(test_stream(), 1, images, schedule, target.view(), noisy.view());
    };
    CHECK_THROWS_AS(make(square, oblong), Error);
    CHECK_THROWS_AS(make(oblong, square), Error);
    CHECK_THROWS_AS(make(larger, larger), Error);
}
