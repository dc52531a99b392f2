// The solver's options, the same for every command that runs it.
#pragma once
#include <optional>
#include <string>

#include "apps/options/arrays.h"
#include "apps/program/command.h"
#include "engine/config/config.h"

namespace tvmap {

struct SolverOptions {
    SolverConfig solver;
    int repeat = 1;

    void add(CLI::App& command);

    /// The options as given. exact_norm: where --norm is not, it is auto. Throws UsageError.
    SolverConfig config(bool exact_norm = false) const;

  private:
    std::string start_ = "zero", boundary_ = "periodic";
    std::optional<std::string> norm_;
};

/// What messages about a key of the configuration call it: solver.tau is --tau, solver.implicit.cap
/// --implicit-cap.
KeyPlace option_names();

/// Images and parameter of one problem, and how to solve it.
struct ProblemOptions {
    std::string input, lambda, lambda_y;
    ImageOptions reading;
    SolverOptions solver;

    /// The images and the parameter alone; the solver's options are added by themselves.
    void add(CLI::App& command);
};

struct GivenProblem {
    InputImages images;
    Map lambda;
};

/// Reads and checks all that the options name.
GivenProblem read_problem(const ProblemOptions& options, const SolverConfig& solver);

}  // namespace tvmap
