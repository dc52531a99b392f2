#include "engine/graph/solver_mapping.h"

#include <string>

#include "engine/graph/algorithms.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// Where the outcome is kept among the algorithms.
std::string key_of(const Backend& backend, const PdhgProblem& problem) {
    const char* map = problem.map == MapKind::scalar   ? "scalar"
                      : problem.map == MapKind::shared ? "shared map"
                                                       : "separate maps";
    return text(backend.algorithm_key(), " | solver ", problem.solves, "x", problem.height, "x",
                problem.width, ", ", map);
}

}  // namespace

bool settle_solver_mapping(Backend& backend, Algorithms& algorithms, const PdhgProblem& problem) {
    const std::string key = key_of(backend, problem), kept = algorithms.find(key);
    const bool borrows = algorithms.borrows() && problem.solves > 2;
    const bool times = algorithms.untimed() == Algorithms::Untimed::time && !borrows;
    std::string remark;
    const std::string choice = backend.settle_pdhg_mapping(problem, kept, times, &remark);
    if (!remark.empty()) algorithms.note(remark);
    if (!choice.empty()) algorithms.store(key, choice);
    return !choice.empty() && choice != kept;
}

void settle_solver_mapping(Backend& backend, const PdhgProblem& problem) {
    if (backend.name() == "cpu") return;
    Algorithms algorithms = Algorithms::of_machine();
    if (settle_solver_mapping(backend, algorithms, problem)) algorithms.save_for_machine();
}

}  // namespace tvmap
