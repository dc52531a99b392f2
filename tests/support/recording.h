// One description of a network for both sides: a generic function that is given a Recorder builds the
// engine's graph, given a reference::Tape it computes in double. The calls have the same names.
#pragma once
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/graph/operations.h"
#include "engine/graph/parameters.h"
#include "engine/graph/plan.h"
#include "tests/reference/network.h"

namespace tvmap::tests {

using reference::Doubles;
using reference::NamedDoubles;

/// Records on a graph what a Tape computes.
struct Recorder {
    using Value = tvmap::Value;
    Graph graph;

    explicit Recorder(int block, Element features = Element::fp32) : graph(block, features) {}
    Value convolution(Value x, const std::string& name, int channels, int kernel, double slope) {
        return tvmap::convolution(graph, x, name, channels, kernel, float(slope));
    }
    Value max_pool(Value x) { return tvmap::max_pool(graph, x); }
    Value upsample(Value x) { return tvmap::upsample(graph, x); }
    Value add(Value a, Value b) { return tvmap::add(graph, a, b); }
    Value concatenate(const std::vector<Value>& values) { return tvmap::concatenate(graph, values); }
    Value map_from_raw(Value raw, double scale, double up_bound, int maps) {
        return tvmap::map_from_raw(graph, raw, {float(scale), float(up_bound)}, maps);
    }
    Value denoise(Value z, Value lambda, const reference::Pdhg& solver) {
        PdhgProblem problem;
        problem.tau = float(solver.tau);
        problem.sigma = float(solver.sigma);
        problem.theta = float(solver.theta);
        problem.boundary = solver.neumann ? Boundary::neumann : Boundary::periodic;
        problem.dual_start = solver.start_at_image ? DualStart::image : DualStart::zero;
        return tvmap::denoise(graph, z, lambda, problem, solver.iterations);
    }
};

/// Numbers in [from, to), exact in single precision, the same on every machine.
inline Doubles random_values(std::mt19937& generator, std::size_t count, double from, double to) {
    Doubles values(count);
    for (double& v : values) v = float(from + (to - from) * double(generator() >> 8) / double(1 << 24));
    return values;
}

/// Weights as the networks start from, uniform in ±1/√fan_in.
inline NamedDoubles random_weights(std::mt19937& generator, const std::vector<Parameter>& list) {
    NamedDoubles weights;
    for (const Parameter& p : list) {
        const double bound = 1 / std::sqrt(double(p.fan_in));
        weights[p.name] = random_values(generator, std::size_t(p.size), -bound, bound);
    }
    return weights;
}

inline std::vector<float> to_float(const Doubles& values) { return {values.begin(), values.end()}; }

/// In the order of the list, one after the other.
inline Doubles flattened(const NamedDoubles& values, const std::vector<Parameter>& list) {
    Doubles all;
    for (const Parameter& p : list) all.insert(all.end(), values.at(p.name).begin(), values.at(p.name).end());
    return all;
}

inline double norm(const Doubles& a) {
    double sum = 0;
    for (double v : a) sum += v * v;
    return std::sqrt(sum);
}

/// ‖a − b‖₂ / ‖b‖₂.
template <class A>
double difference(const A& a, const Doubles& b) {
    Doubles d(b);
    if (std::size(a) != b.size()) return INFINITY;
    for (std::size_t k = 0; k < b.size(); ++k) d[k] = double(a[k]) - b[k];
    return norm(d) / (norm(b) > 0 ? norm(b) : 1);
}

/// The floats of a dense tensor.
inline std::vector<float> floats(View view) { return {view.data, view.data + view.shape.size()}; }

/// Fills a whole arena with NaNs, so that whatever is read before it is written shows.
inline void poison(const Arena& arena) { std::memset(arena.memory(), 0xff, arena.bytes()); }

inline void set_input(const Plan& plan, Value input, const Doubles& values) {
    const View view = plan.view(input);
    for (std::size_t k = 0; k < values.size(); ++k) view.data[k] = float(values[k]);
}

/// Gives every parameter its values.
inline void set_weights(Parameters& parameters, const NamedDoubles& weights) {
    parameters.set_host_weights(to_float(flattened(weights, parameters.list())));
}

}  // namespace tvmap::tests
