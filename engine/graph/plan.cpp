#include "engine/graph/plan.h"

#include <algorithm>
#include <cstring>
#include <iomanip>
#include <iterator>
#include <numeric>
#include <set>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/shapes.h"

namespace tvmap {
namespace {

/// Bytes from the first to past the last number of a tensor.
std::size_t bytes_of(const Features& s) { return aligned(element_bytes(s.element) * s.size()); }

/// The numbers from channel `from` on of images from `root` on; those before are whole blocks.
View from_channel(std::byte* root, const Features& shape, int from) {
    const std::int64_t numbers = std::int64_t(from) * shape.h * shape.w;
    return {at_byte(reinterpret_cast<float*>(root), numbers * std::int64_t(element_bytes(shape.element))),
            shape};
}

}  // namespace

/// Which channels of a gradient hold a contribution already, while the backward pass is derived.
struct Plan::GradientState {
    std::vector<bool> written;  ///< by channel of the root

    explicit GradientState(int channels) : written(channels, false) {}

    int count(int from, int to) const {
        return int(std::count(written.begin() + from, written.begin() + to, true));
    }
    void mark(int from, int to) { std::fill(written.begin() + from, written.begin() + to, true); }

    /// The runs of channels in [from, to) that hold nothing yet.
    std::vector<std::pair<int, int>> gaps(int from, int to) const {
        std::vector<std::pair<int, int>> result;
        for (int c = from; c < to; ++c) {
            if (written[c]) continue;
            if (!result.empty() && result.back().second == c)
                result.back().second = c + 1;
            else
                result.push_back({c, c + 1});
        }
        return result;
    }
};

Plan::Plan(Graph graph, Backend& backend, Algorithms& algorithms, bool training)
    : graph_(std::move(graph)), backend_(backend), training_(training) {
    if (training && (graph_.operations().empty() || !graph_.operations().back()->is_loss()))
        fail("plan: a graph that is trained must end in a loss");
    for (const auto& operation : graph_.operations()) {
        for (const KernelId& kernel : operation->kernels())
            require_kernel(backend, kernel,
                           text(operation->kind(), " '", graph_.tensors()[operation->output].name, "'"));
        operation->prepare(backend, algorithms, graph_, training);
        if (operation->is_loss() && operation->saved_bytes < sizeof(double))
            fail("plan: ", operation->kind(), " saves ", operation->saved_bytes,
                 " bytes; a loss saves itself, a double");
    }
    if (training) derive_backward();
    find_lifetimes();
    place();
}

// Backward in reverse order of recording. The first contribution to a gradient overwrites, later ones
// accumulate; where a contribution covers channels of both kinds (a slice was written, its neighbour was
// not), the empty ones start from zero.
void Plan::derive_backward() {
    const auto& tensors = graph_.tensors();
    const auto& operations = graph_.operations();
    std::vector<GradientState> state;
    for (const auto& t : tensors) state.emplace_back(t.shape.c);
    std::vector<bool> parameter_written(graph_.parameters().size(), false);

    for (int o = int(operations.size()) - 1; o >= 0; --o) {
        const Operation& operation = *operations[o];
        const Graph::Tensor& y = tensors[operation.output];
        BackwardStep step{
            o, std::vector<Write>(operation.inputs.size(), Write::overwrite), {}, Write::overwrite, {}};
        if (!operation.is_loss()) {
            const int from = y.channel, to = y.channel + y.shape.c;
            if (!y.requires_gradient || state[y.root].count(from, to) == 0)
                continue;  // the loss does not depend on it
            for (auto gap : state[y.root].gaps(from, to)) step.clears.push_back({y.root, gap});
            state[y.root].mark(from, to);
        }
        if (operation.joins_inputs()) {
            if (!step.clears.empty()) backward_.push_back(step);
            continue;
        }
        for (std::size_t i = 0; i < operation.inputs.size(); ++i) {
            const Graph::Tensor& x = tensors[operation.inputs[i]];
            if (!x.requires_gradient) continue;
            GradientState& gradient = state[x.root];
            const int from = x.channel, to = x.channel + x.shape.c;
            if (gradient.count(from, to) > 0) {
                step.writes[i] = Write::accumulate;
                for (auto gap : gradient.gaps(from, to)) step.clears.push_back({x.root, gap});
            }
            gradient.mark(from, to);
        }
        const auto written = [&](int p) { return parameter_written[p]; };
        if (std::any_of(operation.parameters.begin(), operation.parameters.end(), written)) {
            step.parameter_write = Write::accumulate;
            std::remove_copy_if(operation.parameters.begin(), operation.parameters.end(),
                                std::back_inserter(step.clear_parameters), written);
        }
        for (int p : operation.parameters) parameter_written[p] = true;
        backward_.push_back(step);
    }
    for (std::size_t p = 0; p < parameter_written.size(); ++p)
        if (!parameter_written[p]) unused_parameters_.push_back(int(p));
    for (std::size_t t = 0; t < tensors.size(); ++t)
        if (tensors[t].producer < 0 && tensors[t].requires_gradient &&
            state[t].count(0, tensors[t].shape.c) == 0)
            unused_inputs_.push_back(int(t));
}

void Plan::find_lifetimes() {
    const auto& tensors = graph_.tensors();
    const auto& operations = graph_.operations();
    const int forward_steps = int(operations.size());
    const int end = training_ ? 2 * forward_steps - 1 : forward_steps - 1;
    value_block_.assign(tensors.size(), -1);
    gradient_block_.assign(tensors.size(), -1);
    saved_block_.assign(operations.size(), -1);
    forward_work_.assign(operations.size(), -1);
    backward_work_.assign(operations.size(), -1);

    auto use = [&](std::vector<int>& block_of, int owner, const std::string& purpose, int step) {
        if (block_of[owner] < 0) {
            block_of[owner] = int(blocks_.size());
            const Graph::Tensor& t = tensors[owner];
            blocks_.push_back({t.name, purpose, t.shape, bytes_of(t.shape), 0, step, step});
        }
        Block& block = blocks_[block_of[owner]];
        block.first = std::min(block.first, step);
        block.last = std::max(block.last, step);
    };
    auto scratch = [&](int& block, int o, const std::string& purpose, std::size_t bytes, int first,
                       int last) {
        if (bytes == 0) return;
        block = int(blocks_.size());
        blocks_.push_back({tensors[operations[o]->output].name, purpose, {}, aligned(bytes), 0, first, last});
    };

    // Inputs are filled before the first step and may be read after the last.
    for (std::size_t t = 0; t < tensors.size(); ++t)
        if (tensors[t].producer < 0)
            for (int step : {0, end}) use(value_block_, int(t), "input", step);
    for (int o = 0; o < forward_steps; ++o) {
        use(value_block_, tensors[operations[o]->output].root, "value", o);
        for (int input : operations[o]->inputs) use(value_block_, tensors[input].root, "value", o);
        scratch(forward_work_[o], o, "workspace", operations[o]->forward_workspace, o, o);
    }
    for (int kept : graph_.kept()) use(value_block_, tensors[kept].root, "value", end);

    std::vector<int> saved_until(operations.size());
    std::iota(saved_until.begin(), saved_until.end(), 0);
    for (const BackwardStep& b : backward_) {
        const int o = b.operation, step = 2 * forward_steps - 1 - o;
        const Operation& operation = *operations[o];
        if (!operation.is_loss()) use(gradient_block_, tensors[operation.output].root, "gradient", step);
        if (operation.backward_reads_output())
            use(value_block_, tensors[operation.output].root, "value", step);
        for (std::size_t i = 0; i < operation.inputs.size(); ++i) {
            const Graph::Tensor& x = tensors[operation.inputs[i]];
            if (operation.backward_reads_input(int(i))) use(value_block_, x.root, "value", step);
            if (x.requires_gradient) use(gradient_block_, x.root, "gradient", step);
            if (x.requires_gradient && x.producer < 0) use(gradient_block_, x.root, "gradient", end);
        }
        saved_until[o] = step;
        scratch(backward_work_[o], o, "workspace", operation.backward_workspace, step, step);
    }
    for (int input : unused_inputs_)
        for (int step : {forward_steps, end}) use(gradient_block_, input, "gradient", step);
    for (int o = 0; o < forward_steps; ++o)
        // The loss's saved numbers are read by whoever runs the plan.
        scratch(saved_block_[o], o, "saved", operations[o]->saved_bytes, o,
                operations[o]->is_loss() ? end : saved_until[o]);
}

// Largest block first, each at the lowest place where it meets no block that lives at the same time.
void Plan::place() {
    std::vector<int> order(blocks_.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return blocks_[a].bytes > blocks_[b].bytes; });
    std::vector<int> placed;  // sorted by offset
    for (int index : order) {
        Block& block = blocks_[index];
        std::size_t offset = 0;
        for (int other_index : placed) {
            const Block& other = blocks_[other_index];
            if (other.last < block.first || block.last < other.first) continue;
            if (offset + block.bytes <= other.offset) break;
            offset = std::max(offset, other.offset + other.bytes);
        }
        block.offset = offset;
        arena_bytes_ = std::max(arena_bytes_, offset + block.bytes);
        const auto place =
            std::upper_bound(placed.begin(), placed.end(), offset,
                             [&](std::size_t value, int other) { return value < blocks_[other].offset; });
        placed.insert(place, index);
    }
}

