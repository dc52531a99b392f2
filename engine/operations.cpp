#include "engine/operations.h"

#include "engine/algorithms.h"
#include "kernels/error.h"

namespace tvmap {

void ConvolutionOperation::prepare(Backend& backend, Algorithms& algorithms, const Graph& graph,
                                   bool training) {
    const Graph::Tensor& x = graph.tensors()[inputs[0]];
    const Graph::Tensor& y = graph.tensors()[output];
    const ConvolutionProblem problem{x.shape, y.shape,  kernel_,
                                     slope_,  training, training && x.requires_gradient};
    const std::string key = backend.algorithm_key() + " | " + problem.key();
    const std::string choice = algorithms.find(key);
    try {
        convolution_ = backend.convolution(problem, choice);
    } catch (const Error& error) {
        if (choice.empty()) throw;
        algorithms.drop(key, error.what());
        convolution_ = backend.convolution(problem, "");
    }
    algorithms.store(key, convolution_->algorithms());
    forward_workspace = convolution_->forward_workspace_bytes();
    if (training) backward_workspace = convolution_->backward_workspace_bytes();
}

void ConvolutionOperation::forward(const Binding& b) {
    convolution_->forward(b.inputs[0].data, b.parameters[0], b.parameters[1], b.output.data, b.workspace);
}

void ConvolutionOperation::backward(const Binding& b) {
    convolution_->backward(b.inputs[0].data, b.parameters[0], b.output.data, b.d_output.data,
                           b.d_inputs[0].data, b.d_input_write[0], b.d_parameters[0], b.d_parameters[1],
                           b.parameter_write, b.workspace);
}

void MaxPoolOperation::forward(const Binding& b) { b.backend->max_pool_forward(b.inputs[0], b.output); }

void MaxPoolOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        b.backend->max_pool_backward(b.inputs[0], b.d_output, b.d_inputs[0], b.d_input_write[0]);
}

void UpsampleOperation::forward(const Binding& b) { b.backend->upsample_forward(b.inputs[0], b.output); }

void UpsampleOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data) b.backend->upsample_backward(b.d_output, b.d_inputs[0], b.d_input_write[0]);
}

void AddOperation::forward(const Binding& b) { b.backend->add(b.inputs[0], b.inputs[1], b.output); }

// With slope 1 the leaky ReLU and its derivative are the identity: a copy or an accumulation.
void AddOperation::backward(const Binding& b) {
    for (int i = 0; i < 2; ++i)
        if (b.d_inputs[i].data)
            b.backend->leaky_relu_backward(b.d_output, b.d_output, b.d_inputs[i], 1.0f, b.d_input_write[i]);
}

void CopyOperation::forward(const Binding& b) { b.backend->leaky_relu_forward(b.inputs[0], b.output, 1.0f); }

void CopyOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        b.backend->leaky_relu_backward(b.d_output, b.d_output, b.d_inputs[0], 1.0f, b.d_input_write[0]);
}

void ParameterMapOperation::forward(const Binding& b) {
    b.backend->parameter_map_forward(map_, b.inputs[0], b.output);
}

void ParameterMapOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        b.backend->parameter_map_backward(map_, b.inputs[0], b.d_output, b.d_inputs[0], b.d_input_write[0]);
}

void DenoiseOperation::prepare(Backend& backend, Algorithms&, const Graph& graph, bool training) {
    forward_workspace = backward_workspace = solver_workspace_ = backend.pdhg_workspace_bytes(problem_);
    // The adjoint reads the masks alone, so without training there is nothing to save.
    saved_bytes = training ? backend.pdhg_mask_bytes(problem_, iterations_) : 0;
    // It always makes d_Λ on its way; where nobody wants that, it goes to scratch memory.
    if (training && !graph.tensors()[inputs[1]].requires_gradient)
        backward_workspace += sizeof(float) * problem_.solves * problem_.map_size();
}

void DenoiseOperation::forward(const Binding& b) {
    b.backend->pdhg_forward(problem_, iterations_, b.inputs[0].data, b.inputs[1].data, b.output.data,
                            static_cast<std::uint8_t*>(b.saved), nullptr, false, b.workspace);
}

void DenoiseOperation::backward(const Binding& b) {
    View d_z = b.d_inputs[0], d_lambda = b.d_inputs[1];
    Write write = b.d_input_write[1];
    if (!d_lambda.data) {
        d_lambda.data = reinterpret_cast<float*>(static_cast<std::byte*>(b.workspace) + solver_workspace_);
        write = b.d_input_write[0];
    } else if (d_z.data && b.d_input_write[0] != write) {
        // The kernel writes both gradients alike: start the one that nothing has been added to yet from zero.
        b.backend->clear(write == Write::overwrite ? d_lambda : d_z);
        write = Write::accumulate;
    }
    b.backend->pdhg_adjoint(problem_, iterations_, static_cast<const std::uint8_t*>(b.saved), b.d_output.data,
                            d_lambda.data, d_z.data, write, b.workspace);
}

void LossOperation::prepare(Backend&, Algorithms&, const Graph& graph, bool) {
    saved_bytes = sizeof(double) * (1 + graph.tensors()[inputs[0]].shape.n);
}

void LossOperation::forward(const Binding& b) {
    double* saved = static_cast<double*>(b.saved);
    b.backend->loss_forward(loss_, b.inputs[0], b.inputs[1], saved + 1, saved);
}

void LossOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        b.backend->loss_backward(loss_, b.inputs[0], b.inputs[1], static_cast<const double*>(b.saved) + 1,
                                 b.d_inputs[0], b.d_input_write[0]);
}

}  // namespace tvmap
