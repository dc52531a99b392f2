// Image quality on CUDA: against double references, and beside the CPU.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/training/metrics.h"
#include "tests/reference/metrics.h"
#include "tests/support/device_buffer.h"
#include "tests/support/normal_values.h"

using namespace tvmap;

namespace {

/// cuda::image_quality with a workspace of just what it asks for.
std::vector<ImageQuality> device_quality(const std::vector<float>& images, const std::vector<float>& truths,
                                         int count, int images_per_truth, int height, int width) {
    DeviceBuffer<float> x(images.size()), y(truths.size());
    x.upload(images), y.upload(truths);
    DeviceBuffer<ImageQuality> quality(count);
    const ComparedImages compared{x.data(), y.data(), count, images_per_truth, height, width};
    DeviceBuffer<double> workspace(cuda::image_quality_workspace_bytes(compared) / sizeof(double));
    cuda::image_quality(test_stream(), compared, quality.data(), workspace.data());
    const std::vector<ImageQuality> values = quality.download();
    CHECK(quality.intact());
    CHECK(workspace.intact());
    return values;
}

}  // namespace

TEST_CASE("each image is measured against its own truth") {
    // Within a tile of 16×32 pixels, of just its size, with windows that reach into the next, several, and
    // more than a warp adds up at once.
    for (const auto& [height, width] :
         {std::pair{11, 11}, {16, 32}, {17, 33}, {26, 43}, {50, 79}, {12, 1040}}) {
        CAPTURE(height);
        CAPTURE(width);
        const int pixels = height * width, count = 3, images_per_truth = 2;
        std::vector<float> truths = narrow(random_values(2 * pixels, height)), images;
        for (int i = 0; i < 2 * pixels; ++i)
            truths[i] = i % width < width / 2 ? 0.9f : 0.1f + 0.1f * truths[i];
        const std::vector<double> noise = random_values(count * pixels, width);
        for (int i = 0; i < count; ++i)
            for (int k = 0; k < pixels; ++k)  // flat at the top, beyond [0, 1] below
                images.push_back(truths[i / images_per_truth * pixels + k] +
                                 (k < pixels / 3 ? 0.0f : 0.5f * float(noise[i * pixels + k])));
        const std::vector<ImageQuality> quality =
            device_quality(images, truths, count, images_per_truth, height, width);
        std::vector<ImageQuality> from_cpu(count);
        cpu::image_quality({images.data(), truths.data(), count, images_per_truth, height, width},
                           from_cpu.data());
        std::vector<double> psnr, ssim, exact_psnr, exact_ssim, cpu_values, values;
        for (int i = 0; i < count; ++i) {
            const std::vector<float> x(images.begin() + i * pixels, images.begin() + (i + 1) * pixels);
            const auto first = truths.begin() + i / images_per_truth * pixels;
            const std::vector<float> y(first, first + pixels);
            exact_psnr.push_back(reference::psnr(x, y));
            exact_ssim.push_back(reference::ssim(x, y, height, width, 11, reference::gaussian_window(), 1));
            exact_ssim.push_back(
                reference::ssim(x, y, height, width, 7, reference::uniform_window(), 49.0 / 48));
            psnr.push_back(quality[i].psnr);
            ssim.push_back(quality[i].ssim), ssim.push_back(quality[i].ssim_uniform);
            for (const double v : {quality[i].psnr, quality[i].ssim, quality[i].ssim_uniform})
                values.push_back(v);
            for (const double v : {from_cpu[i].psnr, from_cpu[i].ssim, from_cpu[i].ssim_uniform})
                cpu_values.push_back(v);
        }
        // Sums in double in another order; cancellation in E[xx] − Ex² leaves 1e-15 beside C2 = 9e-4.
        CHECK(largest_difference(psnr, exact_psnr) < 1e-10);
        CHECK(largest_difference(ssim, exact_ssim) < 1e-11);
        CHECK(largest_difference(values, cpu_values) < 1e-11);
    }
}

TEST_CASE("identical images, and images too small for a window") {
    const std::vector<float> image = narrow(random_values(15 * 40, 1)),
                             other = narrow(random_values(15 * 40, 2));
    const ImageQuality same = device_quality(image, image, 1, 1, 15, 40)[0];
    CHECK(same.psnr == std::numeric_limits<double>::infinity());
    CHECK(largest_difference(std::vector{same.ssim, same.ssim_uniform}, std::vector{1.0, 1.0}) < 1e-12);
    struct Small {
        int height, width;
        bool uniform, gaussian;
    };
    for (const auto& [height, width, uniform, gaussian] :
         {Small{6, 20, false, false}, {7, 7, true, false}, {20, 6, false, false}, {15, 10, true, false}}) {
        CAPTURE(height);
        const std::size_t pixels = std::size_t(height) * width;
        const std::vector<float> x(image.begin(), image.begin() + pixels),
            y(other.begin(), other.begin() + pixels);
        const ImageQuality q = device_quality(x, y, 1, 1, height, width)[0];
        CHECK(largest_difference(std::vector{q.psnr}, std::vector{reference::psnr(x, y)}) < 1e-10);
        CHECK(std::isfinite(q.ssim_uniform) == uniform);
        CHECK(std::isnan(q.ssim_uniform) == !uniform);
        CHECK(std::isnan(q.ssim) == !gaussian);
    }
}
