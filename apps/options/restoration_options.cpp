#include "apps/options/restoration_options.h"

#include <optional>
#include <utility>

#include "apps/program/command_table.h"
#include "engine/config/solver_words.h"
#include "engine/data/counts.h"
#include "engine/files/decimal.h"
#include "engine/files/npy.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

Regulariser regulariser_named(const std::string& name) {
    for (const auto& [word, regulariser] : regulariser_words)
        if (word == name) return regulariser;
    return Regulariser::tv;  // the options know no other word
}

/// A number, or planes of H×W, one or more.
struct GivenMaps {
    std::optional<float> number;
    std::vector<float> values;
    std::int64_t planes = 0;

    std::int64_t count() const { return number ? 1 : planes; }
};
GivenMaps read_maps(const std::string& given, int height, int width) {
    if (const auto value = parse_float32(given)) return {float(*value), {}, 0};
    NpyArray array = read_npy(given);
    const std::vector<std::int64_t>& shape = array.shape;
    if (shape.size() < 2 || shape.size() > 3 || shape[shape.size() - 2] != height || shape.back() != width)
        fail(given, ": no map for images of ", height, "×", width, "; give H×W or several of them, C×H×W");
    return {{}, std::move(array.values), shape.size() == 3 ? shape[0] : 1};
}

/// The map made of the numbers and planes that were given: numbers alone stay numbers.
Map joined(const std::vector<GivenMaps>& given, int shared, int components, std::int64_t pixels) {
    Map lambda;
    bool numbers = true;
    for (const GivenMaps& part : given) numbers = numbers && part.number.has_value();
    lambda.kind = numbers ? MapKind::scalar : MapKind::shared;
    std::int64_t planes = 0;
    for (const GivenMaps& part : given) {
        if (part.number) {
            lambda.values.insert(lambda.values.end(), numbers ? 1 : std::size_t(pixels), *part.number);
            planes += 1;
        } else {
            lambda.values.insert(lambda.values.end(), part.values.begin(), part.values.end());
            planes += part.planes;
        }
    }
    if (!numbers && planes == components && components != shared) lambda.kind = MapKind::separate;
    if (planes != shared && lambda.kind != MapKind::separate)
        fail("--lambda: ", planes, " numbers or maps; give ", shared,
             shared == 2 ? " (--lambda and --lambda0)" : "", ", or ", components, " maps in one array");
    return lambda;
}

}  // namespace

void RestorationOptions::add(CLI::App& command) {
    add_problem(command);
    command.add_option("--lambda0", lambda0, "tgv: of second differences, a number or a .npy map")
        ->type_name(value::number_or_file);
}

void RestorationOptions::add_problem(CLI::App& command) {
    command
        .add_option(
            "--regulariser", regulariser,
            "tv: vertical and horizontal differences; tv8: and both diagonals; tgv: second-order total "
            "generalised variation, with --lambda for first and --lambda0 for second differences")
        ->check(CLI::IsMember({"tv", "tv8", "tgv"}))
        ->capture_default_str();
    command
        .add_option(
            "--operator", operator_name,
            "how the image was observed: identity; mask (--mask: weights, 0 where nothing is known); blur "
            "(--kernel, circular); downsample (means of blocks, --factor); impulses (some pixels are black "
            "or white: the data term is Huber's, --threshold); poisson (counts of photons: pixels weigh by "
            "their noise, --gain and --read-out)")
        ->check(CLI::IsMember({"identity", "mask", "blur", "downsample", "impulses", "poisson"}))
        ->capture_default_str();
    command.add_option("--mask", mask, "mask: .npy H×W of weights, 0 or more")->type_name(value::file);
    command.add_option("--kernel", kernel, "blur: .npy of odd sides")->type_name(value::file);
    add_number(command, "--threshold", threshold,
               "impulses: differences to the image above it count as they are, smaller ones squared; 0: all "
               "as they are",
               0.0, 1.0);
    add_number(command, "--gain", gain,
               "poisson: what a count adds to a pixel: counting a value x has the variance gain·x", 0.0, 1.0);
    add_number(command, "--read-out", read_out,
               "poisson: standard deviation of the noise that the read-out adds", 0.0, 1.0);
    add_number(command, "--factor", factor, "downsample: side of a block, from 2 on; 0: none", 0, 64);
}

void RestorationOptions::refuse_left_over() const {
    if (!lambda0.empty()) throw UsageError("--lambda0 goes with --regulariser tgv alone");
    if (!mask.empty()) throw UsageError("--mask goes with --operator mask alone");
    if (!kernel.empty()) throw UsageError("--kernel goes with --operator blur alone");
    if (factor != 0) throw UsageError("--factor goes with --operator downsample alone");
    if (threshold != 0) throw UsageError("--threshold goes with --operator impulses alone");
    if (gain != 0) throw UsageError("--gain goes with --operator poisson alone");
    if (read_out != 0) throw UsageError("--read-out goes with --operator poisson alone");
}

