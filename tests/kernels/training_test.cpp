// Losses, their gradients and Adam against double; sums have the same bits on every instruction set and for
// any number of threads.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "kernels/base/error.h"
#include "kernels/optimiser/adam.h"
#include "kernels/training/loss.h"
#include "tests/reference/training.h"
#include "tests/support/feature_buffer.h"
#include "tests/support/run_on.h"

using namespace tvmap;

namespace {

struct Case {
    int n, c, h, w, slack;
};
const Case cases[] = {{1, 1, 5, 7, 0}, {3, 2, 17, 9, 1}, {2, 1, 211, 133, 2}};

std::vector<double> random_values(std::int64_t count, int seed) {
    std::mt19937 generator(static_cast<unsigned>(seed));
    std::normal_distribution<float> normal;
    std::vector<double> values(count);
    for (double& v : values) v = normal(generator);
    return values;
}

}  // namespace

TEST_CASE("losses and their gradients") {
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 3})
            for (const auto& [n, c, h, w, slack] : cases)
                for (const LossKind kind : {LossKind::mse, LossKind::log_mse}) {
                    CAPTURE(set);
                    CAPTURE(threads);
                    CAPTURE(h);
                    const RunOn on(threads, set);
                    const std::int64_t size = std::int64_t(n) * c * h * w, image = size / n;
                    std::vector<double> x = random_values(size, 1);
                    const std::vector<double> target = random_values(size, 2), old = random_values(size, 3);
                    for (std::int64_t i = image; i < size; ++i)
                        x[i] = float(x[i] * 3);  // images weigh differently
                    const FeatureBuffer x_buffer(n, c, h, w, 1, slack, x),
                        y_buffer(n, c, h, w, 1, 2 * slack, target);
                    const bool logarithmic = kind == LossKind::log_mse;
                    double mse[4] = {-1, -1, -1, -1};
                    const double loss = cpu::loss_forward(kind, x_buffer.view(), y_buffer.view(), mse);
                    // Two sums of n doubles in different orders.
                    CHECK(loss == doctest::Approx(reference::loss(logarithmic, x, target, n)).epsilon(1e-13));
                    for (int k = 0; k < n; ++k) {
                        const std::vector<double> one(x.begin() + k * image, x.begin() + (k + 1) * image);
                        const std::vector<double> truth(target.begin() + k * image,
                                                        target.begin() + (k + 1) * image);
                        CHECK(mse[k] ==
                              doctest::Approx(reference::loss(false, one, truth, 1)).epsilon(1e-13));
                    }
                    CHECK(mse[n] == -1);
                    for (const Write write : {Write::overwrite, Write::accumulate}) {
                        FeatureBuffer d_x(n, c, h, w, 1, slack, old);
                        cpu::loss_backward(kind, x_buffer.view(), y_buffer.view(), mse, d_x.view(), write);
                        CHECK(d_x.intact());
                        const std::vector<double> g = d_x.get();
                        double worst = 0;
                        for (std::int64_t i = 0; i < size; ++i) {
                            const double scale = 2.0 / double(size) / (logarithmic ? mse[i / image] : 1);
                            const double base = write == Write::accumulate ? old[i] : 0;
                            const double exact = scale * (x[i] - target[i]) + base;
                            worst =
                                std::max(worst, std::abs(g[i] - exact) / (std::abs(exact) + std::abs(base)));
                        }
                        CHECK(worst < 2.5e-7);  // four roundings of 2^-24: factor, difference, product, sum
                        if (write == Write::accumulate) continue;
                        for (const std::int64_t i : {std::int64_t(0), image / 2, size - 1}) {
                            std::vector<double> up = x, down = x;
                            up[i] += 1e-3, down[i] -= 1e-3;
                            const double slope = (reference::loss(logarithmic, up, target, n) -
                                                  reference::loss(logarithmic, down, target, n)) /
                                                 2e-3;
                            // The loss has 16 digits; a slope is 1/size of it, so the quotient keeps at
                            // least 5.
                            CHECK(g[i] == doctest::Approx(slope).epsilon(1e-4));
                        }
                    }
                }
}

