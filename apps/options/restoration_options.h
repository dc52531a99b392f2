// The options of solve and gradient that name another problem than denoising by total variation.
#pragma once
#include <string>

#include "apps/options/solver_options.h"
#include "engine/solver/family_solver.h"

namespace tvmap {

struct RestorationOptions {
    std::string regulariser = "tv", operator_name = "identity";
    std::string lambda0, mask, kernel;
    int factor = 0;  ///< 0: not given
    double threshold = 0;
    double gain = 0, read_out = 0;  ///< gain 0: not given

    void add(CLI::App& command);
    /// Those without --lambda0, for commands that choose λ themselves.
    void add_problem(CLI::App& command);

    /// Whether they ask for something that engine/solver/solver.h does not do.
    bool wanted() const { return regulariser != "tv" || operator_name != "identity"; }
    /// Whether steps want the exact norm where none is given: weights above 1 take shorter ones than the usual norm's.
    bool wants_exact_norm() const { return operator_name == "poisson"; }

    /// Throws UsageError for options that belong to others, of which none is wanted.
    void refuse_left_over() const;
    /// Files that the options name: maps, weights, kernel.
    std::vector<std::string> files() const { return {lambda0, mask, kernel}; }

    /// How the images were observed; `solver` gets the regulariser. Throws UsageError for options that do not go together.
    Observation read_observation(SolverConfig& solver, const InputImages& input) const;

    /// All that the options name, read and checked; `solver` gets the regulariser. Throws UsageError for options that do
    /// not go together.
    Restoration read(const ProblemOptions& problem, SolverConfig& solver, InputImages& input) const;
};

/// The images of a restoration as write_images takes them: like the input, but of the restored size.
InputImages restored_images(const InputImages& input, const Restoration& given);

}  // namespace tvmap
