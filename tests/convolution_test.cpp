// The convolution against its definition: every layout, slices, batches, odd sizes, every algorithm that this
// machine has; overwriting and adding; memory outside the outputs; determinism; allocations.
#include "kernels/convolution.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/activation_gradient.h"
#include "kernels/error.h"
#include "kernels/threads.h"
#include "kernels/vendor_scope.h"
#include "tests/reference/convolution.h"
#include "tests/run_on.h"

namespace {
std::atomic<long> own_allocations{0};

void* counted(std::size_t bytes, std::size_t alignment) {
    if (!tvmap::in_vendor_call()) ++own_allocations;
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    if (void* memory = std::aligned_alloc(alignment, rounded > 0 ? rounded : alignment)) return memory;
    throw std::bad_alloc();
}
}  // namespace

// Not inlined: the compiler would take free() for the wrong partner of operator new.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return counted(bytes, 16); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, std::size_t(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

namespace {

using namespace tvmap;
using reference::ConvolutionShape;
using reference::Doubles;

constexpr float kSentinel = -123456.0f;
constexpr std::size_t kGuard = 64;

// Floats, 64-byte aligned, between two guards; starts as sentinels throughout.
class Guarded {
  public:
    explicit Guarded(std::size_t count)
        : count_(count), memory_(new (std::align_val_t(64)) float[count + 2 * kGuard]) {
        std::fill(memory_, memory_ + count + 2 * kGuard, kSentinel);
    }
    ~Guarded() { ::operator delete[](memory_, std::align_val_t(64)); }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    float* data() const { return memory_ + kGuard; }
    std::size_t count() const { return count_; }
    bool guards_intact() const {
        const auto is_sentinel = [](float value) { return value == kSentinel; };
        return std::all_of(memory_, data(), is_sentinel) &&
               std::all_of(data() + count_, data() + count_ + kGuard, is_sentinel);
    }
    std::vector<float> copy() const { return {data(), data() + count_}; }

  private:
    std::size_t count_;
    float* memory_;
};

// A tensor in its layout. Values are exchanged as plain NCHW doubles.
struct Tensor {
    explicit Tensor(const Features& f) : shape(f), memory(std::size_t(f.n * f.image_stride)) {}

    template <class Visit>
    void for_each(const Visit& visit) const {
        std::size_t plain = 0;
        for (int n = 0; n < shape.n; ++n)
            for (int c = 0; c < shape.c; ++c)
                for (int i = 0; i < shape.h; ++i)
                    for (int j = 0; j < shape.w; ++j) {
                        const std::int64_t pixel =
                            (std::int64_t(c / shape.block) * shape.h + i) * shape.w + j;
                        visit(plain++,
                              memory.data()[n * shape.image_stride + pixel * shape.block + c % shape.block]);
                    }
    }
    void set(const Doubles& values) {
        for_each([&](std::size_t k, float& to) { to = float(values[k]); });
    }
    Doubles get() const {
        Doubles values(std::size_t(shape.size()));
        for_each([&](std::size_t k, float from) { values[k] = double(from); });
        return values;
    }
    // Nothing outside the images was written.
    bool intact() const {
        for (int n = 0; n < shape.n; ++n)
            for (std::int64_t k = shape.image_size(); k < shape.image_stride; ++k)
                if (memory.data()[n * shape.image_stride + k] != kSentinel) return false;
        return memory.guards_intact();
    }

    Features shape;
    Guarded memory;
};

Doubles random_values(std::size_t count, unsigned seed, double scale = 1.0) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Doubles values(count);
    for (double& value : values) value = double(uniform(generator) * float(scale));
    return values;
}

double relative_error(const Doubles& a, const Doubles& b) {
    double difference = 0, norm = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
        difference += (a[k] - b[k]) * (a[k] - b[k]);
        norm += b[k] * b[k];
    }
    return std::sqrt(difference / norm);
}

struct Case {
    int n, inputs, outputs, h, w, kernel;
    float slope;
    bool slice_x = false, slice_y = false;
    bool planar_y = false;  // whatever the number of channels
};

