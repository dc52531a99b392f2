#include "engine/solver/whole_arrays.h"

#include <algorithm>

#include "engine/files/stopwatch.h"
#include "kernels/base/error.h"
#include "kernels/device_array.h"
#include "kernels/training/loss.h"

namespace tvmap {

std::vector<float> repeated(const std::vector<float>& values, int count) {
    std::vector<float> all;
    all.reserve(values.size() * std::size_t(count));
    for (int n = 0; n < count; ++n) all.insert(all.end(), values.begin(), values.end());
    return all;
}

void check_target(int images, int height, int width, const ImageStack& target) {
    if (target.images != images || target.height != height || target.width != width)
        fail("target: ", target.images, "×", target.height, "×", target.width, " does not fit images of ",
             images, "×", height, "×", width, "; give a clean image for each");
    check_finite("target", target.values);
}

SolverGradient measured_gradient(Backend& backend, UnrolledSolver& unrolled, const SolverInput& input,
                                 std::size_t map_size, const ImageStack& target, int repeat, float* d_b,
                                 float* d_start) {
    if (repeat < 1) fail("solver: ", repeat, " runs; give 1 or more");
    SolverGradient gradient;
    gradient.d_lambda.resize(std::size_t(target.images) * map_size);
    const DeviceInput<float> clean(backend, target.values.data(), target.values.size());
    const DeviceMirror<float> d_lambda(backend, gradient.d_lambda.data(), gradient.d_lambda.size());
    const DeviceArray<std::byte> saved(backend, unrolled.saved_bytes()),
        workspace(backend, std::max(unrolled.forward_workspace_bytes(), unrolled.backward_workspace_bytes()));
    const DeviceArray<float> x(backend, target.values.size());  // then ∂mse/∂x
    const DeviceArray<double> mse(backend, 1), image_mse(backend, std::size_t(target.images));
    const Features shape = dense_features(target.images, 1, target.height, target.width, 1);
    const View result{x.data(), shape};
    const ConstView truth{clean.data(), shape};
    const SolverDerivatives derivatives{.d_lambda = d_lambda.data(), .d_b = d_b, .d_start = d_start};
    gradient.saved_bytes = saved.bytes();
    gradient.workspace_bytes = workspace.bytes();
    gradient.bytes = saved.bytes() + workspace.bytes() + x.bytes() + sizeof(float) * gradient.d_lambda.size();
    std::vector<double> seconds;
    for (int run = 0; run < repeat; ++run)
        seconds.push_back(seconds_of(backend, [&] {
            unrolled.forward(input, x.data(), saved.data(), workspace.data());
            loss_forward(backend, LossKind::mse, result, truth, image_mse.data(), mse.data());
            loss_backward(backend, LossKind::mse, result, truth, image_mse.data(), result, Write::overwrite);
            unrolled.backward(saved.data(), input, x.data(), derivatives, workspace.data());
        }));
    gradient.seconds = median(seconds);
    gradient.adjoint_steps = unrolled.adjoint_steps();
    mse.download(&gradient.mse, 1);
    d_lambda.download();
    for (std::size_t i = 0; i < map_size; ++i) {
        double sum = 0;
        for (std::size_t at = i; at < gradient.d_lambda.size(); at += map_size) sum += gradient.d_lambda[at];
        gradient.d_lambda[i] = float(sum);
    }
    gradient.d_lambda.resize(map_size);
    return gradient;
}

}  // namespace tvmap
