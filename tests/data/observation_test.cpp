// How experiments with an operator see their images: what is observed against plain loops, the same problem whether a
// graph, a trained network or whole arrays are asked, and a search for the best scalar.
#include "engine/data/observation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "engine/config/solver_problem.h"
#include "engine/data/noise.h"
#include "engine/graph/operations.h"
#include "engine/graph/plan.h"
#include "engine/graph/restore.h"
#include "engine/model/denoiser.h"
#include "engine/solver/family_solver.h"
#include "engine/solver/search.h"
#include "kernels/training/random.h"
#include "tests/support/refusal.h"

using namespace tvmap;

namespace {

constexpr int height = 12, width = 18;
constexpr std::size_t pixels = std::size_t(height) * width;
using Floats = std::vector<float>;

Floats clean_image(int seed) {
    Floats values(pixels);
    for (std::size_t i = 0; i < pixels; ++i)
        values[i] = 0.5f + 0.4f * std::sin(float(i * std::size_t(seed + 3) % 29) / 4);
    return values;
}

struct Seen {
    Floats clean, noisy, image, weights;
};
Seen observed(const ObservationConfig& o, std::uint32_t epoch, std::uint32_t number) {
    Seen seen{clean_image(int(number)), Floats(pixels), {}, Floats(pixels, -1.0f)};
    cpu::add_noise(7, epoch, number, std::int64_t(pixels), seen.clean.data(), 0.1f, seen.noisy.data());
    seen.image = seen.noisy;
    Observer(o).observe(7, epoch, number, height, width, 0.1f, seen.clean.data(), seen.image.data(),
                        seen.weights.data());
    return seen;
}

const Sight sights[] = {Sight::mask, Sight::blur, Sight::downsample, Sight::impulses, Sight::poisson};
bool solved(Regulariser r, Sight sight) { return r != Regulariser::tgv || sight != Sight::impulses; }

SolverConfig solver_of(Sight sight, Regulariser regulariser = Regulariser::tv) {
    SolverConfig solver;
    solver.observation = {.sight = sight, .missing = 0.6, .blur_size = 5, .blur_sigma = 1.1, .factor = 2};
    solver.regulariser = regulariser;
    solver.iterations = 30;
    solver.norm_auto = true;
    return solver;
}

/// The same observation as whole arrays are given it.
Restoration whole(const SolverConfig& solver, const Seen& seen, const Map& lambda) {
    return observed_image(solver.observation, {1, height, width, seen.image}, seen.weights.data(), lambda);
}

}  // namespace

TEST_CASE(
    "a mask hides so many pixels, each image's and epoch's its own, and leaves the others as they are") {
    ObservationConfig o{.sight = Sight::mask, .missing = 0.6};
    double hidden = 0;
    for (std::uint32_t number = 0; number < 40; ++number) {
        const Seen seen = observed(o, 3, number);
        for (std::size_t i = 0; i < pixels; ++i) {
            CHECK((seen.weights[i] == 0.0f || seen.weights[i] == 1.0f));
            CHECK(seen.image[i] == (seen.weights[i] == 0.0f ? 0.0f : seen.noisy[i]));
            hidden += 1 - seen.weights[i];
        }
    }
    // 8,640 draws: five standard deviations of the mean are 0.027.
    CHECK(std::abs(hidden / (40 * double(pixels)) - 0.6) < 0.027);
    const Seen seen = observed(o, 3, 1);
    CHECK(observed(o, 3, 1).weights == seen.weights);
    CHECK(observed(o, 3, 2).weights != seen.weights);
    CHECK(observed(o, 4, 1).weights != seen.weights);
    o.missing = 0;
    CHECK(observed(o, 3, 1).image == seen.noisy);
}

TEST_CASE("blur and blocks act on the clean image, the noise is the same as without them") {
    const ObservationConfig blur{.sight = Sight::blur, .blur_size = 5, .blur_sigma = 1.1},
        blocks{.sight = Sight::downsample, .factor = 3};
    const Seen blurred = observed(blur, 1, 5), coarse = observed(blocks, 1, 5);
    double sum = 0;
    for (int a = -2; a <= 2; ++a)
        for (int b = -2; b <= 2; ++b) sum += std::exp(-(a * a + b * b) / (2 * 1.1 * 1.1));
    for (int i = 0; i < height; ++i)
        for (int j = 0; j < width; ++j) {
            const auto at = [&](int row, int column) {
                return std::size_t((row + height) % height * width + (column + width) % width);
            };
            double value = 0;
            for (int a = -2; a <= 2; ++a)
                for (int b = -2; b <= 2; ++b)
                    value +=
                        std::exp(-(a * a + b * b) / (2 * 1.1 * 1.1)) / sum * blurred.clean[at(i - a, j - b)];
            const std::size_t here = at(i, j), corner = at(i / 3 * 3, j / 3 * 3);
            // Sums of 25 and 9 numbers of at most 1 in fp32, and the noise as a difference of two such.
            CHECK(blurred.image[here] ==
                  doctest::Approx(value + (blurred.noisy[here] - blurred.clean[here])).epsilon(1e-6));
            double mean = 0;
            for (int a = 0; a < 3; ++a)
                for (int b = 0; b < 3; ++b) mean += coarse.clean[corner + std::size_t(a * width + b)] / 9;
            CHECK(coarse.image[here] ==
                  doctest::Approx(mean + (coarse.noisy[corner] - coarse.clean[corner])).epsilon(1e-6));
        }
    CHECK(observed({}, 1, 5).image == observed({}, 1, 5).noisy);
}

