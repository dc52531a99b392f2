// The CUDA engine's whole training step beside the CPU's: arena, order of operations, adjoint, optimiser,
// recording.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/graph/algorithms.h"
#include "engine/graph/parameters.h"
#include "engine/graph/plan.h"
#include "engine/model/unet.h"
#include "kernels/base/error.h"
#include "kernels/cuda_loader.h"
#include "kernels/training/random.h"
#include "tests/support/device_buffer.h"

using namespace tvmap;

extern "C" const CudaLibrary* tvmap_cuda_library();

namespace {

constexpr int batch = 2, size = 16;
constexpr char experiment[] = R"(
seed: 7
data: {train: a, val: b, test: c, size: 16}
network: {channels: [8, 16, 16], outputs: 2}
solver: {iterations: 10}
optimiser: {rate: 1e-3}
train: {batch: 2}
)";

std::unique_ptr<Backend> cuda_backend(const std::string& precision = "fp32") {
    return tvmap_cuda_library()->open(precision);
}

/// Smooth squares with noise on them, in [0, 1] or so; a pure function of the image's number.
struct Picture {
    std::vector<float> clean, noisy;
    explicit Picture(int number) : clean(size * size), noisy(size * size) {
        for (int i = 0; i < size; ++i)
            for (int j = 0; j < size; ++j)
                clean[std::size_t(i * size + j)] = ((i / 5 + j / 4 + number) % 2 ? 0.35f : 0.6f) +
                                                   0.1f * std::sin(0.3f * float(i + number * j));
        cpu::add_noise(3, 1, std::uint32_t(number), size * size, clean.data(), 0.08f, noisy.data());
    }
};

/// A small network in training on one backend, from the same weights everywhere.
class Training {
  public:
    Training(std::unique_ptr<Backend> on, const std::string& overrides)
        : backend(std::move(on)), config(parse_config(experiment, "experiment", split(overrides))) {
        RecordedModel model = record_training_model(*backend, config, batch, size, size);
        noisy_ = model.noisy;
        target_ = model.target;
        parameters = std::make_unique<Parameters>(*backend, model.graph.parameters(), true);
        parameters->initialise(config.seed);
        Algorithms algorithms;
        plan = std::make_unique<Plan>(std::move(model.graph), *backend, algorithms, true);
        arena_ = std::make_unique<Arena>(*backend, plan->arena_bytes());
        plan->bind(*arena_, *parameters);
    }

    void feed(int step) {
        for (int n = 0; n < batch; ++n) {
            const Picture picture(step * batch + n);
            const std::size_t bytes = sizeof(float) * size * size;
            backend->upload(plan->view(noisy_).image(n), picture.noisy.data(), bytes);
            backend->upload(plan->view(target_).image(n), picture.clean.data(), bytes);
        }
    }
    void gradients() {
        plan->forward();
        plan->backward();
    }
    double step(int number) {
        feed(number);
        gradients();
        parameters->adam_step({config.optimiser.rate, 0.9, 0.999, 1e-8, number + 1});
        return plan->loss();
    }

    std::unique_ptr<Backend> backend;
    Config config;
    std::unique_ptr<Parameters> parameters;
    std::unique_ptr<Plan> plan;

  private:
    static std::vector<std::string> split(const std::string& overrides) {
        std::vector<std::string> list;
        for (std::size_t at = 0; at < overrides.size();) {
            const std::size_t end = std::min(overrides.find(' ', at), overrides.size());
            list.push_back(overrides.substr(at, end - at));
            at = end + 1;
        }
        return list;
    }

    Value noisy_, target_;
    std::unique_ptr<Arena> arena_;
};

}  // namespace