TEST_CASE("SURE and its gradient, which goes to both images of a pair") {
    const double epsilon = 0.125;
    for (const std::string& set : cpu::instruction_sets())
        for (const int threads : {1, 3})
            for (const auto& [pairs, c, h, w, slack] : cases) {
                CAPTURE(set);
                CAPTURE(threads);
                CAPTURE(h);
                const RunOn on(threads, set);
                const std::int64_t size = std::int64_t(2) * pairs * c * h * w, image = size / (2 * pairs);
                const std::vector<double> x = random_values(size, 1), old = random_values(size, 3);
                std::vector<double> target = random_values(size, 2);
                for (std::int64_t i = 0; i < size; ++i)  // another σ in every pair, exact in float
                    if (i / image % 2 == 1) target[i] *= std::ldexp(0.25, int(i / image));
                const FeatureBuffer x_buffer(2 * pairs, c, h, w, 1, slack, x),
                    target_buffer(2 * pairs, c, h, w, 1, 2 * slack, target);
                double sure[4] = {-1, -1, -1, -1};
                const double loss = cpu::sure_forward(epsilon, x_buffer.view(), target_buffer.view(), sure);
                // Sums of up to 3e4 doubles of both signs, which cancel a thousandfold at most, in different orders.
                CHECK(loss == doctest::Approx(reference::sure(epsilon, x, target, pairs)).epsilon(1e-11));
                for (int k = 0; k < pairs; ++k) {
                    const auto part = [&](const std::vector<double>& all) {
                        return std::vector<double>(all.begin() + 2 * k * image,
                                                   all.begin() + 2 * (k + 1) * image);
                    };
                    CHECK(sure[k] ==
                          doctest::Approx(reference::sure(epsilon, part(x), part(target), 1)).epsilon(1e-11));
                }
                CHECK(sure[pairs] == -1);
                for (const Write write : {Write::overwrite, Write::accumulate}) {
                    FeatureBuffer d_x(2 * pairs, c, h, w, 1, slack, old);
                    cpu::sure_backward(epsilon, x_buffer.view(), target_buffer.view(), d_x.view(), write);
                    CHECK(d_x.intact());
                    const std::vector<double> g = d_x.get();
                    double worst = 0;
                    for (std::int64_t i = 0; i < size; ++i) {
                        const bool second = i / image % 2 == 1;
                        const double mean = 1 / double(image * pairs),
                                     base = write == Write::accumulate ? old[i] : 0;
                        const double residual = mean * (x[i] - target[second ? i - image : i]);
                        const double divergence = mean / epsilon * target[second ? i : i + image];
                        const double exact = residual + (second ? -divergence : divergence) + base;
                        worst =
                            std::max(worst, std::abs(g[i] - exact) /
                                                (std::abs(residual) + std::abs(divergence) + std::abs(base)));
                    }
                    // Five roundings of 2^-24, of parts that may cancel: factor, difference, product, two sums.
                    CHECK(worst < 3e-7);
                    if (write == Write::accumulate) continue;
                    for (const std::int64_t i : {std::int64_t(0), image / 2, image + image / 2, size - 1}) {
                        std::vector<double> up = x, down = x;
                        up[i] += 1e-3, down[i] -= 1e-3;
                        const double slope = (reference::sure(epsilon, up, target, pairs) -
                                              reference::sure(epsilon, down, target, pairs)) /
                                             2e-3;
                        CHECK(g[i] == doctest::Approx(slope).epsilon(1e-4));  // as for the losses above
                    }
                    FeatureBuffer in_place(2 * pairs, c, h, w, 1, slack, x);
                    cpu::sure_backward(epsilon, in_place.view(), target_buffer.view(), in_place.view(),
                                       write);
                    CHECK(in_place.get() == g);
                }
            }
    FeatureBuffer odd(3, 1, 4, 4, 1), other(2, 1, 4, 4, 1);
    double sure[2];
    CHECK_THROWS_AS(cpu::sure_forward(epsilon, odd.view(), odd.view(), sure), Error);
    CHECK_THROWS_AS(cpu::sure_forward(epsilon, other.view(), odd.view(), sure), Error);
    CHECK_THROWS_AS(cpu::sure_backward(epsilon, other.view(), other.view(), odd.view(), Write::overwrite),
                    Error);
}