Restoration RestorationOptions::read(const ProblemOptions& problem, SolverConfig& solver,
                                     InputImages& input) const {
    if (!problem.lambda_y.empty())
        throw UsageError(
            "--lambda-y goes with --regulariser tv and --operator identity; give the maps in one array");
    const bool tgv = regulariser == "tgv";
    if (!tgv && !lambda0.empty()) throw UsageError("--lambda0 goes with --regulariser tgv alone");
    input = read_images(problem.input, problem.reading);
    Restoration given;
    given.observation = read_observation(solver, input);
    given.z = input;
    SolverProblem sizes;
    sizes.regulariser = solver.regulariser;
    std::vector<GivenMaps> maps{read_maps(problem.lambda, given.height(), given.width())};
    if (tgv && lambda0.empty() && maps[0].count() != sizes.components())
        throw UsageError(
            text("--regulariser tgv: give --lambda0 too, or ", sizes.components(), " maps in one array"));
    if (!lambda0.empty()) {
        maps.push_back(read_maps(lambda0, given.height(), given.width()));
        const std::int64_t first = maps[0].count(), second = maps[1].count();
        if (!(first == 1 && second == 1) && !(first == 2 && second == 3))
            throw UsageError(
                text("--lambda, --lambda0: ", first, " and ", second,
                     " maps; give one and one, or 2 (of the first differences) and 3 (of the second)"));
    }
    given.lambda =
        joined(maps, sizes.maps(), sizes.components(), std::int64_t(given.height()) * given.width());
    restoration_problem(solver, given, option_names());
    return given;
}

Observation RestorationOptions::read_observation(SolverConfig& solver, const InputImages& input) const {
    if (mask.empty() == (operator_name == "mask"))
        throw UsageError(mask.empty() ? "--operator mask: give --mask"
                                      : "--mask goes with --operator mask alone");
    if (kernel.empty() == (operator_name == "blur"))
        throw UsageError(kernel.empty() ? "--operator blur: give --kernel"
                                        : "--kernel goes with --operator blur alone");
    if (threshold != 0 && operator_name != "impulses")
        throw UsageError("--threshold goes with --operator impulses alone");
    if ((gain != 0) != (operator_name == "poisson"))
        throw UsageError(gain != 0 ? "--gain goes with --operator poisson alone"
                                   : "--operator poisson: give --gain, above 0");
    if (read_out != 0 && gain == 0) throw UsageError("--read-out goes with --operator poisson alone");
    const bool shrinks = operator_name == "downsample";
    if (shrinks && factor < 2) throw UsageError("--operator downsample: give --factor, 2 or more");
    if (!shrinks && factor != 0) throw UsageError("--factor goes with --operator downsample alone");
    solver.regulariser = regulariser_named(regulariser);
    Observation observation;
    if (operator_name == "mask" || operator_name == "blur") {
        NpyArray array = read_npy(operator_name == "mask" ? mask : kernel);
        if (array.shape.size() != 2)
            fail(operator_name == "mask" ? mask : kernel, ": an array of ", array.shape.size(),
                 " dimensions; give two");
        const bool is_mask = operator_name == "mask";
        if (is_mask && (array.shape[0] != input.height || array.shape[1] != input.width))
            fail(mask, ": ", array.shape[0], "×", array.shape[1], " does not fit images of ", input.height,
                 "×", input.width);
        observation.data = is_mask ? DataTerm::weights : DataTerm::blur;
        if (!is_mask) {
            observation.rows = int(array.shape[0]);
            observation.columns = int(array.shape[1]);
        }
        observation.values = std::move(array.values);
    } else if (shrinks) {
        observation.data = DataTerm::super_resolution;
        observation.factor = factor;
    } else if (operator_name == "impulses") {
        if (regulariser == "tgv") throw UsageError("--operator impulses goes with --regulariser tv or tv8");
        observation.data = DataTerm::huber;
        observation.threshold = float(threshold);
    } else if (operator_name == "poisson") {
        if (input.images != 1)
            throw UsageError("--operator poisson: pixels weigh by their own image's noise; give one plane");
        std::vector<float> weights(std::size_t(input.pixels()));
        count_weights({float(gain), float(read_out)}, input.values.data(), input.height, input.width,
                      weights.data());
        observation = counted_image(std::move(weights));
    }
    return observation;
}

InputImages restored_images(const InputImages& input, const Restoration& given) {
    InputImages images = input;
    images.height = given.height();
    images.width = given.width();
    images.values.assign(std::size_t(images.images) * std::size_t(images.pixels()), 0.0f);
    return images;
}

}  // namespace tvmap
