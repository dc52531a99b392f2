#include "engine/unrolled/observed_input.h"

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"

namespace tvmap {

ObservedInput::ObservedInput(Backend& backend, const SolverProblem& problem, const std::vector<float>& kernel)
    : backend_(backend),
      problem_(problem),
      kernel_(backend, kernel.size()),
      gram_(backend, problem.data == DataTerm::blur ? std::size_t(problem.gram_size()) : 0) {
    const std::size_t images = std::size_t(problem.images()),
                      image = sizeof(float) * std::size_t(problem.pixels());
    if (!problem.observes_image()) b_bytes_ = aligned(images * image);
    if (problem.data == DataTerm::super_resolution)
        data_bytes_ = aligned(images * sizeof(float) * std::size_t(problem.data_size()));
    if (problem.data != DataTerm::blur) return;
    if (kernel.size() != std::size_t(problem.kernel_height) * std::size_t(problem.kernel_width))
        fail("solver: a kernel of ", kernel.size(), " values where ", problem.kernel_height, "×",
             problem.kernel_width, " are needed");
    std::vector<float> gram(gram_.size());
    blur_gram(problem, kernel.data(), gram.data());
    kernel_.upload(kernel.data(), kernel.size());
    gram_.upload(gram.data(), gram.size());
}

const float* ObservedInput::gram(const float* weights) const {
    return problem_.data == DataTerm::weights ? weights : gram_.size() > 0 ? gram_.data() : nullptr;
}

void ObservedInput::data_gradient(const float* d_b, const float* weights, float* d_z) const {
    backend_.image_to_data(problem_, problem_.data == DataTerm::weights ? weights : kernel_.data(), d_b, d_z,
                           Write::overwrite);
}

SolverInput ObservedInput::make(const float* z, const float* images, const float* weights,
                                const float* lambda, void* workspace) const {
    SolverInput input{.b = z, .lambda = lambda, .gram = gram(weights)};
    if (problem_.observes_image()) return input;
    auto* const b = static_cast<float*>(workspace);
    backend_.data_to_image(problem_, problem_.data == DataTerm::weights ? weights : kernel_.data(), z, b);
    input.b = b;
    if (problem_.own_start) input.start = images;
    return input;
}

SolverInput ObservedInput::make(const float* images, const float* weights, const float* lambda,
                                void* workspace) const {
    const float* z = images;
    if (problem_.data == DataTerm::super_resolution) {
        auto* const data = reinterpret_cast<float*>(static_cast<std::byte*>(workspace) + b_bytes_);
        SolverProblem each = problem_;  // image by image, whatever solves them
        each.solves = problem_.images();
        each.solves_per_image = 1;
        backend_.image_to_data(each, nullptr, images, data, Write::overwrite);
        z = data;
    }
    return make(z, images, weights, lambda, workspace);
}

}  // namespace tvmap
