// tvmap denoise: a trained network on pictures and arrays of any size, grey or colour.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "apps/options/arrays.h"
#include "apps/options/read_twice.h"
#include "apps/options/trained_weights.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "engine/config/solver_problem.h"
#include "engine/data/counts.h"
#include "engine/data/noise_estimate.h"
#include "engine/data/observation.h"
#include "engine/evaluation/evaluation_files.h"
#include "engine/files/byte_count.h"
#include "engine/files/file.h"
#include "engine/files/npy.h"
#include "engine/model/model.h"
#include "engine/model/provided_weights.h"
#include "engine/training/process_memory.h"

namespace tvmap {
namespace {

struct Options {
    std::vector<std::string> images, set;
    std::string weights = usual_weights, checkpoint;  // as given, and its file
    bool weights_given = false;
    std::string out = "denoised", mask, colour;
    bool map = false;
    std::optional<std::size_t> memory;  // bytes
    ImageOptions reading;

    /// Which weights were taken where nothing was said of them, or "".
    std::string weights_line() const {
        return weights_given
                   ? ""
                   : text("by the weights ", weights,
                          ", which come with the program (--weights takes others; tvmap info lists them)\n");
    }
};

/// What an image's results are called, the image first: OUT/NAME with its own ending, and with --map OUT/NAME_lambda.
std::vector<std::string> result_paths(const Options& options, const std::string& image,
                                      const std::string& ending) {
    const std::string stem = options.out + "/" + std::filesystem::path(image).stem().string();
    if (!options.map) return {stem + ending};
    return {stem + ending, stem + "_lambda.npy", stem + "_lambda.png"};
}

/// Refuses results that would take each other's names, or an input's. results: of each image.
void check_names(const std::vector<std::string>& images,
                 const std::vector<std::vector<std::string>>& results) {
    const auto place = [](const std::string& path) {
        std::error_code ignored;
        return std::filesystem::weakly_canonical(path, ignored).string();
    };
    std::map<std::string, std::string> inputs, taken;
    for (const std::string& image : images) inputs.emplace(place(image), image);
    for (std::size_t i = 0; i < images.size(); ++i)
        for (const std::string& result : results[i]) {
            if (const auto [other, fresh] = taken.emplace(result, images[i]); !fresh)
                fail(images[i], " and ", other->second, " would both be written as ", result,
                     "; denoise them into two folders");
            if (const auto input = inputs.find(place(result)); input != inputs.end())
                fail(input->second, ": would be overwritten by the result of ", images[i],
                     "; choose another --out");
        }
}

/// Images in the size of what they are restored to: each value stands in all pixels of its block.
void enlarge(InputImages& images, int factor) {
    std::vector<float> large;
    for (int c = 0; c < images.images; ++c) {
        const std::vector<float> plane =
            in_blocks(&images.values[c * images.pixels()], images.height, images.width, 1, factor);
        large.insert(large.end(), plane.begin(), plane.end());
    }
    images.height *= factor;
    images.width *= factor;
    images.values = std::move(large);
}

/// Whether all channels of a picture are denoised by one map.
bool shares_map(const Config& config, const InputImages& images) {
    return config.denoise.luminance && images.is_picture && images.images == 3;
}

/// What `denoise` will write for an image.
void add_outputs(std::vector<Output>& outputs, const std::vector<std::string>& paths,
                 const InputImages& noisy, std::size_t maps) {
    outputs.push_back(image_output(paths[0], noisy));
    if (paths.size() == 1) return;
    check_png_size(paths[2], noisy.height, noisy.width, 3, 8);
    outputs.push_back(float_output(paths[1], std::size_t(noisy.pixels()) * maps));
    outputs.push_back({paths[2]});
}

/// The weights that a network for missing pixels needs, H×W; empty for any other.
NpyArray read_weights_of(const Options& options, const Config& config) {
    const bool weighs = config.solver.observation.sight == Sight::mask;
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

/// The noise of images that are counts, by which their pixels weigh; none of other images.
std::optional<CountNoise> count_noise(const Options& options, const Config& config) {
    const ObservationConfig& observation = config.solver.observation;
    if (observation.sight != Sight::poisson) return {};
    if (config.denoise.luminance)
        throw UsageError("--colour luminance: " + options.checkpoint +
                         " was trained for counts, which are a channel's; give channels");
    if (!observation.gain.fixed() || !config.noise.sigma.fixed())
        throw UsageError(options.checkpoint +
                         " was trained for counts of several kinds; say what these images are: --set "
                         "solver.poisson.gain=… (what a count adds) --set noise.sigma=… (of the read-out)");
    return CountNoise{float(observation.gain.from), float(config.noise.sigma.from)};
}

/// What the pixels of a plane weigh, where they weigh anything but 1.
struct PixelWeights {
    const std::vector<float>& mask;  ///< H×W, or empty
    const std::optional<CountNoise>& counts;

    /// Those of a plane, in `own` where they are the plane's own; null where all are 1.
    const float* of(const float* plane, int height, int width, std::vector<float>& own) const {
        if (!counts) return mask.data();
        own.resize(std::size_t(height) * std::size_t(width));
        count_weights(*counts, plane, height, width, own.data());
        return own.data();
    }
};

/// The luminance of a picture's channels (ITU-R 601), and its noise over that of a channel, where the noise of the
/// channels is independent and as strong in each.
constexpr float luma[] = {0.299f, 0.587f, 0.114f};
const float luma_noise = std::sqrt(luma[0] * luma[0] + luma[1] * luma[1] + luma[2] * luma[2]);

/// An image to be denoised, as far as it is known beforehand.
struct Work {
    int height, width, planes, bits;
    bool shared;          ///< one map for all planes
    bool with_map;        ///< which is written
    int maps;             ///< planes of a map
    std::size_t turning;  ///< bytes for the image's orientations
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

    /// How the network is to pass over an image. Throws Error where not even the shortest tiles keep a limit that was
    /// given; the usual one grows with what the image needs at least.
    TileLimits limits(const std::string& path, const Work& work) const {
        const std::size_t beside = taken_ + (on_device_ ? 0 : host_bytes(work));
        const std::size_t solver = work.maps > 0 ? model_.solver_bytes(work.height, work.width) : 0;
        const std::size_t least = std::max(least_tile_, solver);
        const std::size_t limit = given_.value_or(std::max(usual, beside + least));
        if (beside + least > limit)
            fail(path, ": to denoise ", work.height, "×", work.width, " takes at least ", beside + least,
                 " bytes, more than --memory, ", limit, "; allow more");
        TileLimits limits = tiles_;
        limits.bytes = limit - beside;
        return limits;
    }

    static constexpr std::size_t usual = 600'000'000;

  private:
    /// What an image takes on the host beside the arena: itself, its result, the map at hand and those that are kept, the
    /// luminance, and then the files that are made of them.
    static std::size_t host_bytes(const Work& w) {
        const std::size_t planes = w.planes, map = sizeof(float) * w.maps;
        const std::size_t kept = w.with_map ? map * (w.shared ? 1 : planes) : 0;
        const std::size_t arrays = 2 * sizeof(float) * planes + map + kept + (w.shared ? sizeof(float) : 0);
        // The picture, its samples and the map's colours, of which compression holds five copies for a moment.
        const std::size_t files = planes * (sizeof(float) + 5 * std::size_t(w.bits) / 8) +
                                  (w.with_map ? kept + 3 * (sizeof(float) + 5) : 0);
        return std::size_t(w.height) * w.width * (arrays + files) + w.turning;
    }

    Model& model_;
    TileLimits tiles_;
    std::optional<std::size_t> given_;
    bool on_device_;
    std::size_t least_tile_, taken_;
};

/// Told which part of an image's work is done; what it throws ends the work.
using Progress = std::function<void(double part)>;

/// Denoises planes of H×W: each by a map of its own or, if `shared`, the channels of a picture by one. That is what the
/// network makes of their luminance, divided by luma_noise: a solution scales with image and map, so a channel, in
/// which the noise is stronger, needs a map that is as much stronger. maps: gets each map in turn, unless null.
std::vector<float> denoise_planes(Denoiser& denoiser, const InputImages& noisy, bool shared,
                                  const PixelWeights& weights, std::vector<float>* maps,
                                  const Progress& done) {
    const std::vector<float>& planes = noisy.values;
    const auto pixels = std::size_t(noisy.pixels());
    const std::size_t count = planes.size() / pixels;
    std::vector<float> own_weights;
    const auto weights_of = [&](const float* plane) {
        return weights.of(plane, noisy.height, noisy.width, own_weights);
    };
    std::vector<float> result(planes.size()), lambda(pixels * std::size_t(denoiser.maps()));
    const auto keep_map = [&] {
        if (maps != nullptr) maps->insert(maps->end(), lambda.begin(), lambda.end());
    };
    if (shared) {
        std::vector<float> luminance(pixels);
        for (std::size_t c = 0; c < count; ++c)
            for (std::size_t i = 0; i < pixels; ++i) luminance[i] += luma[c] * planes[c * pixels + i];
        denoiser.run(luminance.data(), lambda.data(), result.data(), weights_of(luminance.data()),
                     [&](double part) { done(0.9 * part); });
        for (float& value : lambda) value /= luma_noise;
        keep_map();
    }
    for (std::size_t c = 0; c < count; ++c) {
        const float* const plane = &planes[c * pixels];
        float* const denoised = &result[c * pixels];
        if (shared) {
            denoiser.restore(plane, lambda.data(), denoised, weights_of(plane));
        } else {
            denoiser.run(plane, lambda.data(), denoised, weights_of(plane),
                         [&](double part) { done((double(c) + part) / double(count)); });
            keep_map();
        }
    }
    done(1);
    return result;
}

/// Denoises an image and writes its results, all of them or none.
void denoise(const std::string& path, InputImages noisy, const std::vector<std::string>& paths,
             const PixelWeights& weights, Denoiser& denoiser, bool shared, const Progress& done) {
    const int h = noisy.height, w = noisy.width;
    const auto pixels = std::size_t(noisy.pixels());
    const bool with_map = paths.size() > 1;
    if (!weights.mask.empty())
        for (std::size_t i = 0; i < noisy.values.size(); ++i)
            if (weights.mask[i % pixels] == 0) noisy.values[i] = 0;
    std::vector<float> maps;
    const std::vector<float> result =
        denoise_planes(denoiser, noisy, shared, weights, with_map ? &maps : nullptr, done);
    for (const float value : result)
        if (!std::isfinite(value))
            fail(path,
                 ": its result is not finite, since values of it are too large; give an image without them "
                 "(a value may stand for missing data), or --peak");
    const std::string image = encode_images(paths[0], noisy, result);
    if (!with_map) return write_file(paths[0], image);
    const auto count = std::int64_t(maps.size() / pixels);
    const std::string map = encode_npy(
        count == 1 ? std::vector<std::int64_t>{h, w} : std::vector<std::int64_t>{count, h, w}, maps.data());
    const std::string map_colours = encode_png(paths[2], map_picture(maps.data(), h, w));
    write_files({{paths[0], {image}}, {paths[1], {map}}, {paths[2], {map_colours}}});
}

/// What the noise of each image seems to be, plane by plane; nothing where what is observed says nothing of it.
class NoiseEstimates {
  public:
    explicit NoiseEstimates(const ObservationConfig& observation) : possible_(shows_noise(observation)) {}

    void add(const std::string& path, const InputImages& noisy) {
        if (!possible_) return;
        Json sigmas = Json::array();
        for (int c = 0; c < noisy.images; ++c) {
            const double sigma =
                estimate_noise(&noisy.values[std::size_t(c) * noisy.pixels()], noisy.height, noisy.width);
            sigmas.push_back(sigma);
            if (std::isfinite(sigma)) all_.push_back(sigma);
        }
        json_.push_back({{"image", path}, {"sigma", sigmas}});
    }

    const Json& json() const { return json_; }
    /// One line, or "".
    std::string line() const {
        if (all_.empty()) return "";
        const auto [least, most] = std::minmax_element(all_.begin(), all_.end());
        const std::string range = number(*least, 3) + (all_.size() > 1 ? " … " + number(*most, 3) : "");
        return "estimated noise (white is 1): σ = " + range + "\n";
    }

  private:
    bool possible_;
    std::vector<double> all_;
    Json json_ = Json::array();
};

int run(Options& options, const CommonOptions& common) {
    options.checkpoint = weights_file(options.weights);
    Config config = checkpoint_config(options.checkpoint, options.set);
    const std::unique_ptr<Backend> backend = backend_for_weights(config, common, options.set);
    if (!options.colour.empty()) config.denoise.luminance = options.colour == "luminance";
    if (config.network.predicts_image && (options.map || config.denoise.luminance))
        throw UsageError(text(options.map ? "--map" : "--colour luminance", ": ", options.checkpoint,
                              " has no map: it was trained with network.output: image"));
    const std::string settings = check_use(options.checkpoint, config).line();
    // All images are read once before the first is worked on.
    std::vector<Output> outputs;
    std::vector<std::vector<std::string>> results;
    ReadTwice<InputImages> inputs;
    ImageOptions reading = options.reading;
    reading.picture_limit = config.data.picture_limit;
    const ObservationConfig& observation = config.solver.observation;
    const NpyArray mask = read_weights_of(options, config);
    const std::optional<CountNoise> counts = count_noise(options, config);
    const auto read = [&](const std::string& path) {
        InputImages images = read_images(path, reading);
        if (observation.sight == Sight::downsample) enlarge(images, observation.factor);
        if (!mask.values.empty() && (mask.shape[0] != images.height || mask.shape[1] != images.width))
            fail(options.mask, ": ", mask.shape[0], "×", mask.shape[1], " does not fit ", path, ", ",
                 images.height, "×", images.width);
        return images;
    };
    const auto input = [&](std::size_t i) {
        return inputs.read(i, {options.images[i]}, [&] { return read(options.images[i]); });
    };
    std::vector<Work> works;
    for (std::size_t i = 0; i < options.images.size(); ++i) {
        const InputImages images = input(i);
        reading.warn("denoise", options.images[i], images, noisy_beyond);
        results.push_back(result_paths(options, options.images[i], images.own_ending));
        const bool shared = shares_map(config, images);
        const int maps = map_count(config);
        add_outputs(outputs, results.back(), images, std::size_t(maps) * (shared ? 1 : images.images));
        works.push_back({images.height, images.width, images.images, images.bits, shared, options.map, maps,
                         Denoiser::host_bytes(config, images.height, images.width)});
    }
    check_names(options.images, results);
    const TileLimits tiles = usual_tiles(*backend, config);
    Model model = Model::load(*backend, config, options.checkpoint, tiles.shortest, tiles.shortest, tiles);
    const Memory memory(*backend, model, tiles, options.memory);
    const auto limits = [&](std::size_t i) { return memory.limits(options.images[i], works[i]); };
    for (std::size_t i = 0; i < works.size(); ++i) limits(i);
    const std::string settings_file = options.out + "/settings.txt";
    if (!settings.empty()) outputs.push_back({settings_file});
    prepare_outputs(outputs, {options.mask, options.checkpoint});
    if (!settings.empty()) write_file(settings_file, options.checkpoint + ": " + settings + "\n");
    print_banner(common, options.checkpoint, backend->description());

    ProgressLine progress("denoising", double(options.images.size()), "images", common.quiet);
    NoiseEstimates noise(observation);
    interrupted();
    for (std::size_t i = 0; i < works.size(); ++i) {
        const auto done = [&](double part) {
            if (interrupted() && part < 1)
                throw Interrupted(text("interrupted; ", options.out, " holds the first ", i, " of ",
                                       options.images.size(), " images"));
            progress.update(double(i) + std::round(100 * part) / 100);
        };
        done(0);
        InputImages noisy = input(i);
        noise.add(options.images[i], noisy);
        Denoiser& denoiser = model.denoiser(works[i].height, works[i].width, limits(i));
        denoise(options.images[i], std::move(noisy), results[i], {mask.values, counts}, denoiser,
                works[i].shared, done);
    }
    print_result(common,
                 Json{{"command", "denoise"},
                      {"device", backend->description()},
                      {"out", options.out},
                      {"images", options.images.size()},
                      {"weights", options.checkpoint},
                      {"noise", noise.json()},
                      {"settings", settings}},
                 text(options.out, ": ", options.images.size(), " images",
                      options.map ? ", each with its map\n" : "\n", options.weights_line(), noise.line(),
                      settings, settings.empty() ? "" : "\n"));
    return success;
}

}  // namespace

void add_denoise(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add(
        "denoise", "denoise pictures of any size with a trained network",
        "tvmap denoise noisy/*.png --weights runs/quickstart/checkpoints/best.safetensors --out denoised",
        [options](const CommonOptions& common) { return run(*options, common); });
    command
        .add_option(
            "images", options->images,
            "noisy pictures, grey or colour, or .npy arrays (H×W, N×H×W); each result has its image's "
            "samples: .npy, .tif, or .png of 8 or 16 bits")
        ->type_name(value::file)
        ->required();
    command
        .add_option_function<std::string>(
            "--weights,--checkpoint",
            [options](const std::string& given) {
                options->weights = given;
                options->weights_given = true;
            },
            "a checkpoint (.safetensors), or the name of weights that come with the program (tvmap info "
            "lists them)")
        ->type_name(value::name_or_file)
        ->default_str(usual_weights);
    command
        .add_option("--set", options->set,
                    "KEY=VALUE in place of the checkpoint's configuration; may be repeated")
        ->type_name(value::setting)
        ->allow_extra_args(false);
    command
        .add_option(
            "--mask", options->mask,
            "for networks of solver.operator: mask: .npy H×W, 0 where a pixel is missing, 1 elsewhere")
        ->type_name(value::file);
    command
        .add_option("--colour", options->colour,
                    "channels (each is denoised by a map of its own) or luminance (all by the map of their "
                    "luminance) (default: denoise.colour of the configuration)")
        ->check(CLI::IsMember({"channels", "luminance"}));
    command.add_flag("--map", options->map,
                     "also write the maps: NAME_lambda.npy and, the first in colours, _lambda.png");
    options->reading.add_peak(command);
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
            "images pass the network in tiles, with the same result; unless given, more where an image takes "
            "more")
        ->type_name("BYTES")
        ->default_str("600MB");
    command.add_option("--out", options->out, "folder, made if need be")
        ->type_name(value::folder)
        ->capture_default_str();
}

}  // namespace tvmap
