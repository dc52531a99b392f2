// What was made of an image's orientations, taken back: a map that was turned weighs the same differences as before, which
// the solver itself says.
#include "engine/model/orientations.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "engine/config/solver_problem.h"
#include "engine/solver/family_solver.h"
#include "tests/support/device_buffer.h"
#include "tests/support/recording.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

using Floats = std::vector<float>;
constexpr int height = 9, width = 14, pixels = height * width;

Config config_of(Regulariser regulariser, Boundary boundary, bool separate = true) {
    Config config;
    config.solver.regulariser = regulariser;
    config.solver.boundary = boundary;
    config.solver.norm_auto = true;
    config.solver.iterations = 40;
    config.map.separate = separate;
    return config;
}

/// Of each value of a map, where in the map of the turned image it comes from.
std::vector<std::size_t> origins(const Orientation& orientation, const std::vector<Direction>& directions) {
    Floats numbers(directions.size() * pixels), back(numbers.size());
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = float(i);
    add_turned_back(orientation, directions, numbers.data(), height, width, back.data());
    return {back.begin(), back.end()};
}

Floats turned_image(const Orientation& orientation, const Floats& image) {
    Floats turned(image.size());
    turn(orientation, image.data(), height, width, turned.data());
    return turned;
}

Floats restored(Backend& backend, const Config& config, const Floats& image, const Floats& map,
                bool transposed) {
    Restoration given;
    given.z = {1, transposed ? width : height, transposed ? height : width, image};
    given.lambda = {map_count(config) == 1 ? MapKind::shared : MapKind::separate, map};
    return restore(backend, config.solver, given, {}).x;
}

}  // namespace

TEST_CASE("the solution turns with the image where the map does") {
    const auto backend = make_backend("cpu");
    std::mt19937 generator(3);
    const Doubles image_values = random_values(generator, pixels, 0, 1);
    const Floats image(image_values.begin(), image_values.end());
    for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tv8})
        for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
            const Config config = config_of(regulariser, boundary);
            const std::vector<Direction> directions = plane_directions(config);
            REQUIRE(int(directions.size()) == map_count(config));
            // Without ties or symmetries: a value at a wrong place, of a wrong component too, changes the solution.
            const Doubles map_values = random_values(generator, directions.size() * pixels, 0, 0.3);
            const Floats map(map_values.begin(), map_values.end());
            const Floats x = restored(*backend, config, image, map, false);
            for (const Orientation& o : orientations(8)) {
                CAPTURE(int(regulariser));
                CAPTURE(int(boundary));
                CAPTURE(o.transposed);
                CAPTURE(o.upside_down);
                CAPTURE(o.mirrored);
                const std::vector<std::size_t> from = origins(o, directions);
                Floats turned_map(map.size());
                for (std::size_t i = 0; i < map.size(); ++i) turned_map[from[i]] = map[i];
                const Floats turned =
                    restored(*backend, config, turned_image(o, image), turned_map, o.transposed);
                // Sums of the same numbers in another order, 40 times.
                CHECK(largest_difference(turned, turned_image(o, x)) < 2e-6);
            }
        }
}

TEST_CASE("every value comes back once, of every regulariser's maps, and a denoised image as it was") {
    for (const Regulariser regulariser : {Regulariser::tv, Regulariser::tv8, Regulariser::tgv})
        for (const bool separate : {true, false}) {
            const Config config = config_of(regulariser, Boundary::periodic, separate);
            const std::vector<Direction> directions = plane_directions(config);
            CHECK(int(directions.size()) == map_count(config));
            for (const Orientation& o : orientations(8)) {
                const auto from = origins(o, directions);
                CHECK(std::set(from.begin(), from.end()).size() == from.size());
                // A shared map, and a map of second differences, belongs to pixels.
                for (std::size_t p = separate ? 2 : 0; p < directions.size(); ++p) {
                    if (regulariser != Regulariser::tgv && separate) continue;
                    Floats numbers(pixels);
                    for (int i = 0; i < pixels; ++i) numbers[i] = float(from[p * pixels + i] % pixels);
                    Floats places(pixels);
                    for (int i = 0; i < pixels; ++i) places[i] = float(i);
                    CHECK(turned_image(o, numbers) == places);
                }
            }
        }
    Config image = config_of(Regulariser::tv, Boundary::periodic);
    image.network.predicts_image = true;
    CHECK(plane_directions(image).size() == 1);
}

TEST_CASE("eight orientations are all there are, and four keep the image's sides") {
    const Doubles numbers = [] {
        std::mt19937 generator(1);
        return random_values(generator, pixels, 0, 1);
    }();
    const Floats image(numbers.begin(), numbers.end());
    std::set<Floats> seen;
    for (const Orientation& o : orientations(8)) seen.insert(turned_image(o, image));
    CHECK(seen.size() == 8);
    CHECK(orientations(1).size() == 1);
    CHECK(turned_image(orientations(1).front(), image) == image);
    REQUIRE(orientations(4).size() == 4);
    for (const Orientation& o : orientations(4)) CHECK(!o.transposed);
}