View Plan::tensor_view(int tensor, const std::vector<int>& block_of, std::byte* base) const {
    const Graph::Tensor& t = graph_.tensors()[tensor];
    const int block = block_of[t.root];
    if (block < 0) return {nullptr, t.shape};
    return from_channel(base + blocks_[block].offset, t.shape, t.channel);
}

void Plan::bind(const Arena& arena, const Parameters& parameters, int part) {
    if (arena.bytes() < arena_bytes_) fail("plan: an arena of ", arena.bytes(), " bytes for ", arena_bytes_);
    base_ = static_cast<std::byte*>(arena.memory());
    const auto& tensors = graph_.tensors();
    auto memory = [&](int block) { return block < 0 ? nullptr : base_ + blocks_[block].offset; };

    auto bound = [&](int o) {
        const Operation& operation = *graph_.operations()[o];
        Binding b;
        b.backend = &backend_;
        for (int input : operation.inputs) b.inputs.push_back(tensor_view(input, value_block_, base_));
        b.output = tensor_view(operation.output, value_block_, base_);
        for (int p : operation.parameters) b.parameters.push_back(parameters.weight(p));
        b.saved = memory(saved_block_[o]);
        return b;
    };

    forward_steps_.clear();
    backward_steps_.clear();
    for (int o = 0; o < int(graph_.operations().size()); ++o) {
        Step step{o, {}, {}, bound(o)};
        step.binding.workspace = memory(forward_work_[o]);
        forward_steps_.push_back(std::move(step));
    }
    for (const BackwardStep& derived : backward_) {
        const int o = derived.operation;
        const Operation& operation = *graph_.operations()[o];
        Step step{o, {}, {}, bound(o)};
        Binding& b = step.binding;
        b.d_output = tensor_view(operation.output, gradient_block_, base_);
        b.d_input_write = derived.writes;
        for (int input : operation.inputs) {
            View d_input = tensor_view(input, gradient_block_, base_);
            if (!tensors[input].requires_gradient) d_input.data = nullptr;
            b.d_inputs.push_back(d_input);
        }
        for (int p : operation.parameters) b.d_parameters.push_back(parameters.gradient(p, part));
        b.parameter_write = derived.parameter_write;
        for (int p : derived.clear_parameters)
            step.clear_memory.push_back(
                {parameters.gradient(p, part), sizeof(float) * graph_.parameters()[p].size});
        b.workspace = memory(backward_work_[o]);
        for (const auto& [root, channels] : derived.clears) {
            View some = from_channel(base_ + blocks_[gradient_block_[root]].offset, tensors[root].shape,
                                     channels.first);
            some.shape.c = channels.second - channels.first;
            step.clear.push_back(some);
        }
        backward_steps_.push_back(std::move(step));
    }
    clear_unused_.clear();
    if (training_)
        for (int p : unused_parameters_)
            clear_unused_.push_back(
                {parameters.gradient(p, part), sizeof(float) * graph_.parameters()[p].size});
    for (int input : unused_inputs_) {
        const View view = tensor_view(input, gradient_block_, base_);
        clear_unused_.push_back({view.data, bytes_of(view.shape)});
    }
}