ConvolutionProblem problem_of(const Case& c) {
    ConvolutionProblem problem;
    problem.x = dense_features(c.n, c.inputs, c.h, c.w, cpu::channel_block(c.inputs));
    problem.y = dense_features(c.n, c.outputs, c.h, c.w, c.planar_y ? 1 : cpu::channel_block(c.outputs));
    // A slice's stride is that of a wider tensor, a multiple of 16 floats as its data is aligned.
    if (c.slice_x) problem.x.image_stride = (2 * problem.x.image_size() + 15) / 16 * 16;
    if (c.slice_y) problem.y.image_stride = (2 * problem.y.image_size() + 15) / 16 * 16;
    problem.kernel = c.kernel;
    problem.slope = c.slope;
    return problem;
}

struct Errors {
    double y = 0, d_x = 0, d_weight = 0, d_bias = 0;
    double largest() const { return std::max({y, d_x, d_weight, d_bias}); }
};

// Runs the convolution forward and backward, checks what must hold exactly, and returns its errors.
Errors run(const Case& c, Convolution& convolution, Write write) {
    const ConvolutionProblem problem = problem_of(c);
    const ConvolutionShape shape{c.n, c.inputs, c.outputs, c.h, c.w, c.kernel};
    const std::size_t weights = std::size_t(c.inputs) * c.outputs * c.kernel * c.kernel;
    const Doubles x = random_values(problem.x.size(), 1), bias = random_values(c.outputs, 3),
                  weight = random_values(weights, 2, 1.0 / std::sqrt(c.inputs * c.kernel * c.kernel)),
                  d_y = random_values(problem.y.size(), 4), old_d_x = random_values(problem.x.size(), 5),
                  old_d_weight = random_values(weights, 6), old_d_bias = random_values(c.outputs, 7);

    Tensor tx(problem.x), ty(problem.y), td_y(problem.y), td_x(problem.x);
    const auto vector_of = [](int count) { return Tensor(dense_features(1, 1, 1, count, 1)); };
    Tensor tweight = vector_of(int(weights)), tbias = vector_of(c.outputs);
    Tensor td_weight = vector_of(int(weights)), td_bias = vector_of(c.outputs);
    tx.set(x), tweight.set(weight), tbias.set(bias), td_y.set(d_y);
    if (write == Write::accumulate) td_x.set(old_d_x), td_weight.set(old_d_weight), td_bias.set(old_d_bias);
    Guarded forward_workspace(convolution.forward_workspace_bytes() / sizeof(float));
    Guarded backward_workspace(convolution.backward_workspace_bytes() / sizeof(float));

    const long before_forward = own_allocations;
    convolution.forward(tx.memory.data(), tweight.memory.data(), tbias.memory.data(), ty.memory.data(),
                        forward_workspace.data());
    CHECK(own_allocations == before_forward);
    Errors errors;
    errors.y = relative_error(ty.get(), reference::convolution_forward(shape, x, weight, bias, c.slope));
    const Doubles y = ty.get();

    const long before_backward = own_allocations;
    convolution.backward(tx.memory.data(), tweight.memory.data(), ty.memory.data(), td_y.memory.data(),
                         td_x.memory.data(), write, td_weight.memory.data(), td_bias.memory.data(), write,
                         backward_workspace.data());
    CHECK(own_allocations == before_backward);
    reference::ConvolutionGradients expected =
        reference::convolution_backward(shape, x, weight, y, d_y, c.slope);
    if (write == Write::accumulate) {
        const auto add = [](Doubles& to, const Doubles& from) {
            for (std::size_t k = 0; k < to.size(); ++k) to[k] += from[k];
        };
        add(expected.d_x, old_d_x), add(expected.d_weight, old_d_weight), add(expected.d_bias, old_d_bias);
    }
    errors.d_x = relative_error(td_x.get(), expected.d_x);
    errors.d_weight = relative_error(td_weight.get(), expected.d_weight);
    errors.d_bias = relative_error(td_bias.get(), expected.d_bias);

    for (const Tensor* t : {&tx, &ty, &td_y, &td_x, &tweight, &tbias, &td_weight, &td_bias})
        CHECK(t->intact());
    CHECK(forward_workspace.guards_intact());
    CHECK(backward_workspace.guards_intact());
    CHECK(tx.get() == x);
    CHECK(ty.get() == y);
    CHECK(tweight.get() == weight);
    CHECK(tbias.get() == bias);
    return errors;
}

