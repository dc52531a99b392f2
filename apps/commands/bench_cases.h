// What `tvmap bench` measures: every operation of a backend on the shapes of the reference network, the network's
// step and the whole training step.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/backend.h"

namespace tvmap {

/// One operation on one shape, ready to be queued.
struct BenchCase {
    std::string shape;
    double bytes = 0;       ///< least possible traffic: each input read once, each output written once
    double operations = 0;  ///< of the plain algorithm; 0: not counted
    std::string algorithm;  ///< what computes it, where there is a choice
    std::function<void()> run;
};

struct BenchOptions {
    int size = 256, batch = 1, iterations = 256;
};

/// Operations by name. Making a case is put off until its turn, so that only one holds memory at a time. The
/// backend must outlive them.
std::vector<std::pair<std::string, std::function<BenchCase()>>> bench_cases(Backend& backend,
                                                                            const BenchOptions& options);

}  // namespace tvmap
