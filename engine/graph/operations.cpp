#include "engine/graph/operations.h"

#include <algorithm>
#include <climits>

#include "engine/graph/algorithms.h"
#include "engine/graph/solver_mapping.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "kernels/convolution/untimed_algorithms.h"

namespace tvmap {
namespace {

using Tensor = Graph::Tensor;

/// Dense, in the same blocks.
Features dense_like(const Features& s) { return dense_features(s.n, s.c, s.h, s.w, s.block, s.element); }

std::string key_of(const Backend& backend, const ConvolutionProblem& problem) {
    return backend.algorithm_key() + " | " + problem.key();
}

/// The output's gradient is an input's, as it is.
void pass_on(const Binding& b, int input) {
    const View& to = b.d_inputs[input];
    if (!to.data) return;
    if (b.d_input_write[input] == Write::overwrite)
        b.backend->copy(b.d_output, to);
    else
        b.backend->axpy(1.0f, b.d_output, to);
}

}  // namespace

Value convolution(Graph& graph, Value x, const std::string& name, int channels, int kernel, float slope,
                  const ConvolutionStart& start) {
    const int in = graph.tensor(x).shape.c;
    const std::int64_t fan_in = std::int64_t(in) * kernel * kernel;
    auto operation = std::make_unique<ConvolutionOperation>(channels, kernel, slope);
    operation->parameters = {
        graph.parameter(name + ".weight", {channels, in, kernel, kernel}, fan_in, start.weight),
        graph.parameter(name + ".bias", {channels}, fan_in, start.bias)};
    return graph.record(std::move(operation), {x}, name);
}

Features ConvolutionOperation::output_shape(const Graph& graph) const {
    const Features& in = graph.tensors()[inputs[0]].shape;
    return graph.features(in.n, channels_, in.h, in.w);
}

void ConvolutionOperation::prepare(Backend& backend, Algorithms& algorithms, const Graph& graph,
                                   bool training) {
    const Graph::Tensor& x = graph.tensors()[inputs[0]];
    const Graph::Tensor& y = graph.tensors()[output];
    const ConvolutionProblem problem{x.shape, y.shape,  kernel_,
                                     slope_,  training, training && x.requires_gradient};
    const std::string key = key_of(backend, problem);
    std::string choice = algorithms.find(key);
    bool borrowed = choice.empty();
    if (borrowed) choice = borrowed_choice(backend, algorithms, problem);
    bool found = !choice.empty();
    if (found) try {
            convolution_ = backend.convolution(problem, choice);
        } catch (const Error& error) {
            algorithms.drop(key, error.what());
            found = false;
        }
    if (!found && algorithms.untimed() != Algorithms::Untimed::time)
        return plan_untimed(backend, algorithms, problem, key);
    if (!found) convolution_ = backend.convolution(problem, "");
    algorithms.store(key, convolution_->algorithms(), borrowed && found);
    take_workspaces(*convolution_, training);
}

// That of a smaller batch, or of images of another size, which is timed where it has to be; "" where nothing lends.
std::string ConvolutionOperation::borrowed_choice(Backend& backend, Algorithms& algorithms,
                                                  ConvolutionProblem problem) const {
    std::string choice;
    if (algorithms.borrows() && problem.x.n > 2) {
        // Not from a batch of one, where slices are dense and batching is no question.
        while (choice.empty() && problem.x.n > 2) {
            problem.y.n = --problem.x.n;
            choice = algorithms.find(key_of(backend, problem));
        }
    } else if (const auto& sizes = algorithms.borrowed_sizes(); sizes && !sizes->lend()) {
        for (Features* shape : {&problem.x, &problem.y}) *shape = sizes->resized(*shape);
        choice = algorithms.find(key_of(backend, problem));
    } else {
        return "";
    }
    if (choice.empty() && algorithms.untimed() == Algorithms::Untimed::time) {
        choice = backend.convolution(problem, "")->algorithms();
        algorithms.store(key_of(backend, problem), choice);
    }
    return choice;
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
    convolution_->backward({.x = b.inputs[0].data,
                            .weight = b.parameters[0],
                            .y = b.output.data,
                            .d_y = b.d_output.data,
                            .d_x = b.d_inputs[0].data,
                            .d_x_write = b.d_input_write[0],
                            .d_weight = b.d_parameters[0],
                            .d_bias = b.d_parameters[1],
                            .parameter_write = b.parameter_write},
                           b.workspace);
}

Value max_pool(Graph& graph, Value x) {
    return graph.record(std::make_unique<MaxPoolOperation>(), {x}, graph.tensor(x).name + ".pooled");
}

Features MaxPoolOperation::output_shape(const Graph& graph) const {
    return max_pool_shape(graph.tensors()[inputs[0]].shape);
}

void MaxPoolOperation::forward(const Binding& b) { max_pool_forward(*b.backend, b.inputs[0], b.output); }

void MaxPoolOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        max_pool_backward(*b.backend, b.inputs[0], b.d_output, b.d_inputs[0], b.d_input_write[0]);
}

