// The solver's options, the same for every command that runs it.
#pragma once
#include <map>
#include <string>

#include "apps/command.h"
#include "engine/config.h"

namespace tvmap {

struct SolverOptions {
    SolverConfig solver;
    int repeat = 1;

    void add(CLI::App& command) {
        command.add_option("--iterations", solver.iterations, "steps T")->capture_default_str();
        command.add_option("--start", start_, "first dual iterate p: zero or image")
            ->check(CLI::IsMember({"zero", "image"}))
            ->capture_default_str();
        command.add_option("--norm", norm_, "L, whose inverse tau and sigma are: a number, or auto (exact)")
            ->capture_default_str();
        command.add_option("--tau", solver.tau, "primal step (default: 1 / L)");
        command.add_option("--sigma", solver.sigma, "dual step (default: 1 / L)");
        command.add_option("--theta", solver.theta, "extrapolation, 0 to 1")->capture_default_str();
        command.add_option("--boundary", boundary_, "periodic or neumann")
            ->check(CLI::IsMember({"periodic", "neumann"}))
            ->capture_default_str();
        command.add_option("--repeat", repeat, "runs; the reported time is their median, without files")
            ->check(CLI::Range(1, 1000000))
            ->capture_default_str();
    }

    /// The options as given. Throws UsageError.
    SolverConfig config() const {
        SolverConfig config = solver;
        config.dual_start = start_ == "image" ? DualStart::image : DualStart::zero;
        config.boundary = boundary_ == "neumann" ? Boundary::neumann : Boundary::periodic;
        config.norm_auto = norm_ == "auto";
        if (!config.norm_auto && !CLI::detail::lexical_cast(norm_, config.norm))
            throw UsageError(text("--norm ", norm_, ": give a number or auto"));
        return config;
    }

  private:
    std::string start_ = "zero", norm_ = "3", boundary_ = "periodic";
};

}  // namespace tvmap