// Single precision rounds at 6e-8; sums of some hundred terms stay below 1e-6 (5e-7 seen). Winograd's
// transforms cost a digit (9e-7 seen at these sizes), more where channels abound.
constexpr double kDirect = 1e-6, kWinograd = 5e-6;
double tolerance(const std::string& algorithms) {
    return algorithms.find("wino") == std::string::npos ? kDirect : kWinograd;
}

const Case kCases[] = {
    {1, 1, 32, 13, 17, 3, 0.01f},                // the first layer
    {2, 32, 32, 12, 20, 3, 0.01f, false, true},  // result into a slice
    {3, 16, 48, 9, 7, 3, 0.01f, true, false},    // odd sizes, from a slice
    {2, 32, 16, 11, 5, 3, 0.2f, true, true},     // both
    {2, 64, 32, 10, 6, 1, 1.0f},                 // 1×1, no activation
    {2, 32, 64, 5, 9, 1, 0.01f, false, true},
    {2, 32, 2, 13, 9, 1, 1.0f},    // the last layer
    {1, 48, 1, 31, 37, 1, 0.01f},  // more pixels than one piece of a sum
    {3, 24, 3, 7, 5, 1, 0.1f, true, true},
    {1, 16, 4, 3, 3, 1, 1.0f},
    {1, 1, 5, 11, 8, 3, 0.01f},  // planar throughout
    {2, 5, 7, 6, 9, 3, 0.01f, false, true},
    {2, 5, 2, 7, 5, 1, 1.0f},
    {2, 24, 24, 6, 8, 3, 0.01f},  // blocks of 8
    {1, 24, 48, 8, 6, 3, 0.01f},  // blocks of 8 into blocks of 16
    {2, 48, 24, 6, 5, 1, 1.0f, false, true},
    {2, 32, 3, 8, 8, 3, 0.01f, false, false},  // blocked into planar, 3×3
    {1, 16, 16, 7, 9, 3, 0.01f, false, false, true},
    {1, 16, 16, 1, 19, 3, 0.01f},  // one row, one column, one pixel
    {1, 16, 16, 19, 1, 3, 0.01f},
    {2, 16, 16, 1, 1, 3, 0.01f},
};

// y, d_x, d_weight, d_bias one after the other, as floats.
std::vector<float> results_of(const Case& c, Convolution& convolution) {
    const ConvolutionProblem problem = problem_of(c);
    const std::size_t weights = std::size_t(c.inputs) * c.outputs * c.kernel * c.kernel;
    Tensor x(problem.x), y(problem.y), d_y(problem.y), d_x(problem.x);
    Guarded weight(weights), bias(c.outputs), d_weight(weights), d_bias(c.outputs);
    const auto fill = [](const Guarded& to, unsigned seed) {
        const Doubles values = random_values(to.count(), seed);
        for (std::size_t k = 0; k < to.count(); ++k) to.data()[k] = float(values[k]);
    };
    fill(x.memory, 1), fill(weight, 2), fill(bias, 3), fill(d_y.memory, 4);
    Guarded workspace(
        std::max(convolution.forward_workspace_bytes(), convolution.backward_workspace_bytes()) /
        sizeof(float));
    convolution.forward(x.memory.data(), weight.data(), bias.data(), y.memory.data(), workspace.data());
    convolution.backward(x.memory.data(), weight.data(), y.memory.data(), d_y.memory.data(),
                         d_x.memory.data(), Write::overwrite, d_weight.data(), d_bias.data(),
                         Write::overwrite, workspace.data());
    std::vector<float> all;
    for (const Guarded* part : {&y.memory, &d_x.memory, &d_weight, &d_bias})
        all.insert(all.end(), part->data(), part->data() + part->count());
    return all;
}

std::string describe(const Case& c) { return problem_of(c).key(); }

}  // namespace