Value upsample(Graph& graph, Value x) {
    return graph.record(std::make_unique<UpsampleOperation>(), {x}, graph.tensor(x).name + ".upsampled");
}

Features UpsampleOperation::output_shape(const Graph& graph) const {
    return upsample_shape(graph.tensors()[inputs[0]].shape);
}

void UpsampleOperation::forward(const Binding& b) { upsample_forward(*b.backend, b.inputs[0], b.output); }

void UpsampleOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data) upsample_backward(*b.backend, b.d_output, b.d_inputs[0], b.d_input_write[0]);
}

Value add(Graph& graph, Value a, Value b) {
    return graph.record(std::make_unique<AddOperation>(), {a, b},
                        graph.tensor(a).name + "+" + graph.tensor(b).name);
}

Features AddOperation::output_shape(const Graph& graph) const {
    const Tensor &a = graph.tensors()[inputs[0]], &b = graph.tensors()[inputs[1]];
    if (!a.shape.same_shape(b.shape))
        fail("add: ", a.name, " is ", shape_text(a.shape), " but ", b.name, " is ", shape_text(b.shape));
    return dense_like(a.shape);
}

void AddOperation::forward(const Binding& b) { add_forward(*b.backend, b.inputs[0], b.inputs[1], b.output); }

void AddOperation::backward(const Binding& b) {
    for (int i = 0; i < 2; ++i) pass_on(b, i);
}

Value copy(Graph& graph, Value x) {
    return graph.record(std::make_unique<CopyOperation>(), {x}, graph.tensor(x).name + ".copy");
}

Value dense(Graph& graph, Value x) { return graph.tensor(x).root == x.id ? x : copy(graph, x); }

Features CopyOperation::output_shape(const Graph& graph) const {
    return dense_like(graph.tensors()[inputs[0]].shape);
}

void CopyOperation::forward(const Binding& b) { b.backend->copy(b.inputs[0], b.output); }

void CopyOperation::backward(const Binding& b) { pass_on(b, 0); }

Value concatenate(Graph& graph, const std::vector<Value>& values) {
    std::string name;
    std::vector<Value> slices;
    ConcatenateOperation whole;
    for (Value value : values) {
        whole.inputs.push_back(value.id);
        name += (name.empty() ? "[" : ", ") + graph.tensor(value).name;
    }
    whole.output_shape(graph);  // refuses what does not go together before anything is copied
    for (Value value : values) {
        const bool repeated =
            std::any_of(slices.begin(), slices.end(), [&](Value s) { return s.id == value.id; });
        slices.push_back(!repeated && graph.can_become_slice(value) ? value : copy(graph, value));
    }
    return graph.record(std::make_unique<ConcatenateOperation>(), slices, name + "]");
}

Features ConcatenateOperation::output_shape(const Graph& graph) const {
    if (inputs.empty()) fail("concatenate: no values");
    const Tensor& first = graph.tensors()[inputs[0]];
    Features whole = first.shape;
    whole.c = 0;
    for (int input : inputs) {
        const Tensor& t = graph.tensors()[input];
        const Features& s = t.shape;
        if (s.n != whole.n || s.h != whole.h || s.w != whole.w || s.block != whole.block ||
            s.element != whole.element)
            fail("concatenate: ", t.name, " is ", layout_text(s), " but ", first.name, " is ",
                 layout_text(first.shape));
        if (s.c > INT_MAX - whole.c) fail("concatenate: more channels than can be counted; give fewer");
        whole.c += s.c;
    }
    return dense_like(whole);
}

Value map_from_raw(Graph& graph, Value raw, const MapFromRaw& map, int maps) {
    return graph.record(std::make_unique<MapFromRawOperation>(map, maps), {raw}, "lambda");
}

Features MapFromRawOperation::output_shape(const Graph& graph) const {
    const Features& in = graph.tensors()[inputs[0]].shape;
    if (in.block != 1) fail("map from raw: the raw output must be planar, but lies in blocks of ", in.block);
    if (maps_ > in.c) fail("map from raw: ", maps_, " maps from ", in.c, " channels");
    return dense_features(in.n, maps_, in.h, in.w, 1);
}

