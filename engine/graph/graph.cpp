#include "engine/graph/graph.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "kernels/base/sizes.h"

namespace tvmap {
namespace {

void check_size(const std::string& name, const Features& s) {
    checked_product(text("tensor '", name, "', bytes").c_str(), s.n, s.c, s.h, s.w, sizeof(float));
}

}  // namespace

Places Operation::reads(int, Places) const {
    fail(kind(),
         ": does not say which places of its inputs it reads; pass the image through the network as a whole");
}

std::int64_t Graph::parameter_count() const {
    std::int64_t count = 0;
    for (const Parameter& p : parameters_) count += p.size;
    return count;
}

Features Graph::features(int n, int c, int h, int w) const {
    const bool blocked = block_ > 1 && c % block_ == 0;
    return dense_features(n, c, h, w, blocked ? block_ : 1, blocked ? element_ : Element::fp32);
}

int Graph::parameter(const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t fan_in,
                     const ParameterStart& start) {
    for (int i = 0; i < int(parameters_.size()); ++i)
        if (parameters_[i].name == name) {
            if (parameters_[i].shape != shape)
                fail("parameter '", name, "' is used with two different shapes");
            return i;
        }
    Parameter p{name, shape, parameter_count(), 1, fan_in, start};
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

Value Graph::record(std::unique_ptr<Operation> operation, const std::vector<Value>& inputs,
                    const std::string& name) {
    if (!operations_.empty() && operations_.back()->is_loss())
        fail(operation->kind(), " '", name, "': the loss is recorded last; record this before it");
    operation->inputs.clear();
    for (Value input : inputs) operation->inputs.push_back(input.id);
    check_inputs(*operation, name);
    const Features shape = operation->output_shape(*this);
    if (shape.n < 1 || shape.c < 1 || shape.h < 1 || shape.w < 1)
        fail(operation->kind(), " '", name, "': the result would be ", shape_text(shape),
             "; use larger images or a network that halves less often");
    check_size(name, shape);
    if (operation->joins_inputs()) check_joined(*operation, name, shape);
    check_element(*operation, name, {.name = name, .shape = shape});
    const int id = int(tensors_.size());
    bool requires_gradient = !operation->parameters.empty();
    for (Value input : inputs) requires_gradient = requires_gradient || tensor(input).requires_gradient;
    operation->output = id;
    tensors_.push_back({name, shape, int(operations_.size()), id, 0, requires_gradient});
    operations_.push_back(std::move(operation));
    if (operations_.back()->joins_inputs()) join(*operations_.back());
    return {id};
}

void Graph::check_inputs(const Operation& operation, const std::string& name) const {
    const std::vector<int>& inputs = operation.inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        if (inputs[i] < 0 || inputs[i] >= int(tensors_.size()))
            fail(operation.kind(), " '", name, "': input ", i, " is no value of this graph");
        const Tensor& x = tensors_[inputs[i]];
        check_element(operation, name, x);
        if (operation.dense_only() && x.root != inputs[i])
            fail(operation.kind(), " '", name, "': '", x.name, "' is a slice of '", tensors_[x.root].name,
                 "', which is not dense; give a copy of it");
        const bool again = std::find(inputs.begin(), inputs.begin() + i, inputs[i]) != inputs.begin() + i;
        if (operation.joins_inputs() && (again || !can_become_slice({inputs[i]})))
            fail(operation.kind(), " '", name, "': '", x.name, "' cannot lie in the result",
                 again ? " twice" : "", "; give a copy of it");
    }
}

void Graph::check_element(const Operation& operation, const std::string& name, const Tensor& t) const {
    if (t.shape.element != Element::fp32 && !operation.works_in_bf16())
        fail(operation.kind(), " '", name, "': '", t.name, "' is ", layout_text(t.shape),
             ", which it cannot work on; use network.precision: fp32");
}

bool Graph::can_become_slice(Value x) const {
    const Tensor& t = tensor(x);
    if (t.producer < 0 || t.root != x.id || operations_[t.producer]->joins_inputs()) return false;
    return std::none_of(operations_.begin(), operations_.end(), [&](const auto& operation) {
        const auto& inputs = operation->inputs;
        return operation->dense_only() &&
               (operation->output == x.id || std::find(inputs.begin(), inputs.end(), x.id) != inputs.end());
    });
}

void Graph::check_joined(const Operation& operation, const std::string& name, const Features& whole) const {
    std::int64_t channels = 0;
    for (int input : operation.inputs) {
        const Features& s = tensors_[input].shape;
        channels += s.c;
        if (s.n != whole.n || s.h != whole.h || s.w != whole.w || s.block != whole.block ||
            s.element != whole.element)
            fail(operation.kind(), " '", name, "': ", layout_text(s), " is no slice of ", layout_text(whole));
    }
    if (channels != whole.c || !whole.dense())
        fail(operation.kind(), " '", name, "': ", channels, " channels do not make up a dense ",
             shape_text(whole));
}

/// Puts the inputs into slices of the output.
void Graph::join(const Operation& operation) {
    const Features& whole = tensors_[operation.output].shape;
    int channel = 0;
    for (int input : operation.inputs) {
        Tensor& t = tensors_[input];
        t.root = operation.output;
        t.channel = channel;
        t.shape.image_stride = whole.image_stride;
        channel += t.shape.c;
    }
}

}  // namespace tvmap