TEST_CASE("reference: its gradients are the finite differences of its forward") {
    const ConvolutionShape shape{2, 2, 3, 3, 4, 3};
    const double slope = 0.2, step = 1e-6;
    Doubles x = random_values(48, 11), weight = random_values(54, 12), bias = random_values(3, 13);
    const Doubles g = random_values(72, 14);
    const Doubles y = reference::convolution_forward(shape, x, weight, bias, slope);
    // A step moves a result by at most `step`: with the kink further away, no result crosses it.
    for (const double value : y) REQUIRE(std::abs(value) > 1e-5);
    const reference::ConvolutionGradients gradients =
        reference::convolution_backward(shape, x, weight, y, g, slope);
    const auto check = [&](Doubles& values, const Doubles& gradient) {
        for (std::size_t k = 0; k < values.size(); ++k) {
            const double kept = values[k];
            double difference = 0;
            for (const double sign : {1.0, -1.0}) {
                values[k] = kept + sign * step;
                const Doubles moved = reference::convolution_forward(shape, x, weight, bias, slope);
                for (std::size_t o = 0; o < moved.size(); ++o) difference += sign * g[o] * moved[o];
            }
            values[k] = kept;
            // Exact but for rounding (the function is linear between kinks): 1e-16·72 terms / 2e-6.
            CHECK(difference / (2 * step) == doctest::Approx(gradient[k]).epsilon(1e-7).scale(1.0));
        }
    };
    check(x, gradients.d_x);
    check(weight, gradients.d_weight);
    check(bias, gradients.d_bias);
}

TEST_CASE("convolution: value and gradients, overwritten and added") {
    for (const Case& c : kCases) {
        CAPTURE(describe(c));
        const auto convolution = cpu::make_convolution(problem_of(c), "");
        CAPTURE(convolution->algorithms());
        for (const Write write : {Write::overwrite, Write::accumulate}) {
            const Errors errors = run(c, *convolution, write);
            const double bound = tolerance(convolution->algorithms());
            CHECK(errors.y < bound);
            CHECK(errors.d_x < bound);
            CHECK(errors.d_weight < bound);
            CHECK(errors.d_bias < kDirect);
        }
    }
}

TEST_CASE("convolution: every algorithm of this machine") {
    const Case cases[] = {{2, 32, 48, 10, 7, 3, 0.01f},
                          {2, 32, 16, 6, 9, 3, 0.01f, false, true},
                          {2, 32, 16, 9, 7, 1, 0.01f},
                          {2, 5, 6, 9, 7, 3, 0.01f}};
    std::set<std::string> seen;
    double winograd = 0;
    for (const Case& c : cases) {
        const ConvolutionProblem problem = problem_of(c);
        const std::string chosen = cpu::make_convolution(problem, "")->algorithms();
        for (const char* implementation :
             {"jit:avx512_core", "jit_wino_4x3:avx512_core", "brgconv:avx512_core", "jit_1x1:avx512_core",
              "brgconv_1x1:avx512_core", "jit:avx2", "jit_1x1:avx2", "brgconv:avx2", "jit:sse41",
              "x64:gemm:jit", "ref:any"})
            for (const char* way : {"", "+images", "+staged", "+images+staged"}) {
                // One direction at a time, the others as chosen.
                for (const char* direction : {"forward", "weights", "data"}) {
                    const std::string key = std::string(direction) + "=";
                    std::string algorithms = chosen;
                    const std::size_t from = algorithms.find(key) + key.size();
                    const std::size_t to = std::min(algorithms.find(',', from), algorithms.size());
                    algorithms.replace(from, to - from, std::string(implementation) + way);
                    std::unique_ptr<Convolution> convolution;
                    try {
                        convolution = cpu::make_convolution(problem, algorithms);
                    } catch (const Error&) {
                        continue;  // not on this machine, or not for this layout
                    }
                    CAPTURE(describe(c));
                    CAPTURE(algorithms);
                    CHECK(convolution->algorithms() == algorithms);
                    for (const Write write : {Write::overwrite, Write::accumulate}) {
                        const double error = run(c, *convolution, write).largest();
                        CHECK(error < tolerance(algorithms));
                        if (algorithms.find("wino") != std::string::npos)
                            winograd = std::max(winograd, error);
                    }
                    seen.insert(std::string(direction) + "=" + implementation);
                }
            }
    }
    std::string all;
    for (const std::string& name : seen) all += " " + name;
    MESSAGE("compared:" << all << "; Winograd's largest error " << winograd);
    CHECK(seen.size() >= 6);  // in each direction the plain loops and one more
}

TEST_CASE("convolution: Winograd's error over many channels") {
    const Case c{1, 128, 64, 24, 24, 3, 0.01f};
    std::unique_ptr<Convolution> convolution;
    try {
        const char* name = "jit_wino_4x3:avx512_core";
        convolution = cpu::make_convolution(
            problem_of(c), std::string("forward=") + name + ",weights=" + name + ",data=" + name);
    } catch (const Error&) {
        MESSAGE("SKIPPED: no Winograd on this machine");
        return;
    }
    const Errors errors = run(c, *convolution, Write::overwrite);
    MESSAGE("y " << errors.y << ", d_x " << errors.d_x << ", d_weight " << errors.d_weight);
    CHECK(errors.largest() < kWinograd);
}