TEST_CASE("ten training steps on CUDA follow the CPU's") {
    for (const char* variant : {"", "map.kind=separate train.loss=log_mse", "solver.boundary=neumann"}) {
        CAPTURE(variant);
        Training expected(make_backend("cpu"), variant), actual(cuda_backend(), variant);

        expected.feed(0), actual.feed(0);
        expected.gradients(), actual.gradients();
        const std::vector<float> cpu_gradient = expected.parameters->host_gradients();
        // The convolutions add up to 16·9 products in another order; the solver's clip decides the same but
        // for a few pixels where |v| = Λ to rounding, each of which moves the gradient by its share of
        // 1/2048.
        CHECK(relative_difference(actual.parameters->host_gradients(), cpu_gradient) < 1e-3);

        double worst = 0;
        for (int step = 0; step < 10; ++step) {
            const double reference = expected.step(step), loss = actual.step(step);
            REQUIRE(std::isfinite(loss));
            worst = std::max(worst, std::abs(loss / reference - 1));
        }
        CHECK(worst < 1e-4);
        // Adam divides by the gradient's own size: where that is rounding alone, so is the step's sign.
        CHECK(relative_difference(actual.parameters->host_weights(), expected.parameters->host_weights()) <
              1e-3);
    }
}

TEST_CASE("a recorded step, fed by a schedule, is the step itself, bit for bit") {
    constexpr int steps = 4;
    Training direct(cuda_backend(), ""), replayed(cuda_backend(), "");
    Backend& backend = *replayed.backend;

    const auto device = [&](const void* host, std::size_t bytes) {
        void* memory = backend.allocate(bytes);
        if (host) backend.upload(memory, host, bytes);
        return memory;
    };
    std::vector<AdamStep> adam;
    for (int step = 0; step < steps; ++step)
        adam.push_back(AdamStep(Adam{direct.config.optimiser.rate, 0.9, 0.999, 1e-8, step + 1}));
    Schedule schedule;
    schedule.steps = steps;
    schedule.batch = batch;
    schedule.counter = static_cast<std::uint32_t*>(device(nullptr, 64));
    schedule.losses = static_cast<double*>(device(nullptr, sizeof(double) * steps));
    schedule.adam = static_cast<const AdamStep*>(device(adam.data(), sizeof(AdamStep) * steps));

    const std::vector<float> before = replayed.parameters->host_weights();
    const auto recording = backend.record([&] {
        replayed.gradients();
        replayed.parameters->adam_step(schedule);
        backend.finish_step(schedule, replayed.plan->loss_in_memory());
    });
    CHECK(replayed.parameters->host_weights() == before);  // recorded, not carried out

    std::vector<double> losses;
    for (int step = 0; step < steps; ++step) {
        losses.push_back(direct.step(step));
        replayed.feed(step);
        recording->replay();
    }
    std::vector<double> noted(steps);
    backend.download(noted.data(), schedule.losses, sizeof(double) * steps);
    CHECK(noted == losses);
    CHECK(compared_bits(replayed.parameters->host_weights(), direct.parameters->host_weights()));
    backend.release(schedule.counter, 64);
    backend.release(schedule.losses, sizeof(double) * steps);
    backend.release(const_cast<AdamStep*>(schedule.adam), sizeof(AdamStep) * steps);
}

TEST_CASE("precisions: TF32 and bf16 stay near fp32, and are not fp32") {
    Training exact(cuda_backend(), "");
    const double reference = exact.step(0);
    const std::vector<float> gradient = exact.parameters->host_gradients();
    for (const char* precision : {"tf32", "bf16"}) {
        CAPTURE(precision);
        Training rounded(cuda_backend(precision), "");
        const double loss = rounded.step(0);
        CHECK(loss ==
              doctest::Approx(reference).epsilon(2e-2));  // products of 8 bits, averaged over the network
        const double difference = relative_difference(rounded.parameters->host_gradients(), gradient);
        CHECK(difference > 0);
        CHECK(difference < 0.2);
    }
    CHECK_THROWS_AS(cuda_backend("fp64"), Error);
}

TEST_CASE("the backend's memory starts at zero, takes and gives back") {
    const auto backend = cuda_backend();
    CHECK(backend->name() == "cuda");
    CHECK(backend->separate_memory());
    CHECK(backend->memory_in_use().has_value());
    const std::size_t bytes = 4096;
    void* memory = backend->allocate(bytes);
    std::vector<unsigned char> host(bytes, 1), sent(bytes);
    backend->download(host.data(), memory, bytes);
    CHECK(host == std::vector<unsigned char>(bytes, 0));
    for (std::size_t i = 0; i < bytes; ++i) sent[i] = static_cast<unsigned char>(i * 7);
    backend->upload(memory, sent.data(), bytes);
    backend->download(host.data(), memory, bytes);
    CHECK(host == sent);
    backend->release(memory, bytes);
}