TEST_CASE("impulses make so many pixels black or white, as many of each, and leave the others as they are") {
    ObservationConfig o{.sight = Sight::impulses, .impulses = 0.3};
    double black = 0, white = 0;
    for (std::uint32_t number = 0; number < 40; ++number) {
        const Seen seen = observed(o, 3, number);
        for (std::size_t i = 0; i < pixels; ++i) {
            if (seen.image[i] == seen.noisy[i]) continue;
            CHECK((seen.image[i] == 0.0f || seen.image[i] == 1.0f));
            (seen.image[i] == 0.0f ? black : white) += 1;
        }
    }
    // 8,640 draws: five standard deviations of the mean are 0.019.
    CHECK(std::abs(black / (40 * double(pixels)) - 0.15) < 0.019);
    CHECK(std::abs(white / (40 * double(pixels)) - 0.15) < 0.019);
    CHECK(observed(o, 3, 1).image == observed(o, 3, 1).image);
    CHECK(observed(o, 3, 2).image != observed(o, 3, 1).image);
    CHECK(observed(o, 4, 1).image != observed(o, 3, 1).image);
    o.impulses = 0;
    CHECK(observed(o, 3, 1).image == observed(o, 3, 1).noisy);
}

TEST_CASE("a graph restores what whole arrays restore, to the bit, and has their gradient") {
    const auto backend = make_backend("cpu");
    for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tgv})
        for (const Sight sight : sights)
            for (const char* mode : {"masks", "checkpoint", "stored"}) {
                if (!solved(regulariser, sight)) continue;
                CAPTURE(int(regulariser));
                CAPTURE(int(sight));
                CAPTURE(mode);
                SolverConfig solver = solver_of(sight, regulariser);
                solver.gradient = *gradient_mode(mode);
                const Seen seen = observed(solver.observation, 2, 4);
                const int maps = map_count(solver, {});
                Map lambda{MapKind::shared, Floats(std::size_t(maps) * pixels)};
                for (std::size_t i = 0; i < lambda.values.size(); ++i)
                    lambda.values[i] = 0.02f + 0.01f * float(i % 7);
                const Restoration given = whole(solver, seen, lambda);
                const ImageStack target{1, height, width, seen.clean};
                const SolverGradient expected =
                    restoration_gradient(*backend, solver, given, target, 1, false);

                Graph graph(1);
                const bool weighs = solver.observation.data() == DataTerm::weights;
                const Value image = graph.input("image", 1, 1, height, width),
                            map = graph.input("map", 1, maps, height, width, true),
                            clean = graph.input("clean", 1, 1, height, width),
                            weights = weighs ? graph.input("weights", 1, 1, height, width) : Value{};
                const Value x =
                    restore(graph, {image, weights, blur_kernel(solver.observation)}, map,
                            family_problem(solver, {}, 1, height, width), solver.iterations, solver.gradient);
                graph.keep(x);
                loss(graph, x, clean, LossKind::mse);
                Algorithms algorithms;
                Plan plan(std::move(graph), *backend, algorithms, true);
                const Parameters parameters(*backend, plan.graph().parameters(), true);
                const Arena arena(*backend, plan.arena_bytes());
                plan.bind(arena, parameters);
                const auto set = [&](Value value, const Floats& from) {
                    backend->upload(plan.view(value).data, from.data(), from.size() * sizeof(float));
                };
                const auto read = [&](ConstView view, std::size_t count) {
                    return Floats(view.data, view.data + count);
                };
                set(image, seen.image);
                set(map, lambda.values);
                set(clean, seen.clean);
                if (weighs) set(weights, seen.weights);
                plan.forward();
                CHECK(read(plan.view(x), pixels) == restore(*backend, solver, given, {}).x);
                CHECK(plan.loss() == expected.mse);
                plan.backward();
                CHECK(read(plan.gradient(map), lambda.values.size()) == expected.d_lambda);
            }
}

