#include "engine/graph/receptive_field.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/base/error.h"

namespace tvmap {
namespace {

void join(std::optional<Places>& all, const Places& more) {
    all = all ? Places{std::min(all->first, more.first), std::max(all->last, more.last)} : more;
}

}  // namespace

Places receptive_field(const Graph& graph, Value value, Value input, Places places) {
    const auto& tensors = graph.tensors();
    std::vector<std::optional<Places>> needed(tensors.size());  // of each tensor
    needed[value.id] = places;
    for (auto at = graph.operations().rbegin(); at != graph.operations().rend(); ++at) {
        const Operation& operation = **at;
        if (const auto& of_output = needed[operation.output])
            for (std::size_t i = 0; i < operation.inputs.size(); ++i)
                join(needed[operation.inputs[i]], operation.reads(int(i), *of_output));
    }
    std::optional<Places> field = needed[input.id];
    if (!field)
        fail("receptive field: '", graph.tensor(value).name, "' does not depend on '",
             graph.tensor(input).name, "'");
    for (std::size_t t = 0; t < tensors.size(); ++t) {
        const std::int64_t scale = graph.tensor(input).shape.h / tensors[t].shape.h;
        if (needed[t] && tensors[t].producer >= 0)
            join(field, {needed[t]->first * scale, (needed[t]->last + 1) * scale - 1});
    }
    return *field;
}

}  // namespace tvmap
