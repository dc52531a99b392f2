#include "apps/solver_options.h"

#include <algorithm>

namespace tvmap {

void SolverOptions::add(CLI::App& command) {
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

SolverConfig SolverOptions::config() const {
    SolverConfig config = solver;
    config.dual_start = start_ == "image" ? DualStart::image : DualStart::zero;
    config.boundary = boundary_ == "neumann" ? Boundary::neumann : Boundary::periodic;
    config.norm_auto = norm_ == "auto";
    if (!config.norm_auto && !CLI::detail::lexical_cast(norm_, config.norm))
        throw UsageError(text("--norm ", norm_, ": give a number or auto"));
    return config;
}

KeyPlace option_names() {
    return [](const std::string& key) {
        std::string name = key.substr(key.find('.') + 1);
        std::replace(name.begin(), name.end(), '.', '-');
        return "--" + name;
    };
}

void ProblemOptions::add(CLI::App& command) {
    command.add_option("input", input, "a picture (colours one by one) or .npy, H×W or N×H×W")->required();
    command.add_option("--lambda", lambda, "a number, or a .npy map H×W or 2×H×W (vertical, horizontal)")
        ->required();
    reading.add(command);
    command.add_option("--lambda-y", lambda_y, "the horizontal part; --lambda is then the vertical one");
}

GivenProblem read_problem(const ProblemOptions& options, const SolverConfig& solver) {
    GivenProblem problem;
    problem.images = read_images(options.input, options.reading);
    problem.lambda =
        read_regularisation(options.lambda, options.lambda_y, problem.images.height, problem.images.width);
    solver_problem(solver, problem.images, problem.lambda, option_names());
    return problem;
}

}  // namespace tvmap
