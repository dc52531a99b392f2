// One line for each kernel that is called through kernels/base/kernel.h and has a CUDA version.
#include "kernels/cuda_versions.h"

#include "kernels/base/kernel.h"
#include "kernels/layers/leaky_relu.h"
#include "kernels/layers/map_from_raw.h"
#include "kernels/layers/max_pool.h"
#include "kernels/layers/noise_level.h"
#include "kernels/layers/upsample.h"
#include "kernels/optimiser/optimiser_step.h"
#include "kernels/training/loss.h"

namespace tvmap::cuda {

void list_versions() {
    [[maybe_unused]] static const CudaVersion listed[] = {
        {tvmap::add_forward, add},
        {tvmap::average_weights, average_weights},
        {tvmap::clip_gradient, clip_gradient},
        {tvmap::decay_weights, decay_weights},
        {tvmap::leaky_relu_forward, leaky_relu_forward},
        {tvmap::leaky_relu_backward, leaky_relu_backward},
        {tvmap::loss_forward, loss_forward},
        {tvmap::loss_backward, loss_backward},
        {tvmap::max_pool_forward, max_pool_forward},
        {tvmap::max_pool_backward, max_pool_backward},
        {tvmap::map_from_raw_forward, map_from_raw_forward},
        {tvmap::map_from_raw_backward, map_from_raw_backward},
        {tvmap::mean_gradient, mean_gradient},
        {tvmap::noise_level_forward, noise_level_forward},
        {tvmap::scale_images, scale_images},
        {tvmap::sure_forward, sure_forward},
        {tvmap::sure_backward, sure_backward},
        {tvmap::upsample_forward, upsample_forward},
        {tvmap::upsample_window_forward, upsample_window_forward},
        {tvmap::upsample_backward, upsample_backward},
    };
}

}  // namespace tvmap::cuda