TEST_CASE("the logarithm has a floor, and no slope below it") {
    const FeatureBuffer x(1, 1, 3, 3, 1, 0, std::vector<double>(9, 0.5));
    FeatureBuffer d_x(1, 1, 3, 3, 1);
    double mse = -1;
    CHECK(cpu::loss_forward(LossKind::log_mse, x.view(), x.view(), &mse) == doctest::Approx(std::log(1e-12)));
    CHECK(mse == 0);
    cpu::loss_backward(LossKind::log_mse, x.view(), x.view(), &mse, d_x.view(), Write::overwrite);
    CHECK(d_x.get() == std::vector<double>(9, 0.0));
}

TEST_CASE("sums have the same bits on every instruction set and for any number of threads") {
    for (const std::int64_t count : {1, 15, 17, 4097, 65536, 300007}) {
        CAPTURE(count);
        std::vector<float> x, y;
        for (const double v : random_values(count, 5)) x.push_back(float(v));
        for (const double v : random_values(count, 6)) y.push_back(float(v));
        const RunOn best_on_one_thread(1);
        const double expected = cpu::squared_error(x.data(), y.data(), count);
        long double exact = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            const long double e = static_cast<long double>(x[i]) - y[i];
            exact += e * e;
        }
        CHECK(expected ==
              doctest::Approx(double(exact)).epsilon(1e-13));  // roundings of 2^-53 along short chains
        for (const std::string& set : cpu::instruction_sets())
            for (const int threads : {1, 2, 3, 7}) {
                CAPTURE(set);
                CAPTURE(threads);
                const RunOn on(threads, set);
                const double sum = cpu::squared_error(x.data(), y.data(), count);
                CHECK(std::memcmp(&sum, &expected, sizeof sum) == 0);
            }
    }
}

TEST_CASE("Adam follows its formula in double over several steps") {
    for (const std::string& set : cpu::instruction_sets())
        for (const std::int64_t count : {1, 13, 40009}) {
            CAPTURE(set);
            CAPTURE(count);
            const RunOn on(count > 1000 ? 3 : 1, set);
            const Adam adam{.rate = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
            std::vector<float> w(count + 4, 99.0f), m = w, v = w, g(count);
            std::vector<reference::AdamState> exact(count);
            const std::vector<double> start = random_values(count, 7);
            for (std::int64_t i = 0; i < count; ++i) {
                exact[i].w = w[i] = float(start[i]);
                m[i] = v[i] = 0;
            }
            const int steps = 6;
            for (int t = 1; t <= steps; ++t) {
                const std::vector<double> gradient = random_values(count, 7 + t);
                for (std::int64_t i = 0; i < count; ++i) {
                    // Gradients from 1e-9 (where eps counts) to 1, and some that are zero.
                    g[i] = i % 11 == 10 ? 0.0f : float(gradient[i] * std::pow(10.0, -double(i % 10)));
                    exact[i].step(t, g[i], adam.rate, adam.beta1, adam.beta2, adam.eps);
                }
                Adam now = adam;
                now.step = t;
                cpu::adam_step(now, count, w.data(), g.data(), m.data(), v.data());
            }
            double w_error = 0, m_error = 0, v_error = 0;
            for (std::int64_t i = 0; i < count; ++i) {
                w_error = std::max(w_error, std::abs(w[i] - exact[i].w) / (1 + std::abs(exact[i].w)));
                // m may cancel, so its error counts against the largest gradient.
                m_error = std::max(m_error, std::abs(m[i] - exact[i].m) * std::pow(10.0, double(i % 10)));
                v_error = std::max(v_error, std::abs(v[i] - exact[i].v) / (exact[i].v + 1e-30));
            }
            // A step rounds w once (2^-24 of it) and moves it by at most about the rate times a relative
            // 1e-6.
            CHECK(w_error < steps * (6e-8 + 1e-8));
            CHECK(m_error < 4 * 2.4e-7);  // gradients up to 4, m rounded thrice a step
            CHECK(v_error < 1e-6);        // three roundings a step, all terms positive
            for (const auto& array : {w, m, v})
                for (std::int64_t i = count; i < count + 4; ++i) CHECK(array[i] == 99.0f);
        }
}

TEST_CASE("the loss refuses images of different shapes") {
    FeatureBuffer x(1, 1, 4, 4, 1), y(1, 1, 4, 5, 1);
    double mse = 0;
    CHECK_THROWS_AS(cpu::loss_forward(LossKind::mse, x.view(), y.view(), &mse), Error);
    CHECK_THROWS_AS(cpu::loss_backward(LossKind::mse, x.view(), x.view(), &mse, y.view(), Write::overwrite),
                    Error);
}
