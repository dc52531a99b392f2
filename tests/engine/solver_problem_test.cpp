// The solver's problem that follows from an experiment: steps from the norm, bounds, and the family's settings.
#include "engine/config/solver_problem.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "kernels/base/error.h"
#include "tests/support/refusal.h"

using namespace tvmap;

namespace {

Config config(const std::string& yaml) { return parse_config(yaml, "FILE", {}); }

std::string refused(const std::string& yaml) {
    return refusal([&] { config(yaml); });
}

}  // namespace

TEST_CASE("the solver's problem: steps from the norm, exact bound for a size") {
    SolverConfig solver;
    MapConfig map;
    const PdhgProblem problem = pdhg_problem(solver, map, 5, 6, 4);
    CHECK(problem.solves == 5);
    CHECK(problem.height == 6);
    CHECK(problem.width == 4);
    CHECK(problem.map == MapKind::shared);
    CHECK(problem.tau == 1.0f / 3.0f);
    CHECK(problem.sigma == 1.0f / 3.0f);
    CHECK(problem.theta == 1.0f);

    // Odd sides: L² = 1 + 4sin²(π/3) + 4sin²(2π/5) = 1 + 3 + 3.6180…; a norm below 3 is allowed here, and no
    // lower.
    solver.norm_auto = true;
    const double norm = std::sqrt(4 + 4 * std::pow(std::sin(2 * std::acos(-1.0) / 5), 2));
    CHECK(pdhg_problem(solver, map, 1, 3, 5).tau ==
          doctest::Approx(1 / norm).epsilon(1e-7));  // fp32 rounding
    solver.norm_auto = false;
    solver.norm = norm;
    CHECK_NOTHROW(pdhg_problem(solver, map, 1, 3, 5));
    CHECK_THROWS_AS(pdhg_problem(solver, map, 1, 4, 6), Error);
    solver.norm = norm * 0.999;
    CHECK_THROWS_AS(pdhg_problem(solver, map, 1, 3, 5), Error);

    solver = {};
    map.separate = true;
    solver.tau = 0.1;
    solver.dual_start = DualStart::image;
    CHECK(pdhg_problem(solver, map, 1, 4, 4).map == MapKind::separate);
    CHECK(pdhg_problem(solver, map, 1, 4, 4).tau == 0.1f);
    CHECK(pdhg_problem(solver, map, 1, 4, 4).dual_start == DualStart::image);
    CHECK_THROWS_AS(pdhg_problem(solver, map, 0, 4, 4), Error);
    CHECK_THROWS_AS(pdhg_problem(solver, map, 1, 0, 4), Error);
    solver.iterations = 0;
    CHECK_THROWS_AS(pdhg_problem(solver, map, 1, 4, 4), Error);
}

TEST_CASE("regularisers: their key comes back, the network's outputs follow the maps") {
    const struct {
        const char *name, *kind;
        int maps, outputs;
    } cases[] = {{"tv", "shared", 1, 2},    {"tv", "separate", 2, 2}, {"tv8", "shared", 1, 2},
                 {"tv8", "separate", 4, 4}, {"tgv", "shared", 2, 2},  {"tgv", "separate", 5, 5}};
    for (const auto& [name, kind, maps, outputs] : cases) {
        CAPTURE(std::string(name) + " " + kind);
        const Config read =
            config(std::string("solver: {regulariser: ") + name + "}\nmap: {kind: " + kind + "}\n");
        CHECK(is_plain(read.solver) == (std::string(name) == "tv"));
        CHECK(map_count(read.solver, read.map) == maps);
        CHECK(read.network.outputs == outputs);
        CHECK(config(read.to_yaml()).to_yaml() == read.to_yaml());
        CHECK(read.to_yaml().find(std::string("regulariser: ") + name) != std::string::npos);
    }
    CHECK(has(refused("solver: {regulariser: tgv3}"), "tv | tv8 | tgv"));
    CHECK(
        has(refused("solver: {regulariser: tgv, dual_start: image}"), "solver.dual_start: image goes with"));
    CHECK(has(refused("solver: {regulariser: tv8, train_steps: shared}"),
              "solver.train_steps: steps are learned"));
}

