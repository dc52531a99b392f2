// The data terms on the GPU: data to image and back, one thread per value.
#include "kernels/family/data_term.h"

#include "kernels/gpu/gpu.h"

namespace tvmap {
namespace family {
namespace {

constexpr unsigned block_threads = 256;

__global__ void family_image_kernel(DataOperator o, std::int64_t count, const float* z, float* b) {
    const std::int64_t n = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (n >= count) return;
    const std::int64_t image = n / o.pixels(), here = n % o.pixels();
    const float* weights = o.data == DataTerm::weights ? o.weights(image) : nullptr;
    b[n] = image_at<float>(o, weights, z + image * o.data_size(), int(here / o.width), int(here % o.width));
}

__global__ void family_data_kernel(DataOperator o, std::int64_t count, const float* d_b, float* d_z,
                                   bool accumulate) {
    const std::int64_t n = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (n >= count) return;
    const std::int64_t solve = n / o.data_size(), here = n % o.data_size();
    const int width = o.width / o.factor;
    const float* weights = o.data == DataTerm::weights ? o.weights(solve / o.solves_per_image) : nullptr;
    const float value =
        data_at<float>(o, weights, d_b + solve * o.pixels(), int(here / width), int(here % width));
    d_z[n] = accumulate ? d_z[n] + value : value;
}

}  // namespace
}  // namespace family

namespace cuda {

void data_to_image(gpu::Stream stream, const SolverProblem& problem, const float* data, const float* z,
                   float* b) {
    check_solver("data_to_image", problem, 0);
    const std::int64_t count = problem.images() * problem.pixels();
    gpu::launch(stream,
                {.name = "family_image_kernel",
                 .grid = dim3(gpu::blocks_for(count, family::block_threads)),
                 .block = dim3(family::block_threads)},
                family::family_image_kernel, family::data_operator(problem, data), count, z, b);
}

void image_to_data(gpu::Stream stream, const SolverProblem& problem, const float* data, const float* d_b,
                   float* d_z, Write write) {
    check_solver("image_to_data", problem, 0);
    const std::int64_t count = problem.solves * problem.data_size();
    gpu::launch(stream,
                {.name = "family_data_kernel",
                 .grid = dim3(gpu::blocks_for(count, family::block_threads)),
                 .block = dim3(family::block_threads)},
                family::family_data_kernel, family::data_operator(problem, data), count, d_b, d_z,
                write == Write::accumulate);
}

}  // namespace cuda
}  // namespace tvmap
