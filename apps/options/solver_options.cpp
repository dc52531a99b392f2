#include "apps/options/solver_options.h"

#include <algorithm>
#include <optional>

#include "apps/program/command_table.h"
#include "engine/files/decimal.h"

namespace tvmap {

void SolverOptions::add(CLI::App& command) {
    add_number(command, "--iterations", solver.iterations, "steps T");
    command.add_option("--start", start_, "first dual iterate p; image: the noisy image")
        ->check(CLI::IsMember({"zero", "image"}))
        ->capture_default_str();
    command.add_option("--norm", norm_, "L, whose inverse tau and sigma are; auto: exact")
        ->type_name("FLOAT|auto")
        ->default_str("3");
    add_number(command, "--tau", solver.tau, "primal step; 0: 1 / L");
    add_number(command, "--sigma", solver.sigma, "dual step; 0: 1 / L");
    add_number(command, "--theta", solver.theta, "extrapolation, 0 to 1");
    command
        .add_option("--boundary", boundary_,
                    "what lies beyond the image's sides: the opposite side, or no difference")
        ->check(CLI::IsMember({"periodic", "neumann"}))
        ->capture_default_str();
    add_number(command, "--repeat", repeat, "runs; the reported time is their median, without files", 1,
               1000000);
}

SolverConfig SolverOptions::config(bool exact_norm) const {
    SolverConfig config = solver;
    config.dual_start = start_ == "image" ? DualStart::image : DualStart::zero;
    config.boundary = boundary_ == "neumann" ? Boundary::neumann : Boundary::periodic;
    config.norm_auto = norm_ ? *norm_ == "auto" : exact_norm;
    if (config.norm_auto || !norm_) return config;
    const std::optional<double> norm = parse_float32(*norm_);
    if (!norm) throw UsageError(text("--norm ", *norm_, ": give a number or auto"));
    config.norm = *norm;
    return config;
}

KeyPlace option_names() {
    return [](const std::string& key) {
        if (key == "solver.dual_start") return std::string("--start");
        std::string name = key.substr(key.find('.') + 1);
        std::replace(name.begin(), name.end(), '.', '-');
        return "--" + name;
    };
}

void ProblemOptions::add(CLI::App& command) {
    command.add_option("input", input, "a picture (colours one by one) or .npy, H×W or N×H×W")
        ->type_name(value::file)
        ->required();
    command.add_option("--lambda", lambda, "a number, or a .npy map H×W or 2×H×W (vertical, horizontal)")
        ->type_name(value::number_or_file)
        ->required();
    reading.add(command);
    command.add_option("--lambda-y", lambda_y, "the horizontal part; --lambda is then the vertical one")
        ->type_name(value::number_or_file);
}

GivenProblem read_problem(const ProblemOptions& options, const SolverConfig& solver) {
    GivenProblem problem;
    problem.images = read_images(options.input, options.reading);
    problem.lambda = read_map(options.lambda, options.lambda_y, problem.images.height, problem.images.width);
    solver_problem(solver, problem.images, problem.lambda, option_names());
    return problem;
}

}  // namespace tvmap