TEST_CASE("the scalar search of every operator is restoration by each value, in any batch") {
    const auto backend = make_backend("cpu");
    for (const Regulariser regulariser : {Regulariser::tv8, Regulariser::tgv})
        for (const Sight sight : sights) {
            if (!solved(regulariser, sight)) continue;
            CAPTURE(int(regulariser));
            CAPTURE(int(sight));
            const SolverConfig solver = solver_of(sight, regulariser);
            Floats noisy, clean, weights;
            std::vector<Seen> all;
            for (std::uint32_t number = 0; number < 3; ++number) {
                all.push_back(observed(solver.observation, 9, number));
                noisy.insert(noisy.end(), all.back().image.begin(), all.back().image.end());
                clean.insert(clean.end(), all.back().clean.begin(), all.back().clean.end());
                weights.insert(weights.end(), all.back().weights.begin(), all.back().weights.end());
            }
            const SearchedImages images{
                noisy.data(),
                clean.data(),
                3,
                height,
                width,
                solver.observation.data() == DataTerm::weights ? weights.data() : nullptr};
            const Floats lambdas{0, 0.02f, 0.1f};
            const auto curves = scalar_search(*backend, solver, images, lambdas, {.second = 3}),
                       pieces = scalar_search(*backend, solver, images, lambdas,
                                              {.batch_bytes = 2 * pixels * sizeof(float), .second = 3});
            for (std::size_t n = 0; n < 3; ++n)
                for (std::size_t k = 0; k < 3; ++k) {
                    Map lambda{MapKind::scalar, {lambdas[k]}};
                    if (regulariser == Regulariser::tgv) lambda.values.push_back(3 * lambdas[k]);
                    const Floats x = restore(*backend, solver, whole(solver, all[n], lambda), {}).x;
                    double mse = 0;
                    for (std::size_t i = 0; i < pixels; ++i)
                        mse += std::pow(double(x[i]) - all[n].clean[i], 2) / double(pixels);
                    // The same sum in double in another order.
                    CHECK(curves[n].quality[k].psnr == doctest::Approx(-10 * std::log10(mse)).epsilon(1e-10));
                    CHECK(curves[n].quality[k].psnr == pieces[n].quality[k].psnr);
                }
        }
}

TEST_CASE("a network at work solves the operator's problem with its map, also where it pads") {
    const auto backend = make_backend("cpu");
    for (const bool pads : {false, true})  // 12×18: one halving goes, two do not
        for (const Sight sight : sights) {
            CAPTURE(pads);
            CAPTURE(int(sight));
            Config config;
            config.network.channels = pads ? std::vector<int>{4, 4, 4} : std::vector<int>{4, 6};
            config.map.separate = true;
            config.solver = solver_of(sight);
            config.evaluate.iterations = config.solver.iterations;
            Algorithms algorithms;
            Denoiser denoiser(*backend, algorithms, config, height, width);
            Parameters parameters(*backend, denoiser.graph().parameters(), false);
            parameters.initialise(3);
            const Arena arena(*backend, denoiser.arena_bytes());
            denoiser.bind(arena, parameters);
            const Seen seen = observed(config.solver.observation, 1, 6);
            Map lambda{MapKind::separate, Floats(2 * pixels)};
            Floats x(pixels);
            for (int again = 0; again < 2; ++again)  // the solver's arrays lie where the network's were
                denoiser.run(seen.image.data(), lambda.values.data(), x.data(), seen.weights.data());
            CHECK(x == restore(*backend, config.solver, whole(config.solver, seen, lambda), {}).x);
            CHECK(lambda.values[0] > 0);
            Floats by_the_map(pixels);
            denoiser.restore(seen.image.data(), lambda.values.data(), by_the_map.data(), seen.weights.data());
            CHECK((by_the_map == x));
        }
}

TEST_CASE("what does not go together is refused") {
    Graph graph(1);
    const Value image = graph.input("image", 1, 1, height, width),
                map = graph.input("map", 1, 1, height, width), small = graph.input("small", 1, 1, height, 4),
                trained = graph.input("z", 1, 1, height, width, true);
    const SolverProblem masked = family_problem(solver_of(Sight::mask), {}, 1, height, width),
                        plain = family_problem(solver_of(Sight::identity), {}, 1, height, width);
    const auto said = [&](const Observed& observed, const SolverProblem& problem, Value lambda) {
        return refusal([&] { restore(graph, observed, lambda, problem, 3); });
    };
    CHECK(has(said({image}, masked, map), "no weights"));
    CHECK(has(said({image, image}, plain, map), "weights, which this problem has not"));
    CHECK(has(said({image, small}, masked, map), "do not go with weights"));
    CHECK(has(said({image}, plain, small), "do not go with maps"));
    CHECK(has(said({trained}, plain, map), "get no gradient"));
}
