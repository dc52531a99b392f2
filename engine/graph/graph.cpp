#include "engine/graph/graph.h"

#include <algorithm>
#include <climits>

#include "engine/graph/denoise_with_steps.h"
#include "engine/graph/operations.h"
#include "kernels/base/error.h"
#include "kernels/base/sizes.h"

namespace tvmap {
namespace {

void check_size(const std::string& name, const Features& s) {
    checked_product(text("tensor '", name, "', bytes").c_str(), s.n, s.c, s.h, s.w, sizeof(float));
}

}  // namespace

std::string describe(const Features& s) { return text(s.n, "x", s.c, "x", s.h, "x", s.w); }

std::int64_t Graph::parameter_count() const {
    std::int64_t count = 0;
    for (const Parameter& p : parameters_) count += p.size;
    return count;
}

Features Graph::features(int n, int c, int h, int w) const {
    return dense_features(n, c, h, w, c % block_ == 0 ? block_ : 1);
}

Value Graph::record(std::unique_ptr<Operation> operation, const std::vector<Value>& inputs,
                    const std::string& name, const Features& shape) {
    if (shape.n < 1 || shape.c < 1 || shape.h < 1 || shape.w < 1)
        fail(operation->kind(), " '", name, "': the result would be ", describe(shape),
             "; use larger images or a network that halves less often");
    check_size(name, shape);
    const int id = int(tensors_.size());
    const int producer = int(operations_.size());
    bool requires_gradient = !operation->parameters.empty();
    for (Value input : inputs) {
        operation->inputs.push_back(input.id);
        requires_gradient = requires_gradient || tensors_[input.id].requires_gradient;
    }
    operation->output = id;
    operations_.push_back(std::move(operation));
    tensors_.push_back({name, shape, producer, id, 0, requires_gradient});
    return {id};
}

int Graph::parameter(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t fan_in) {
    for (int i = 0; i < int(parameters_.size()); ++i)
        if (parameters_[i].name == name) {
            if (parameters_[i].shape != shape)
                fail("parameter '", name, "' is used with two different shapes");
            return i;
        }
    Parameter p{name, shape, parameter_count(), 1, fan_in};
    for (std::int64_t extent : shape) p.size = checked_product("a parameter", p.size, extent);
    parameters_.push_back(p);
    return int(parameters_.size()) - 1;
}

Value Graph::input(const std::string& name, int n, int c, int h, int w, bool requires_gradient) {
    const int id = int(tensors_.size());
    check_size(name, dense_features(n, c, h, w, 1));
    tensors_.push_back({name, dense_features(n, c, h, w, 1), -1, id, 0, requires_gradient});
    return {id};
}

Value Graph::convolution(Value x, const std::string& name, int channels, int kernel, float slope) {
    const Features in = tensor(x).shape;
    auto operation = std::make_unique<ConvolutionOperation>(kernel, slope);
    const std::int64_t fan_in = std::int64_t(in.c) * kernel * kernel;
    operation->parameters = {parameter(name + ".weight", {channels, in.c, kernel, kernel}, fan_in),
                             parameter(name + ".bias", {channels}, fan_in)};
    return record(std::move(operation), {x}, name, features(in.n, channels, in.h, in.w));
}

Value Graph::max_pool(Value x) {
    const Features in = tensor(x).shape;
    const Features out = dense_features(in.n, in.c, in.h / 2, in.w / 2, in.block);
    return record(std::make_unique<MaxPoolOperation>(), {x}, tensor(x).name + ".pooled", out);
}

Value Graph::upsample(Value x) {
    const Features in = tensor(x).shape;
    const Features out = dense_features(in.n, in.c, 2 * in.h, 2 * in.w, in.block);
    return record(std::make_unique<UpsampleOperation>(), {x}, tensor(x).name + ".upsampled", out);
}

Value Graph::add(Value a, Value b) {
    const Features s = tensor(a).shape, t = tensor(b).shape;
    if (s.n != t.n || s.c != t.c || s.h != t.h || s.w != t.w)
        fail("add: ", tensor(a).name, " is ", describe(s), " but ", tensor(b).name, " is ", describe(t));
    const Features out = dense_features(s.n, s.c, s.h, s.w, s.block);
    return record(std::make_unique<AddOperation>(), {a, b}, tensor(a).name + "+" + tensor(b).name, out);
}

Value Graph::copy(Value x) {
    const Features s = tensor(x).shape;
    return record(std::make_unique<CopyOperation>(), {x}, tensor(x).name + ".copy",
                  dense_features(s.n, s.c, s.h, s.w, s.block));
}

bool Graph::can_become_slice(Value x) const {
    const Tensor& t = tensor(x);
    if (t.producer < 0 || t.root != x.id || operations_[t.producer]->kind() == "concatenate") return false;
    return std::none_of(operations_.begin(), operations_.end(), [&](const auto& operation) {
        const auto& inputs = operation->inputs;
        return operation->dense_only() &&
               (operation->output == x.id || std::find(inputs.begin(), inputs.end(), x.id) != inputs.end());
    });
}

Value Graph::concatenate(const std::vector<Value>& values) {
    if (values.empty()) fail("concatenate: no values");
    Features whole = tensor(values[0]).shape;
    whole.c = 0;
    std::string name;
    for (Value value : values) {
        const Features& s = tensor(value).shape;
        if (s.n != whole.n || s.h != whole.h || s.w != whole.w || s.block != whole.block)
            fail("concatenate: ", tensor(value).name, " is ", describe(s), " in blocks of ", s.block, " but ",
                 tensor(values[0]).name, " is ", describe(tensor(values[0]).shape), " in blocks of ",
                 whole.block);
        if (s.c > INT_MAX - whole.c) fail("concatenate: more channels than can be counted; give fewer");
        whole.c += s.c;
        name += (name.empty() ? "[" : ", ") + tensor(value).name;
    }
    whole.image_stride = whole.image_size();

    std::vector<Value> slices;
    for (Value value : values) {
        const bool repeated =
            std::any_of(slices.begin(), slices.end(), [&](Value s) { return s.id == value.id; });
        slices.push_back(!repeated && can_become_slice(value) ? value : copy(value));
    }
    const Value result = record(std::make_unique<ConcatenateOperation>(), slices, name + "]", whole);
    int channel = 0;
    for (Value slice : slices) {
        Tensor& t = tensors_[slice.id];
        t.root = result.id;
        t.channel = channel;
        t.shape.image_stride = whole.image_stride;
        channel += t.shape.c;
    }
    return result;
}

Value Graph::parameter_map(Value raw, const ParameterMap& map, int maps) {
    const Features in = tensor(raw).shape;
    if (in.block != 1) fail("parameter map: the raw output must be planar, but lies in blocks of ", in.block);
    if (maps > in.c) fail("parameter map: ", maps, " maps from ", in.c, " channels");
    return record(std::make_unique<ParameterMapOperation>(map), {raw}, "lambda",
                  dense_features(in.n, maps, in.h, in.w, 1));
}

/// The solver's tensors must be dense, and the problem's solves, size and map are theirs.
void Graph::take_sizes(PdhgProblem& problem, Value& z, Value& lambda) {
    const Features image = tensor(z).shape, map = tensor(lambda).shape;
    if (image.c != 1 || map.n != image.n || map.h != image.h || map.w != image.w || map.c > 2)
        fail("denoise: images ", describe(image), " do not go with maps ", describe(map));
    if (tensor(z).root != z.id) z = copy(z);
    if (tensor(lambda).root != lambda.id) lambda = copy(lambda);
    problem.solves = image.n;
    problem.solves_per_image = 1;
    problem.height = image.h;
    problem.width = image.w;
    problem.map = map.c == 1 ? MapKind::shared : MapKind::separate;
}

Value Graph::denoise(Value z, Value lambda, PdhgProblem problem, int iterations, const GradientMode& mode) {
    take_sizes(problem, z, lambda);
    return record(std::make_unique<DenoiseOperation>(problem, iterations, mode), {z, lambda}, "denoised",
                  dense_features(problem.solves, 1, problem.height, problem.width, 1));
}

std::vector<int> Graph::step_parameters(const StepTraining& training) {
    std::vector<int> result;
    for (std::size_t kind = 0; kind < step_parameter_names.size(); ++kind) {
        result.push_back(parameter(step_parameter_names[kind], {training.count}, 1));
        parameters_[result.back()].start = training.start[kind];
    }
    return result;
}

Value Graph::denoise_with_steps(Value z, Value lambda, PdhgProblem problem, int iterations,
                                const StepTraining& training) {
    take_sizes(problem, z, lambda);
    auto operation = std::make_unique<DenoiseWithStepsOperation>(problem, iterations, training);
    operation->parameters = step_parameters(training);
    return record(std::move(operation), {z, lambda}, "denoised",
                  dense_features(problem.solves, 1, problem.height, problem.width, 1));
}

Value Graph::loss(Value x, Value target, LossKind kind) {
    const Features s = tensor(x).shape, t = tensor(target).shape;
    if (s.n != t.n || s.c != t.c || s.h != t.h || s.w != t.w)
        fail("loss: the image is ", describe(s), " but the target is ", describe(t));
    if (tensor(target).requires_gradient)
        fail("loss: the target '", tensor(target).name, "' gets no gradient");
    return record(std::make_unique<LossOperation>(kind), {x, target}, "loss", dense_features(1, 1, 1, 1, 1));
}

}  // namespace tvmap
