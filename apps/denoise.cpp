// tvmap denoise: a trained network on pictures of any size, grey or colour.
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "apps/arrays.h"
#include "apps/command.h"
#include "apps/interruption.h"
#include "apps/progress_line.h"
#include "apps/read_twice.h"
#include "engine/config/solver_problem.h"
#include "engine/data/observation.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "engine/model/model.h"

namespace tvmap {
namespace {

struct Options {
    std::vector<std::string> images, set;
    std::string checkpoint, out, mask;
};

/// What an image's results are called: OUT/NAME with these endings.
constexpr const char* endings[] = {".png", "_lambda.npy", "_lambda.png"};

std::string result_stem(const std::string& out, const std::string& image) {
    return out + "/" + std::filesystem::path(image).stem().string();
}

/// Refuses results that would take each other's names, or an input's.
void check_names(const std::vector<std::string>& images, const std::string& out) {
    const auto place = [](const std::string& path) {
        std::error_code ignored;
        return std::filesystem::weakly_canonical(path, ignored).string();
    };
    std::map<std::string, std::string> inputs, results;
    for (const std::string& image : images) inputs.emplace(place(image), image);
    for (const std::string& image : images)
        for (const char* ending : endings) {
            const std::string result = result_stem(out, image) + ending;
            if (const auto [other, fresh] = results.emplace(result, image); !fresh)
                fail(image, " and ", other->second, " would both be written as ", result,
                     "; denoise them into two folders");
            if (const auto input = inputs.find(place(result)); input != inputs.end())
                fail(input->second, ": would be overwritten by the result of ", image,
                     "; choose another --out");
        }
}

/// What `denoise` will write for a picture.
void add_outputs(std::vector<Output>& outputs, const std::string& image, const std::string& out,
                 const Picture& noisy, int maps) {
    const std::string stem = result_stem(out, image);
    check_png_size(stem + endings[0], noisy.height, noisy.width, noisy.channels, noisy.bits);
    check_png_size(stem + endings[2], noisy.height, noisy.width, 3, 8);
    outputs.push_back({stem + endings[0]});
    outputs.push_back(float_output(stem + endings[1], noisy.values.size() * std::size_t(maps)));
    outputs.push_back({stem + endings[2]});
}

/// The picture in the size of what it is restored to: each value stands in all pixels of its block.
Picture enlarged(const Picture& picture, int factor) {
    Picture large = picture;
    large.height *= factor;
    large.width *= factor;
    large.values = in_blocks(picture.values.data(), picture.height, picture.width, picture.channels, factor);
    return large;
}

/// The weights that a network for missing pixels needs, H×W; empty for any other.
NpyArray read_weights_of(const Options& options, const Config& config) {
    const bool weighs = config.solver.observation.data == DataTerm::weights;
    if (weighs == options.mask.empty())
        throw UsageError(
            weighs ? text(options.checkpoint,
                          " was trained with solver.operator: mask; give --mask, 0 where a pixel is missing "
                          "and 1 elsewhere")
                   : text("--mask goes with networks that were trained with solver.operator: mask; ",
                          options.checkpoint, " was not"));
    if (!weighs) return {};
    NpyArray mask = read_npy(options.mask);
    if (mask.shape.size() != 2)
        fail(options.mask, ": an array of ", mask.shape.size(), " dimensions; give two");
    for (const float weight : mask.values)
        if (!(weight >= 0) || !std::isfinite(weight))
            fail(options.mask, ": a weight of ", weight,
                 "; give 0 where a pixel is missing, and 1 elsewhere");
    return mask;
}

/// Denoises each channel by itself and writes NAME.png, NAME_lambda.npy and NAME_lambda.png, all of them or none.
/// weights: H×W where the network takes any.
void denoise(const std::string& path, const Picture& noisy, const std::vector<float>& weights, Model& model,
             const std::string& out) {
    const int h = noisy.height, w = noisy.width;
    const std::size_t pixels = std::size_t(h) * w;
    Denoiser& denoiser = model.denoiser(h, w);
    std::vector<float> plane(pixels), result(pixels), maps(pixels * denoiser.maps() * noisy.channels);
    Picture denoised = noisy;
    for (int c = 0; c < noisy.channels; ++c) {
        for (std::size_t i = 0; i < pixels; ++i)
            plane[i] = !weights.empty() && weights[i] == 0 ? 0 : noisy.values[i * noisy.channels + c];
        denoiser.run(plane.data(), &maps[c * pixels * denoiser.maps()], result.data(), weights.data());
        for (std::size_t i = 0; i < pixels; ++i) denoised.values[i * noisy.channels + c] = result[i];
    }
    const std::string stem = result_stem(out, path);
    const int planes = denoiser.maps() * noisy.channels;
    const std::string paths[] = {stem + endings[0], stem + endings[1], stem + endings[2]};
    const std::string picture = encode_png(paths[0], denoised, noisy.bits),
                      map = encode_npy(planes == 1 ? std::vector<std::int64_t>{h, w}
                                                   : std::vector<std::int64_t>{planes, h, w},
                                       maps.data()),
                      map_colours = encode_png(paths[2], map_picture(maps.data(), h, w));
    write_files({{paths[0], {picture}}, {paths[1], {map}}, {paths[2], {map_colours}}});
}

int run(const Options& options, const CommonOptions& common) {
    Config config = checkpoint_config(options.checkpoint);
    if (!options.set.empty()) config = parse_config(config.to_yaml(), options.checkpoint, options.set);
    if (common.device != "auto") config.device = common.device;
    const std::string settings = check_use(options.checkpoint, config).line();
    check_names(options.images, options.out);
    // All images are read once before the first is worked on, and the weights with the first one's plan.
    const std::unique_ptr<Backend> backend = make_backend(config.device, config.network.precision);
    std::optional<Model> model;
    std::vector<Output> outputs;
    ReadTwice<Picture> pictures;
    const ObservationConfig& observation = config.solver.observation;
    const NpyArray mask = read_weights_of(options, config);
    const auto read = [&](const std::string& path) {
        Picture picture = read_picture(path, config.data.picture_limit);
        if (observation.data == DataTerm::super_resolution) picture = enlarged(picture, observation.factor);
        if (!mask.values.empty() && (mask.shape[0] != picture.height || mask.shape[1] != picture.width))
            fail(options.mask, ": ", mask.shape[0], "×", mask.shape[1], " does not fit ", path, ", ",
                 picture.height, "×", picture.width);
        return picture;
    };
    const auto picture_of = [&](std::size_t i) {
        return pictures.read(i, {options.images[i]}, [&] { return read(options.images[i]); });
    };
    for (std::size_t i = 0; i < options.images.size(); ++i) {
        const Picture picture = picture_of(i);
        if (i == 0) model = Model::load(*backend, config, options.checkpoint, picture.height, picture.width);
        add_outputs(outputs, options.images[i], options.out, picture, map_count(config.solver, config.map));
    }
    if (!settings.empty()) outputs.push_back({options.out + "/settings.txt"});
    prepare_outputs(outputs);
    if (!settings.empty())
        write_file(options.out + "/settings.txt", options.checkpoint + ": " + settings + "\n");
    print_banner(common, options.checkpoint, backend->description());

    ProgressLine progress("denoising", double(options.images.size()), "images", common.quiet);
    interrupted();
    for (std::size_t done = 0; done < options.images.size();) {
        if (interrupted())
            throw Interrupted(text("interrupted; ", options.out, " holds the first ", done, " of ",
                                   options.images.size(), " images"));
        denoise(options.images[done], picture_of(done), mask.values, *model, options.out);
        progress.update(double(++done));
    }
    print_result(common,
                 Json{{"command", "denoise"},
                      {"device", backend->description()},
                      {"out", options.out},
                      {"images", options.images.size()},
                      {"settings", settings}},
                 text(options.out, ": ", options.images.size(), " images, each with its map\n", settings,
                      settings.empty() ? "" : "\n"));
    return success;
}

}  // namespace

void add_denoise(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add(
        "denoise", "denoise pictures of any size with a trained network",
        "tvmap denoise noisy/*.png --checkpoint runs/quickstart/checkpoints/best.safetensors --out denoised",
        [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("images", options->images, "noisy pictures, grey or colour (each channel by itself)")
        ->required();
    command
        .add_option("--checkpoint", options->checkpoint, "weights (.safetensors) with their configuration")
        ->required();
    command
        .add_option("--set", options->set,
                    "KEY=VALUE in place of the checkpoint's configuration; may be repeated")
        ->allow_extra_args(false);
    command.add_option(
        "--mask", options->mask,
        "for networks of solver.operator: mask: .npy H×W, 0 where a pixel is missing, 1 elsewhere");
    command.add_option("--out", options->out, "folder, made if need be")->required();
}

}  // namespace tvmap
