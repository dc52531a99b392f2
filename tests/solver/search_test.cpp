// The scalar search: right, the same for any batch, stopped when asked.
#include "engine/solver/search.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>

#include "engine/config/equally_spaced.h"
#include "kernels/base/error.h"
#include "tests/solver/solver_case.h"
#include "tests/support/run_on.h"

using namespace tvmap;
using solver_case::backend;
using solver_case::images;
using solver_case::steps;

TEST_CASE("the scalar search: the same for any batch, and right") {
    const int n = 3, h = 12, w = 14;
    const ImageStack z = images(n, h, w), clean = images(n, h, w, 0.4);
    std::vector<float> lambdas;
    for (double value : equally_spaced(0, 0.8, 9)) lambdas.push_back(float(value));
    CHECK(lambdas.front() == 0.0f);
    CHECK(lambdas.back() == 0.8f);
    CHECK(equally_spaced(0.3, 0.8, 1) == std::vector<double>{0.3});
    const auto search = [&](const std::vector<float>& values, const std::function<bool(int)>& proceed,
                            std::size_t batch_bytes = 0) {
        const SearchedImages images{z.values.data(), clean.values.data(), n, h, w};
        return scalar_search(backend(), steps(64), images, values,
                             {.repeat = 2, .proceed = proceed, .batch_bytes = batch_bytes});
    };
    const std::vector<ScalarCurve> curves = search(lambdas, {});
    REQUIRE(curves.size() == n);
    for (int k = 0; k < n; ++k) {
        REQUIRE(curves[k].quality.size() == 9);
        const ImageStack one{1, h, w, {z.values.begin() + k * h * w, z.values.begin() + (k + 1) * h * w}};
        for (std::size_t i = 0; i < lambdas.size(); ++i) {
            const Solution alone = solve(backend(), steps(64), one, {MapKind::scalar, {lambdas[i]}}, {});
            double mse = 0;
            for (int p = 0; p < h * w; ++p)
                mse += std::pow(double(alone.x[p]) - clean.values[k * h * w + p], 2) / (h * w);
            // The same sum in double in another order.
            CHECK(curves[k].quality[i].psnr == doctest::Approx(-10 * std::log10(mse)).epsilon(1e-10));
        }
    }
    CHECK(curves[0].quality[4].psnr != curves[1].quality[4].psnr);

    // So many solves at once, and what is told after each call: some values of one image, or whole images.
    const std::pair<int, std::vector<int>> batches[] = {
        {4, {4, 8, 9, 13, 17, 18, 22, 26, 27}}, {9, {9, 18, 27}}, {20, {18, 27}}, {27, {27}}};
    for (const auto& batch : batches) {
        const int solves = batch.first;
        CAPTURE(solves);
        std::vector<int> told;
        const auto pieces = search(
            lambdas, [&](int done) { return told.push_back(done), true; }, solves * h * w * sizeof(float));
        CHECK(told == batch.second);
        for (int k = 0; k < n; ++k)
            for (std::size_t i = 0; i < lambdas.size(); ++i) {
                CHECK(curves[k].quality[i].psnr == pieces[k].quality[i].psnr);
                CHECK(curves[k].quality[i].ssim == pieces[k].quality[i].ssim);
            }
    }
    const auto stop = [](int) { return false; };
    CHECK_THROWS_AS(search(lambdas, stop, 9 * h * w * sizeof(float)), Interrupted);
    CHECK(search(lambdas, stop).size() == std::size_t(n));  // done by then
    CHECK_THROWS_AS(search({-0.1f}, {}), Error);
    CHECK_THROWS_AS(search({}, {}), Error);
}

TEST_CASE("images at once: all threads are busy, and memory is bounded") {
    const SolverConfig solver = steps(256);
    const RunOn one_thread(1);
    CHECK(images_at_once(backend(), solver, 256, 256, 81) == 1);
    CHECK(images_at_once(backend(), solver, 256, 256, 1) == 8);
    CHECK(images_at_once(backend(), solver, 8192, 8192, 1) == 1);
    const RunOn many_threads(64);
    CHECK(images_at_once(backend(), solver, 256, 256, 81) == 6);  // of 512 results in 128 MiB
}