TEST_CASE("operators: their keys come back, their kernels add up to 1, what does not fit is refused") {
    const Config read =
        config("data: {size: 64}\nsolver: {operator: blur, blur: {size: 7, sigma: 1.5}, norm: auto}\n");
    CHECK_FALSE(is_plain(read.solver));
    CHECK(config(read.to_yaml()).to_yaml() == read.to_yaml());
    const std::vector<float> kernel = blur_kernel(read.solver.observation);
    REQUIRE(kernel.size() == 49);
    double sum = 0;
    for (const float value : kernel) sum += value;
    CHECK(sum == doctest::Approx(1).epsilon(1e-6));  // 49 values, each rounded by 6e-8 of itself
    CHECK(kernel[24] / kernel[25] == doctest::Approx(std::exp(1 / (2 * 1.5 * 1.5))).epsilon(1e-6));
    const SolverProblem problem = family_problem(read.solver, read.map, 1, 64, 64);
    CHECK(problem.gram_norm == doctest::Approx(gram_norm(problem, kernel.data())).epsilon(1e-12));
    CHECK(problem.own_start);
    const SolverProblem blocks = family_problem(
        config("solver: {operator: downsample, downsample: {factor: 4}}\n").solver, {}, 1, 64, 64);
    CHECK(blocks.factor == 4);
    CHECK(blocks.gram_norm == gram_norm(blocks, nullptr));
    CHECK_FALSE(family_problem(config("solver: {operator: mask}\n").solver, {}, 1, 64, 64).own_start);
    const SolverProblem counts = family_problem(
        config("solver: {operator: poisson}\nnoise: {relative_to: one}\n").solver, {}, 1, 64, 64);
    CHECK(counts.data == DataTerm::weights);
    CHECK(counts.own_start);
    CHECK(counts.gram_norm == most_weight);
    const std::pair<const char*, const char*> wrong[] = {
        {"solver: {operator: smear}", "identity | mask | blur | downsample | impulses | poisson"},
        {"solver: {operator: mask, mask: {missing: 1}}", "solver.mask.missing: 1 is impossible"},
        {"solver: {operator: blur, blur: {size: 4}}", "solver.blur.size: 4 has no middle"},
        {"solver: {operator: blur, blur: {size: 65}}", "solver.blur.size: 65 is too large"},
        {"solver: {operator: blur, blur: {size: 9}}\ntrain: {crop: 8}",
         "solver.blur.size: 9 is more than train.crop, 8"},
        {"solver: {operator: blur, blur: {sigma: 0}}", "solver.blur.sigma"},
        {"solver: {operator: downsample, downsample: {factor: 3}}",
         "solver.downsample.factor: 3 does not divide data.size"},
        {"solver: {operator: impulses, impulses: {share: 1}}", "solver.impulses.share: 1 is impossible"},
        {"solver: {operator: impulses, impulses: {threshold: -1}}",
         "solver.impulses.threshold: -1 is impossible"},
        {"solver: {operator: impulses, regulariser: tgv}", "solver.operator: impulses go with"},
        {"solver: {operator: impulses}\nnetwork: {normalise: noise}",
         "network.normalise: noise is estimated"},
        {"solver: {operator: poisson}", "noise.relative_to: a gain"},
        {"solver: {operator: poisson}\nnoise: {relative_to: one}\ndenoise: {colour: luminance}",
         "denoise.colour: counts"},
        {"solver: {operator: poisson, poisson: {gain: 0}}\nnoise: {relative_to: one}",
         "solver.poisson.gain: 0 … 0 is impossible"},
        {"solver: {operator: poisson, poisson: {gain: [0.1, 2]}}\nnoise: {relative_to: one}",
         "solver.poisson.gain: 0.1 … 2 is"},
        {"solver: {operator: mask, dual_start: image}", "solver.dual_start: image goes with"},
        {"solver: {operator: mask, train_steps: shared}", "solver.train_steps: steps are learned"}};
    for (const auto& [yaml, said] : wrong) {
        CAPTURE(yaml);
        CHECK(has(refused(std::string(yaml) + "\n"), said));
    }
}

TEST_CASE("the family's steps: exact norms, the proven bound, a warning above the classical one") {
    SolverConfig solver;
    solver.regulariser = Regulariser::tgv;
    solver.norm_auto = true;
    // L² = 9 + 2√2 on even sides.
    CHECK(family_problem(solver, {}, 1, 4, 6).tau ==
          doctest::Approx(1 / std::sqrt(9 + 2 * std::sqrt(2.0))).epsilon(1e-6));
    CHECK(solver_step_warning(family_problem(solver, {}, 1, 4, 6)) == "");
    solver.norm_auto = false;  // 3: the published setting, στL² = 1.314
    CHECK(solver_step_warning(family_problem(solver, {}, 1, 4, 6)).find("1.31") != std::string::npos);
    solver.norm = 2.9;  // 1.407 > 4/3
    CHECK_THROWS_AS(family_problem(solver, {}, 1, 4, 6), Error);
    solver.norm = 3;
    solver.theta = 0;  // proven up to 1 alone
    CHECK_THROWS_AS(family_problem(solver, {}, 1, 4, 6), Error);
    solver.regulariser = Regulariser::tv8;
    solver.theta = 1;
    CHECK(solver_step_warning(family_problem(solver, {}, 1, 4, 6)) == "");
    CHECK(has(refused("solver: {regulariser: tgv, norm: 2.9}"), "solver.norm: tau"));
    CHECK(has(refused("solver: {regulariser: tv, norm: 2.9}"), "solver.norm: tau"));
}
