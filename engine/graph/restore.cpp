#include "engine/graph/restore.h"

#include "engine/graph/operations.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"

namespace tvmap {

Value restore(Graph& graph, const Observed& observed, Value lambda, SolverProblem problem, int iterations,
              const GradientMode& mode) {
    const Features image = graph.tensor(observed.image).shape, map = graph.tensor(lambda).shape;
    if (image.c != 1 || map.n != image.n || map.h != image.h || map.w != image.w || map.c != problem.maps())
        fail("restore: images ", shape_text(image), " do not go with maps ", shape_text(map),
             "; this problem has ", problem.maps());
    const bool weighs = problem.data == DataTerm::weights;
    if (weighs != (observed.weights.id >= 0))
        fail("restore: ",
             weighs ? "no weights, which this problem has" : "weights, which this problem has not");
    if (weighs && !graph.tensor(observed.weights).shape.same_shape(image))
        fail("restore: images ", shape_text(image), " do not go with weights ",
             shape_text(graph.tensor(observed.weights).shape));
    if (graph.tensor(observed.image).requires_gradient ||
        (weighs && graph.tensor(observed.weights).requires_gradient))
        fail("restore: the observed images get no gradient");
    problem.solves = image.n;
    problem.solves_per_image = 1;
    problem.height = image.h;
    problem.width = image.w;
    std::vector<Value> inputs{dense(graph, observed.image), dense(graph, lambda)};
    if (weighs) inputs.push_back(dense(graph, observed.weights));
    return graph.record(std::make_unique<RestoreOperation>(problem, observed.kernel, iterations, mode),
                        inputs, "restored");
}

Features RestoreOperation::output_shape(const Graph&) const {
    return dense_features(problem_.solves, 1, problem_.height, problem_.width, 1);
}

void RestoreOperation::prepare(Backend& backend, Algorithms&, const Graph&, bool training) {
    observed_.emplace(backend, problem_, kernel_);
    solver_ =
        std::make_unique<UnrolledSolver>(backend, problem_, iterations_, training ? mode_ : GradientMode{});
    forward_workspace = observed_->workspace_bytes() + solver_->forward_workspace_bytes();
    backward_workspace = observed_->workspace_bytes() + solver_->backward_workspace_bytes();
    saved_bytes = training ? solver_->saved_bytes() : 0;
}

SolverInput RestoreOperation::input(const Binding& b) const {
    const float* const weights = b.inputs.size() > 2 ? b.inputs[2].data : nullptr;
    return observed_->make(b.inputs[0].data, weights, b.inputs[1].data, b.workspace);
}

std::byte* RestoreOperation::solver_workspace(const Binding& b) const {
    return static_cast<std::byte*>(b.workspace) + observed_->workspace_bytes();
}

void RestoreOperation::forward(const Binding& b) {
    solver_->forward(input(b), b.output.data, b.saved, solver_workspace(b));
}

void RestoreOperation::backward(const Binding& b) {
    SolverInput read{.gram = observed_->gram(b.inputs.size() > 2 ? b.inputs[2].data : nullptr)};
    if (solver_->recomputes()) read = input(b);
    solver_->backward(b.saved, read, b.d_output.data,
                      {.d_lambda = b.d_inputs[1].data, .write = b.d_input_write[1]}, solver_workspace(b));
}

}  // namespace tvmap
