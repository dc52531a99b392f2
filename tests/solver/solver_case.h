// Small problems for tests of the solver on whole arrays.
#pragma once
#include <cmath>
#include <memory>
#include <vector>

#include "engine/solver/solver.h"

namespace solver_case {

using namespace tvmap;

inline Backend& backend() {
    static const std::unique_ptr<Backend> cpu = make_backend("cpu");
    return *cpu;
}

/// Steps and noise, the same each time, no two images alike.
inline ImageStack images(int n, int height, int width, double shift = 0) {
    ImageStack stack{n, height, width, {}};
    for (int i = 0; i < n * height * width; ++i)
        stack.values.push_back(
            float((i / 7 % 3) * 0.3 + 0.2 * std::sin(12.9898 * i + 78.233 * std::cos(3.1 * i) + shift)));
    return stack;
}

inline Map map_of(MapKind kind, int height, int width) {
    Map lambda{kind, {}};
    const int count = kind == MapKind::scalar ? 1 : (kind == MapKind::shared ? 1 : 2) * height * width;
    for (int i = 0; i < count; ++i) lambda.values.push_back(float(0.06 + 0.03 * std::cos(1.7 * i)));
    return lambda;
}

inline SolverConfig steps(int iterations) {
    SolverConfig solver;
    solver.iterations = iterations;
    return solver;
}

}  // namespace solver_case
