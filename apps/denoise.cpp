// tvmap denoise: a trained network on pictures of any size, grey or colour.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
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
#include "engine/evaluation/figures.h"
#include "engine/files/byte_count.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "engine/model/model.h"
#include "engine/training/process_memory.h"

namespace tvmap {
namespace {

struct Options {
    std::vector<std::string> images, set;
    std::string checkpoint, out, mask;
    std::optional<std::size_t> memory;  // bytes
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

/// A picture to be denoised, as far as it is known beforehand.
struct Size {
    int height, width, channels, bits;
};

/// The memory that denoising may take: of the process, or of a device that has its own.
class Memory {
  public:
    /// After the model was loaded for the shortest tile, with these limits. bytes: what --memory says, if it was given.
    Memory(const Backend& backend, Model& model, const TileLimits& tiles, std::optional<std::size_t> bytes)
        : model_(model), tiles_(tiles), given_(bytes), on_device_(backend.separate_memory()) {
        release_free_memory();
        least_tile_ = model.denoiser().arena_bytes();
        taken_ = on_device_ ? sizeof(float) * std::size_t(model.denoiser().graph().parameter_count())
                            : resident_bytes();
    }

    /// How the network is to pass over a picture. Throws Error where not even the shortest tiles keep a limit that was
    /// given; the usual one grows with what the picture needs at least.
    TileLimits limits(const std::string& path, const Size& size, int maps) const {
        const std::size_t beside = taken_ + (on_device_ ? 0 : host_bytes(size, maps));
        const std::size_t least = std::max(least_tile_, model_.solver_bytes(size.height, size.width));
        const std::size_t limit = given_.value_or(std::max(usual, beside + least));
        if (beside + least > limit)
            fail(path, ": to denoise ", size.height, "×", size.width, " takes at least ", beside + least,
                 " bytes, more than --memory, ", limit, "; allow more");
        TileLimits limits = tiles_;
        limits.bytes = limit - beside;
        return limits;
    }

    static constexpr std::size_t usual = 600'000'000;

  private:
    /// What a picture takes on the host beside the arena: itself, its result and maps, and then with these either the
    /// planes of a channel or the files that are made of them.
    static std::size_t host_bytes(const Size& size, int maps) {
        const std::size_t pixel = size.channels, map = sizeof(float) * pixel * maps;
        const std::size_t results = 2 * sizeof(float) * pixel + map, planes = 2 * sizeof(float);
        // The array, the picture and the map's colours, of which compression holds five copies for a moment.
        const std::size_t files = map + pixel * size.bits / 8 + 3 * (sizeof(float) + 5);
        return std::size_t(size.height) * size.width * (results + std::max(planes, files));
    }