void MapFromRawOperation::forward(const Binding& b) {
    map_from_raw_forward(*b.backend, map_, b.inputs[0], b.output);
}

void MapFromRawOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        map_from_raw_backward(*b.backend, map_, b.inputs[0], b.d_output, b.d_inputs[0], b.d_input_write[0]);
}

PdhgProblem sized_problem(const Graph& graph, Value z, Value lambda, PdhgProblem problem) {
    const Features image = graph.tensor(z).shape, map = graph.tensor(lambda).shape;
    if (image.c != 1 || map.n != image.n || map.h != image.h || map.w != image.w || map.c > 2)
        fail("denoise: images ", shape_text(image), " do not go with maps ", shape_text(map));
    problem.solves = image.n;
    problem.solves_per_image = 1;
    problem.height = image.h;
    problem.width = image.w;
    problem.map = map.c == 1 ? MapKind::shared : MapKind::separate;
    return problem;
}

Value denoise(Graph& graph, Value z, Value lambda, PdhgProblem problem, int iterations,
              const GradientMode& mode) {
    problem = sized_problem(graph, z, lambda, problem);
    z = dense(graph, z);
    lambda = dense(graph, lambda);
    return graph.record(std::make_unique<DenoiseOperation>(problem, iterations, mode), {z, lambda},
                        "denoised");
}

Features DenoiseOperation::output_shape(const Graph&) const {
    return dense_features(problem_.solves, 1, problem_.height, problem_.width, 1);
}

void DenoiseOperation::prepare(Backend& backend, Algorithms& algorithms, const Graph&, bool training) {
    settle_solver_mapping(backend, algorithms, problem_);
    solver_ =
        std::make_unique<UnrolledSolver>(backend, problem_, iterations_, training ? mode_ : GradientMode{});
    forward_workspace = solver_->forward_workspace_bytes();
    backward_workspace = solver_->backward_workspace_bytes();
    saved_bytes = training ? solver_->saved_bytes() : 0;
}

void DenoiseOperation::forward(const Binding& b) {
    solver_->forward({.b = b.inputs[0].data, .lambda = b.inputs[1].data}, b.output.data, b.saved,
                     b.workspace);
}

void DenoiseOperation::backward(const Binding& b) {
    const View d_z = b.d_inputs[0], d_lambda = b.d_inputs[1];
    Write write = b.d_input_write[d_lambda.data ? 1 : 0];
    if (d_lambda.data && d_z.data && b.d_input_write[0] != write) {
        // The solver writes both gradients alike: start the one that nothing has been added to yet from zero.
        b.backend->fill(write == Write::overwrite ? d_lambda : d_z, 0.0f);
        write = Write::accumulate;
    }
    solver_->backward(b.saved, {.b = b.inputs[0].data, .lambda = b.inputs[1].data}, b.d_output.data,
                      {.d_lambda = d_lambda.data, .d_b = d_z.data, .write = write}, b.workspace);
}

Value loss(Graph& graph, Value x, Value target, LossKind kind) {
    return graph.record(std::make_unique<LossOperation>(kind), {x, target}, "loss");
}

Features LossOperation::output_shape(const Graph& graph) const {
    const Tensor &x = graph.tensors()[inputs[0]], &target = graph.tensors()[inputs[1]];
    if (!x.shape.same_shape(target.shape))
        fail("loss: the image is ", shape_text(x.shape), " but the target is ", shape_text(target.shape));
    if (target.requires_gradient) fail("loss: the target '", target.name, "' gets no gradient");
    return dense_features(1, 1, 1, 1, 1);
}

void LossOperation::prepare(Backend&, Algorithms&, const Graph& graph, bool) {
    saved_bytes = sizeof(double) * (1 + graph.tensors()[inputs[0]].shape.n);
}

void LossOperation::forward(const Binding& b) {
    double* saved = static_cast<double*>(b.saved);
    loss_forward(*b.backend, loss_, b.inputs[0], b.inputs[1], saved + 1, saved);
}

void LossOperation::backward(const Binding& b) {
    if (b.d_inputs[0].data)
        loss_backward(*b.backend, loss_, b.inputs[0], b.inputs[1], static_cast<const double*>(b.saved) + 1,
                      b.d_inputs[0], b.d_input_write[0]);
}

}  // namespace tvmap