TEST_CASE("convolution: the same algorithms give the same bits") {
    for (const Case& c : {Case{2, 32, 32, 24, 20, 3, 0.01f}, Case{2, 32, 2, 40, 40, 1, 1.0f}}) {
        CAPTURE(describe(c));
        const auto first = cpu::make_convolution(problem_of(c), "");
        const auto second = cpu::make_convolution(problem_of(c), first->algorithms());
        CHECK(second->algorithms() == first->algorithms());
        const std::vector<float> bits = results_of(c, *first);
        for (Convolution* again : {second.get(), first.get()})
            CHECK(std::memcmp(bits.data(), results_of(c, *again).data(), bits.size() * sizeof(float)) == 0);
    }
}

TEST_CASE("activation gradient: the same bits on any instruction set and number of threads") {
    for (const int block : {1, 8, 16}) {
        // More than one piece of a sum, and odd sizes that fill no vector.
        const Features shape = dense_features(2, 16, 61, 67, block);
        const std::size_t count = std::size_t(shape.size());
        const Doubles plain_y = random_values(count, 1), plain_d_y = random_values(count, 2);
        Tensor y(shape), d_y(shape);
        y.set(plain_y), d_y.set(plain_d_y);
        Doubles expected_d_a = plain_d_y, expected_d_bias(16);
        for (std::size_t k = 0; k < count; ++k) {
            if (plain_y[k] <= 0) expected_d_a[k] = double(0.1f * float(expected_d_a[k]));
            expected_d_bias[k / (61 * 67) % 16] += expected_d_a[k];
        }
        std::vector<float> first;
        for (const std::string& instruction_set : cpu::instruction_sets())
            for (const int threads : {1, 2, 3}) {
                CAPTURE(instruction_set);
                const RunOn on(threads, instruction_set);
                Tensor d_a(shape);
                Guarded d_bias(16);
                Guarded workspace(cpu::activation_gradient_workspace_bytes(shape) / sizeof(float));
                cpu::activation_gradient({y.memory.data(), shape}, {d_y.memory.data(), shape},
                                         {d_a.memory.data(), shape}, 0.1f, d_bias.data(), Write::overwrite,
                                         workspace.data());
                CHECK(workspace.guards_intact());
                CHECK(d_bias.guards_intact());
                CHECK(d_a.intact());
                CHECK(d_a.get() == expected_d_a);
                const std::vector<float> got = d_bias.copy();
                CHECK(relative_error({got.begin(), got.end()}, expected_d_bias) < kDirect);
                if (first.empty()) first = got;
                CHECK(std::memcmp(got.data(), first.data(), got.size() * sizeof(float)) == 0);
            }
    }
}

TEST_CASE("pointwise: every instruction set, and the same bits for any number of threads") {
    const Case c{2, 32, 2, 37, 41, 1, 0.1f};
    const ConvolutionProblem problem = problem_of(c);
    const auto convolution = cpu::make_convolution(problem, "");
    if (problem.x.block == 1) return;  // a machine without vectors leaves it to oneDNN
    REQUIRE(convolution->algorithms() == "pointwise");
    for (const std::string& instruction_set : cpu::instruction_sets()) {
        CAPTURE(instruction_set);
        std::vector<float> first;
        for (const int threads : {1, 2, 3}) {
            const RunOn on(threads, instruction_set);
            CHECK(run(c, *convolution, Write::accumulate).largest() < kDirect);
            const std::vector<float> bits = results_of(c, *convolution);
            if (first.empty()) first = bits;
            CHECK(std::memcmp(bits.data(), first.data(), bits.size() * sizeof(float)) == 0);
        }
    }
}

