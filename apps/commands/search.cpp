// tvmap search: which scalar parameter denoises an image best? An oracle, since it looks at the clean image.
#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "apps/options/read_twice.h"
#include "apps/options/restoration_options.h"
#include "apps/options/solver_options.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "apps/program/warning.h"
#include "engine/config/equally_spaced.h"
#include "engine/files/csv.h"
#include "engine/files/decimal.h"
#include "engine/files/file.h"
#include "engine/solver/search.h"

namespace tvmap {
namespace {

struct Options {
    SolverOptions solver;
    RestorationOptions restoration;
    double second = 2;
    ImageOptions reading;
    std::vector<std::string> inputs, clean;
    double from = 0, to = 0.8;
    int count = 81;
    std::string out;
};

/// One image of one input, with its curve.
struct Searched {
    std::string name;
    ScalarCurve curve;
};

std::string table(const std::vector<Searched>& searched, const std::vector<double>& lambdas) {
    std::string csv = "image,lambda,psnr,ssim_gaussian,ssim_uniform\n";
    for (const Searched& image : searched)
        for (std::size_t i = 0; i < lambdas.size(); ++i) {
            const Quality& q = image.curve.quality[i];
            csv += text(csv_field(image.name), ",", shortest_decimal(lambdas[i]), ",", csv_number(q.psnr, 9),
                        ",", csv_number(q.ssim, 9), ",", csv_number(q.ssim_uniform, 9), "\n");
        }
    return csv;
}

/// An input and its clean counterpart, checked.
std::pair<InputImages, InputImages> read_pair(const Options& options, std::size_t i,
                                              const SolverConfig& solver) {
    InputImages noisy = read_images(options.inputs[i], options.reading),
                clean = read_images(options.clean[i], options.reading);
    check_finite(options.clean[i], clean.values);
    if (options.restoration.wanted()) {
        SolverConfig settings = solver;
        Restoration given;
        given.observation = options.restoration.read_observation(settings, noisy);
        given.z = noisy;
        given.lambda = {MapKind::scalar, {0.0f, 0.0f}};
        if (settings.regulariser != Regulariser::tgv) given.lambda.values.pop_back();
        restoration_problem(settings, given, option_names());
        if (clean.images != noisy.images || clean.height != given.height() || clean.width != given.width())
            fail(options.clean[i], ": ", clean.images, "×", clean.height, "×", clean.width, " where ",
                 options.inputs[i], " is restored to ", noisy.images, "×", given.height(), "×", given.width(),
                 "; give the clean image of that size");
        return {std::move(noisy), std::move(clean)};
    }
    if (noisy.shape() != clean.shape())
        fail(options.clean[i], ": another size than ", options.inputs[i],
             "; give the clean image of the same size");
    solver_problem(solver, noisy, {MapKind::scalar, {0.0f}}, option_names());
    return {std::move(noisy), std::move(clean)};
}

/// Of `count` images from `first` on.
std::vector<ScalarCurve> restored_curves(Backend& backend, const RestorationOptions& options,
                                         SolverConfig solver, const InputImages& noisy,
                                         const InputImages& clean, int first, int count,
                                         const std::vector<float>& lambdas, const SearchOptions& how) {
    Restoration given;
    given.observation = options.read_observation(solver, noisy);
    const auto part = [&](const ImageStack& images) {
        const auto from = images.values.begin() + first * images.pixels();
        return ImageStack{count, images.height, images.width, {from, from + count * images.pixels()}};
    };
    given.z = part(noisy);
    return restoration_search(backend, solver, std::move(given), part(clean), lambdas, how);
}

int report(const Options& options, const CommonOptions& common, const Backend& backend,
           const std::vector<Searched>& searched, const std::vector<double>& lambdas) {
    if (!options.out.empty() && !searched.empty()) write_file(options.out, table(searched, lambdas));
    Json json{{"command", "search"},
              {"device", backend.description()},
              {"count", options.count},
              {"peak", options.reading.peak},
              {"images", Json::array()}};
    if (!options.out.empty()) json["out"] = options.out;
    std::string lines;
    std::vector<double> seconds;
    for (const Searched& image : searched) {
        Json entry{{"image", image.name}, {"seconds", image.curve.seconds}};
        lines += image.name + ":";
        const std::pair<const char*, double Quality::*> figures[] = {
            {"psnr", &Quality::psnr},
            {"ssim_gaussian", &Quality::ssim},
            {"ssim_uniform", &Quality::ssim_uniform}};
        for (const auto& [name, figure] : figures) {
            const auto at = best_of(image.curve.quality, figure);
            const char* const end = name == figures[2].first ? "\n" : ",";
            if (!at) {
                entry[name] = nullptr;
                lines += text(" no ", name, " (the image is smaller than its window)", end);
                continue;
            }
            if (std::isinf(image.curve.quality[*at].*figure))
                print_warning("search",
                              text(image.name, ": equals its clean image at λ = ", number(lambdas[*at]),
                                   ", so that its PSNR is infinite there and says nothing"));
            entry[name] = {{"best", image.curve.quality[*at].*figure}, {"lambda", lambdas[*at]}};
            lines += text(" best ", name, " ", number(image.curve.quality[*at].*figure, 5),
                          " at λ = ", number(lambdas[*at]), end);
        }
        json["images"].push_back(entry);
        seconds.push_back(image.curve.seconds);
    }
    json["seconds"] = seconds.empty() ? 0.0 : median(seconds);
    print_result(common, json, lines);
    return success;
}

int run(const Options& options, const CommonOptions& common) {
    SolverConfig solver = options.solver.config(options.restoration.wants_exact_norm());
    if (!options.restoration.wanted()) options.restoration.refuse_left_over();
    if (options.second != 2 && options.restoration.regulariser != "tgv")
        throw UsageError("--lambda0-ratio goes with --regulariser tgv alone");
    if (options.inputs.size() != options.clean.size())
        throw UsageError(text("--clean: ", options.clean.size(), " clean images for ", options.inputs.size(),
                              " noisy ones; give one for each, in the same order"));
    if (options.from > options.to) throw UsageError("--from, --to: give the smaller number first");
    ReadTwice<std::pair<InputImages, InputImages>> pairs;
    const auto pair = [&](std::size_t i) {
        return pairs.read(i, {options.inputs[i], options.clean[i]},
                          [&] { return read_pair(options, i, solver); });
    };
    for (std::size_t i = 0; i < options.inputs.size(); ++i) {
        options.reading.warn("search", options.inputs[i], pair(i).first, noisy_beyond);
        options.reading.warn("search", options.clean[i], pair(i).second, clean_beyond);
    }
    std::vector<std::string> read = options.restoration.files();
    read.insert(read.end(), options.inputs.begin(), options.inputs.end());
    read.insert(read.end(), options.clean.begin(), options.clean.end());
    if (!options.out.empty()) prepare_outputs({{options.out}}, read);
    const std::vector<double> lambdas = equally_spaced(options.from, options.to, options.count);
    const std::vector<float> parameters(lambdas.begin(), lambdas.end());

    ProgressLine progress("search", double(options.inputs.size()), "inputs", common.quiet);
    const auto backend = make_backend(common.device);
    std::vector<Searched> searched;
    interrupted();
    try {
        for (std::size_t i = 0; i < options.inputs.size(); ++i) {
            const auto [noisy, clean] = pair(i);
            const int images = noisy.images;
            const int group = images_at_once(*backend, solver, noisy.height, noisy.width, options.count);
            for (int first = 0; first < images; first += group) {
                const int together = std::min(group, images - first);
                const auto proceed = [&](int done) {
                    progress.update(double(i) + (first + double(done) / options.count) / images);
                    return !interrupted();
                };
                const SearchOptions how{
                    .repeat = options.solver.repeat, .proceed = proceed, .second = options.second};
                const std::int64_t at = first * noisy.pixels();
                std::vector<ScalarCurve> curves =
                    options.restoration.wanted()
                        ? restored_curves(*backend, options.restoration, solver, noisy, clean, first,
                                          together, parameters, how)
                        : scalar_search(
                              *backend, solver,
                              {&noisy.values[at], &clean.values[at], together, noisy.height, noisy.width},
                              parameters, how);
                for (int n = 0; n < together; ++n)
                    searched.push_back(
                        {noisy.images == 1 ? options.inputs[i] : text(options.inputs[i], "#", first + n),
                         std::move(curves[n])});
            }
        }
    } catch (const Interrupted&) {
        report(options, common, *backend, searched, lambdas);  // what is finished is kept
        throw Interrupted(
            text("interrupted; ", searched.size(), " images are finished",
                 options.out.empty() || searched.empty() ? "" : " and stand in " + options.out));
    }
    return report(options, common, *backend, searched, lambdas);
}

}  // namespace

void add_search(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("search", "the scalar parameter that denoises best, known the clean image",
                    "tvmap search noisy.png --clean clean.png --from 0 --to 0.8 --count 81 --out curve.csv",
                    [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("inputs", options->inputs, "noisy pictures or .npy arrays")
        ->type_name(value::file)
        ->required();
    command.add_option("--clean", options->clean, "the clean image of each input, in the same order")
        ->type_name(value::file)
        ->required();
    add_number(command, "--from", options->from, "smallest value", 0.0);
    add_number(command, "--to", options->to, "largest value", 0.0);
    add_number(command, "--count", options->count, "values, equally spaced", 1, 1000000);
    command.add_option("--out", options->out, "CSV of PSNR and SSIM for every value")->type_name(value::file);
    options->reading.add(command);
    options->solver.add(command);
    options->restoration.add_problem(command);
    add_number(command, "--lambda0-ratio", options->second, "tgv: λ of second differences, as multiples of λ",
               0.0);
}

}  // namespace tvmap
