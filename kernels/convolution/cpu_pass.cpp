#include "kernels/convolution/cpu_pass.h"

#include <algorithm>

#include "kernels/layers/activation_gradient.h"
#include "kernels/layers/leaky_relu.h"

namespace tvmap::cpu {

using onednn::Algorithm;
using onednn::Direction;
using onednn::Pointer;

namespace {

// oneDNN's interface knows no const.
Pointer tensor(const float* data, const Features& f) {
    return {const_cast<float*>(data), f.image_stride * std::int64_t(element_bytes(f.element))};
}
Pointer tensor(const float* data) { return {const_cast<float*>(data), 0}; }

}  // namespace

std::optional<CpuPass> CpuPass::make(const ConvolutionProblem& problem, Direction direction,
                                     const Algorithm& algorithm) {
    if (algorithm.to_string() == winograd_name) {
        if (!Winograd::applies(problem)) return std::nullopt;
        return CpuPass(problem, direction, algorithm, Winograd(problem));
    }
    if (algorithm.to_string() == tiles_name) {
        if (!TileConvolution::applies(problem)) return std::nullopt;
        return CpuPass(problem, direction, algorithm, TileConvolution(problem));
    }
    std::optional<onednn::Pass> pass = onednn::Pass::make(problem, direction, algorithm);
    if (!pass) return std::nullopt;
    return CpuPass(problem, direction, algorithm, std::move(*pass));
}

std::size_t CpuPass::workspace_bytes() const {
    const auto of = [&](const auto& own) {
        return direction_ == Direction::forward   ? own.forward_workspace_bytes()
               : direction_ == Direction::weights ? own.weights_workspace_bytes()
                                                  : own.data_workspace_bytes();
    };
    if (const Winograd* own = std::get_if<Winograd>(&way_)) return of(*own);
    const TileConvolution* const tiles = std::get_if<TileConvolution>(&way_);
    const std::size_t bytes = tiles ? of(*tiles) : std::get<onednn::Pass>(way_).workspace_bytes();
    return direction_ == Direction::weights ? std::max(bytes, activation_gradient_workspace_bytes(problem_.y))
                                            : bytes;
}

bool CpuPass::wants_dense_d_a() const {
    return direction_ != Direction::forward && std::holds_alternative<onednn::Pass>(way_) &&
           !algorithm_.images;
}

void CpuPass::forward(const float* x, const float* weight, const float* bias, float* y, void* workspace) {
    if (const Winograd* own = std::get_if<Winograd>(&way_))
        return own->forward(x, weight, bias, y, workspace);
    if (const TileConvolution* tiles = std::get_if<TileConvolution>(&way_))
        return tiles->forward(x, weight, bias, y, workspace);
    onednn::Pass& pass = std::get<onednn::Pass>(way_);
    const Pointer pointers[] = {tensor(x, problem_.x), tensor(weight), tensor(bias), tensor(y, problem_.y)};
    pass.run(pointers, Write::overwrite, static_cast<std::byte*>(workspace));
    if (!pass.activates()) leaky_relu_forward({y, problem_.y}, {y, problem_.y}, problem_.slope);
}

void CpuPass::weights(const float* x, const float* y, const float* d_y, View d_a, float* d_weight,
                      float* d_bias, Write write, void* workspace) {
    if (const Winograd* own = std::get_if<Winograd>(&way_))
        return own->weights(x, y, d_y, d_a, d_weight, d_bias, write, workspace);
    activation_gradient({y, problem_.y}, {d_y, problem_.y}, d_a, problem_.slope, d_bias, write, workspace);
    if (const TileConvolution* tiles = std::get_if<TileConvolution>(&way_))
        return tiles->weights(x, d_a, d_weight, write, workspace);
    const Pointer pointers[] = {tensor(x, problem_.x), tensor(d_a.data, d_a.shape), {d_weight, 0}};
    std::get<onednn::Pass>(way_).run(pointers, write, static_cast<std::byte*>(workspace));
}

void CpuPass::data(ConstView d_a, const float* weight, float* d_x, Write write, void* workspace) {
    if (const Winograd* own = std::get_if<Winograd>(&way_))
        return own->data(d_a, weight, d_x, write, workspace);
    if (const TileConvolution* tiles = std::get_if<TileConvolution>(&way_))
        return tiles->data(d_a, weight, d_x, write, workspace);
    const Pointer pointers[] = {tensor(d_a.data, d_a.shape), tensor(weight), tensor(d_x, problem_.x)};
    std::get<onednn::Pass>(way_).run(pointers, write, static_cast<std::byte*>(workspace));
}

}  // namespace tvmap::cpu