TEST_CASE("convolution: inference alone, and without d_x") {
    const Case c{1, 16, 16, 10, 12, 3, 0.01f};
    ConvolutionProblem problem = problem_of(c);
    problem.training = false;
    const auto inference = cpu::make_convolution(problem, "");
    CHECK(inference->backward_workspace_bytes() == 0);
    CHECK(inference->algorithms().find("weights") == std::string::npos);

    problem.training = true;
    problem.needs_d_x = false;
    const auto first_layer = cpu::make_convolution(problem, "");
    CHECK(first_layer->algorithms().find("data") == std::string::npos);
    const std::size_t weights = std::size_t(16) * 16 * 9;
    Tensor x(problem.x), y(problem.y), d_y(problem.y);
    Guarded d_weight(weights), d_bias(16), weight(weights);
    const Doubles dx = random_values(problem.x.size(), 1), dg = random_values(problem.y.size(), 2);
    x.set(dx), d_y.set(dg), y.set(dg);
    Guarded workspace(first_layer->backward_workspace_bytes() / sizeof(float));
    first_layer->backward(x.memory.data(), weight.data(), y.memory.data(), d_y.memory.data(), nullptr,
                          Write::overwrite, d_weight.data(), d_bias.data(), Write::overwrite,
                          workspace.data());
    const auto expected = reference::convolution_backward({1, 16, 16, 10, 12, 3}, dx, Doubles(weights), dg,
                                                          dg, double(c.slope));
    const std::vector<float> got = d_weight.copy();
    CHECK(relative_error({got.begin(), got.end()}, expected.d_weight) < kWinograd);
    CHECK_THROWS_AS(first_layer->backward(x.memory.data(), weight.data(), y.memory.data(), d_y.memory.data(),
                                          x.memory.data(), Write::overwrite, d_weight.data(), d_bias.data(),
                                          Write::overwrite, workspace.data()),
                    Error);
}

TEST_CASE("convolution: what cannot work is refused") {
    const ConvolutionProblem good = problem_of({1, 16, 16, 6, 6, 3, 0.01f});
    const auto refused = [](const ConvolutionProblem& problem, const std::string& algorithms = "") {
        CHECK_THROWS_AS(cpu::make_convolution(problem, algorithms), Error);
    };
    refused(good, "nonsense");
    refused(good, "pointwise");
    refused(good, "forward=jit:avx999,weights=ref:any,data=ref:any");
    refused(good, "forward=ref:any+more,weights=ref:any,data=ref:any");
    refused(good, "forward=ref:any");
    ConvolutionProblem bad = good;
    bad.kernel = 5;
    refused(bad);
    bad = good;
    bad.y.h = 7;
    refused(bad);
    bad = good;
    bad.slope = 0;
    refused(bad);
    // A batch in slices cannot be one primitive's tensor.
    refused(problem_of({2, 16, 16, 6, 6, 3, 0.01f, true, false}),
            "forward=ref:any,weights=ref:any,data=ref:any");

    // oneDNN divides the work when it plans.
    const auto planned = cpu::make_convolution(good, "");
    Tensor x(good.x), y(good.y);
    Guarded weight(16 * 16 * 9), bias(16), workspace(planned->forward_workspace_bytes() / sizeof(float));
    const RunOn on(thread_count() + 1);
    CHECK_THROWS_AS(
        planned->forward(x.memory.data(), weight.data(), bias.data(), y.memory.data(), workspace.data()),
        Error);
}

TEST_CASE("convolution: channel blocks and keys") {
    CHECK(cpu::channel_block(1) == 1);
    CHECK(cpu::channel_block(7) == 1);
    const int widest = cpu::channel_block(64);
    CHECK((widest == 1 || widest == 8 || widest == 16));
    CHECK(cpu::channel_block(24) == std::min(widest, 8));
    const Case c{2, 16, 32, 6, 5, 3, 0.01f};
    std::set<std::string> keys{problem_of(c).key()};
    const auto differs = [&](const Case& other) { return keys.insert(problem_of(other).key()).second; };
    CHECK(differs({1, 16, 32, 6, 5, 3, 0.01f}));
    CHECK(differs({2, 32, 32, 6, 5, 3, 0.01f}));
    CHECK(differs({2, 16, 16, 6, 5, 3, 0.01f}));
    CHECK(differs({2, 16, 32, 5, 6, 3, 0.01f}));
    CHECK(differs({2, 16, 32, 6, 5, 1, 0.01f}));
    CHECK(differs({2, 16, 32, 6, 5, 3, 1.0f}));
    CHECK(differs({2, 16, 32, 6, 5, 3, 0.01f, true, false}));
    CHECK(differs({2, 16, 32, 6, 5, 3, 0.01f, false, true}));
    CHECK_FALSE(differs(c));
}