void Plan::forward() {
    for (const Step& step : forward_steps_) graph_.operations()[step.operation]->forward(step.binding);
}

void Plan::backward() {
    for (const auto& [gradient, bytes] : clear_unused_) backend_.clear(gradient, bytes);
    for (const Step& step : backward_steps_) {
        for (const View& part : step.clear) backend_.fill(part, 0.0f);
        for (const auto& [gradient, bytes] : step.clear_memory) backend_.clear(gradient, bytes);
        graph_.operations()[step.operation]->backward(step.binding);
    }
}

View Plan::view(Value value) const { return tensor_view(value.id, value_block_, base_); }

View Plan::gradient(Value value) const { return tensor_view(value.id, gradient_block_, base_); }

const double* Plan::loss_in_memory() const {
    return static_cast<const double*>(forward_steps_.back().binding.saved);
}

double Plan::loss() const {
    double result = 0;
    backend_.download(&result, loss_in_memory(), sizeof result);
    return result;
}

int Plan::last_step() const { return int(graph_.operations().size()) * (training_ ? 2 : 1) - 1; }

std::size_t Plan::alive(int step) const {
    std::size_t bytes = 0;
    for (const Block& block : blocks_)
        if (block.first <= step && step <= block.last) bytes += block.bytes;
    return bytes;
}

int Plan::peak_step() const {
    int peak = 0;
    for (int step = 1; step <= last_step(); ++step)
        if (alive(step) > alive(peak)) peak = step;
    return peak;
}

std::string Plan::table() const {
    TextStream out;
    std::size_t width = 8;
    for (const Block& block : blocks_) width = std::max(width, block.name.size());
    std::vector<const Block*> order;
    for (const Block& block : blocks_) order.push_back(&block);
    std::stable_sort(order.begin(), order.end(), [](auto a, auto b) { return a->first < b->first; });
    out << std::left << std::setw(int(width)) << "tensor"
        << "  purpose    shape            " << std::right << std::setw(12) << "bytes" << std::setw(12)
        << "offset"
        << "  steps\n";
    for (const Block* block : order)
        out << std::left << std::setw(int(width)) << block->name << "  " << std::setw(9) << block->purpose
            << "  " << std::setw(block->shape.n ? 20 : 17)  // × is two bytes
            << (block->shape.n ? shape_text(block->shape) : "") << std::right << std::setw(12) << block->bytes
            << std::setw(12) << block->offset << "  " << block->first << "-" << block->last << "\n";

    out << "arena: " << arena_bytes_ << " bytes; most alive at once: " << alive(peak_step())
        << " bytes, in step " << peak_step() << " of 0-" << last_step() << "\n";
    return out.str();
}

}  // namespace tvmap
