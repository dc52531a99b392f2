#include "engine/solver_state.h"

#include <utility>

#include "engine/safetensors.h"
#include "kernels/error.h"

namespace tvmap {
namespace {

struct Part {
    const char* name;
    std::vector<float> SolverState::*values;
    std::vector<std::int64_t> shape;
};

std::vector<Part> parts(int images, int height, int width) {
    return {{"x", &SolverState::x, {images, height, width}},
            {"x_bar", &SolverState::x_bar, {images, height, width}},
            {"p", &SolverState::p, {images, height, width}},
            {"q", &SolverState::q, {images, 2, height, width}}};
}

std::string describe(const std::vector<std::int64_t>& shape) {
    std::string line;
    for (const std::int64_t side : shape) line += text(line.empty() ? "" : "×", side);
    return line.empty() ? "a single number" : line;
}

}  // namespace

SolverState read_solver_state(const std::string& path, int images, int height, int width) {
    SafeTensors file = read_safetensors(path);
    SolverState state;
    for (const Part& part : parts(images, height, width)) {
        const auto tensor = file.tensors.find(part.name);
        if (tensor == file.tensors.end())
            fail(path, ": holds no tensor ", part.name, "; give a state that solve --state-out has written");
        if (tensor->second.shape != part.shape)
            fail(path, ": ", part.name, " is ", describe(tensor->second.shape), " where these images need ",
                 describe(part.shape), "; give the state of a solve of images of this size");
        state.*part.values = std::move(tensor->second.values);
        check_finite(text(path, ": ", part.name), state.*part.values);
    }
    return state;
}

void write_solver_state(const std::string& path, SolverState state, int images, int height, int width) {
    SafeTensors file;
    for (const Part& part : parts(images, height, width))
        file.tensors[part.name] = {part.shape, std::move(state.*part.values)};
    write_safetensors(path, file);
}

}  // namespace tvmap
