#include "engine/graph/operations.h"

#include <algorithm>

#include "engine/graph/algorithms.h"
#include "kernels/base/error.h"
#include "kernels/convolution/untimed_algorithms.h"

namespace tvmap {

void ConvolutionOperation::prepare(Backend& backend, Algorithms& algorithms, const Graph& graph,
                                   bool training) {
    const Graph::Tensor& x = graph.tensors()[inputs[0]];
    const Graph::Tensor& y = graph.tensors()[output];
    const ConvolutionProblem problem{x.shape, y.shape,  kernel_,
                                     slope_,  training, training && x.requires_gradient};
    const auto key = [&](const ConvolutionProblem& p) { return backend.algorithm_key() + " | " + p.key(); };
    std::string choice = algorithms.find(key(problem));
    // Not from a batch of one, where slices are dense and batching is no question.
    const bool borrows = choice.empty() && algorithms.borrows() && problem.x.n > 2;
    const bool times = algorithms.untimed() == Algorithms::Untimed::time;
    if (borrows) {
        ConvolutionProblem smaller = problem;
        while (choice.empty() && smaller.x.n > 2) {
            smaller.y.n = --smaller.x.n;
            choice = algorithms.find(key(smaller));
        }
        if (choice.empty() && times) {
            choice = backend.convolution(smaller, "")->algorithms();
            algorithms.store(key(smaller), choice);
        }
    }
    bool found = !choice.empty();
    if (found) try {
            convolution_ = backend.convolution(problem, choice);
        } catch (const Error& error) {
            algorithms.drop(key(problem), error.what());
            found = false;
        }
    if (!found && !times) return plan_untimed(backend, algorithms, problem, key(problem));
    if (!found) convolution_ = backend.convolution(problem, "");
    algorithms.store(key(problem), convolution_->algorithms(), borrows && found);
    take_workspaces(*convolution_, training);
}

void ConvolutionOperation::take_workspaces(const Convolution& convolution, bool training) {
    forward_workspace = convolution.forward_workspace_bytes();
    if (training) backward_workspace = convolution.backward_workspace_bytes();
}

// A problem is timed with its tensors and the largest workspace; one that may borrow, as a batch of two.
void ConvolutionOperation::plan_untimed(Backend& backend, Algorithms& algorithms,
                                        const ConvolutionProblem& problem, const std::string& key) {
    const auto most = backend.convolution(problem, most_memory);
    const auto floats = std::size_t(problem.x.size()) +
                        (problem.training ? 2 : 1) * std::size_t(problem.y.size()) +
                        std::size_t(problem.x.c) * problem.y.c * problem.kernel * problem.kernel;
    const std::size_t bytes =
        sizeof(float) * floats + std::max(most->forward_workspace_bytes(), most->backward_workspace_bytes());
    algorithms.count_untimed(key, algorithms.borrows() && problem.x.n > 2 ? bytes / problem.x.n * 2 : bytes);
    take_workspaces(algorithms.untimed() == Algorithms::Untimed::most
                        ? *most
                        : *backend.convolution(problem, least_memory),
                    problem.training);
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

void DenoiseOperation::prepare(Backend& backend, Algorithms&, const Graph&, bool training) {
    solver_ =
        std::make_unique<UnrolledSolver>(backend, problem_, iterations_, training ? mode_ : GradientMode{});
    forward_workspace = solver_->forward_workspace_bytes();
    backward_workspace = solver_->backward_workspace_bytes();
    saved_bytes = training ? solver_->saved_bytes() : 0;
}

void DenoiseOperation::forward(const Binding& b) {
    solver_->forward(b.inputs[0].data, b.inputs[1].data, b.output.data, b.saved, b.workspace);
}

void DenoiseOperation::backward(const Binding& b) {
    const View d_z = b.d_inputs[0], d_lambda = b.d_inputs[1];
    Write write = b.d_input_write[d_lambda.data ? 1 : 0];
    if (d_lambda.data && d_z.data && b.d_input_write[0] != write) {
        // The solver writes both gradients alike: start the one that nothing has been added to yet from zero.
        b.backend->clear(write == Write::overwrite ? d_lambda : d_z);
        write = Write::accumulate;
    }
    solver_->backward(b.saved, b.inputs[0].data, b.inputs[1].data, b.d_output.data, d_lambda.data, d_z.data,
                      write, b.workspace);
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