    Model& model_;
    TileLimits tiles_;
    std::optional<std::size_t> given_;
    bool on_device_;
    std::size_t least_tile_, taken_;
};

struct Denoised {
    Picture picture;
    std::vector<float> maps;  ///< of one channel after the other
    int planes;               ///< how many there are
};

/// Each channel by itself. weights: H×W where the network takes any. `done` is told which part of the work is.
Denoised denoised(const Picture& noisy, const std::vector<float>& weights, Denoiser& denoiser,
                  const std::function<void(double part)>& done) {
    const std::size_t pixels = std::size_t(noisy.height) * noisy.width, channels = noisy.channels;
    Denoised result{noisy, std::vector<float>(pixels * denoiser.maps() * channels),
                    denoiser.maps() * noisy.channels};
    std::vector<float> plane(pixels), x(pixels);
    for (std::size_t c = 0; c < channels; ++c) {
        for (std::size_t i = 0; i < pixels; ++i)
            plane[i] = !weights.empty() && weights[i] == 0 ? 0 : noisy.values[i * channels + c];
        denoiser.run(plane.data(), &result.maps[c * pixels * denoiser.maps()], x.data(), weights.data(),
                     [&](double part) { done((double(c) + part) / double(channels)); });
        for (std::size_t i = 0; i < pixels; ++i) result.picture.values[i * channels + c] = x[i];
    }
    return result;
}

/// Writes NAME.png, NAME_lambda.npy and NAME_lambda.png, all of them or none.
void write_results(const std::string& path, const Denoised& denoised, const std::string& out) {
    const int h = denoised.picture.height, w = denoised.picture.width;
    const std::string stem = result_stem(out, path);
    const std::string paths[] = {stem + endings[0], stem + endings[1], stem + endings[2]};
    const std::string picture = encode_png(paths[0], denoised.picture, denoised.picture.bits),
                      map =
                          encode_npy(denoised.planes == 1 ? std::vector<std::int64_t>{h, w}
                                                          : std::vector<std::int64_t>{denoised.planes, h, w},
                                     denoised.maps.data()),
                      map_colours = encode_png(paths[2], map_picture(denoised.maps.data(), h, w));
    write_files({{paths[0], {picture}}, {paths[1], {map}}, {paths[2], {map_colours}}});
}

int run(const Options& options, const CommonOptions& common) {
    Config config = checkpoint_config(options.checkpoint);
    if (!options.set.empty()) config = parse_config(config.to_yaml(), options.checkpoint, options.set);
    if (common.device != "auto") config.device = common.device;
    const std::string settings = check_use(options.checkpoint, config).line();
    check_names(options.images, options.out);
    // All images are read once before the first is worked on.
    const std::unique_ptr<Backend> backend = make_backend(config.device, config.network.precision);
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
    const int maps = map_count(config.solver, config.map);
    std::vector<Output> outputs;
    std::vector<Size> sizes;
    for (std::size_t i = 0; i < options.images.size(); ++i) {
        const Picture picture = picture_of(i);
        add_outputs(outputs, options.images[i], options.out, picture, maps);
        sizes.push_back({picture.height, picture.width, picture.channels, picture.bits});
    }
    const TileLimits tiles = usual_tiles(*backend, config);
    Model model = Model::load(*backend, config, options.checkpoint, tiles.shortest, tiles.shortest, tiles);
    const Memory memory(*backend, model, tiles, options.memory);
    const auto limits = [&](std::size_t i) { return memory.limits(options.images[i], sizes[i], maps); };
    for (std::size_t i = 0; i < options.images.size(); ++i) limits(i);
    if (!settings.empty()) outputs.push_back({options.out + "/settings.txt"});
    prepare_outputs(outputs);
    if (!settings.empty())
        write_file(options.out + "/settings.txt", options.checkpoint + ": " + settings + "\n");
    print_banner(common, options.checkpoint, backend->description());

    ProgressLine progress("denoising", double(options.images.size()), "images", common.quiet);
    interrupted();
    for (std::size_t i = 0; i < options.images.size(); ++i) {
        const auto done = [&](double part) {
            if (interrupted() && part < 1)
                throw Interrupted(text("interrupted; ", options.out, " holds the first ", i, " of ",
                                       options.images.size(), " images"));
            progress.update(double(i) + std::round(100 * part) / 100);
        };
        done(0);
        Denoiser& denoiser = model.denoiser(sizes[i].height, sizes[i].width, limits(i));
        write_results(options.images[i], denoised(picture_of(i), mask.values, denoiser, done), options.out);
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
    const auto take_memory = [options](const std::string& given) {
        const auto bytes = parse_byte_count(given);
        if (!bytes || *bytes == 0)
            throw CLI::ValidationError(text("--memory ", given, ": give ", byte_count_form));
        options->memory = *bytes;
    };
    command
        .add_option_function<std::string>(
            "--memory", take_memory,
            "bytes that the process, or on a GPU its memory, may take, also like 250MB or 2GiB: larger "
            "images pass the "
            "network in tiles, with the same result; unless given, more where an image takes more")
        ->type_name("BYTES")
        ->default_str("600MB");
    command.add_option("--out", options->out, "folder, made if need be")->required();
}

}  // namespace tvmap
