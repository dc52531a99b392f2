// tvmap denoise: a trained network on pictures of any size, grey or colour.
#include <filesystem>
#include <map>
#include <memory>
#include <vector>

#include "apps/command.h"
#include "engine/checkpoint.h"
#include "engine/denoiser.h"
#include "engine/evaluation_files.h"
#include "engine/figures.h"
#include "engine/file.h"
#include "engine/npy.h"

namespace tvmap {
namespace {

struct Options {
    std::vector<std::string> images, set;
    std::string checkpoint, out;
};

/// Plans are kept by image size: most calls are on images of one size.
class Denoisers {
  public:
    Denoisers(const Config& config, const std::string& checkpoint)
        : config_(config), checkpoint_(checkpoint), backend_(make_backend(config.device)) {}

    Denoiser& of(int height, int width) {
        if (denoiser_ && height == height_ && width == width_) return *denoiser_;
        denoiser_.reset();
        arena_.reset();
        denoiser_ = std::make_unique<Denoiser>(*backend_, algorithms_, config_, height, width);
        if (!parameters_) {
            parameters_ = std::make_unique<Parameters>(*backend_, denoiser_->graph().parameters(), false);
            read_checkpoint(checkpoint_, *parameters_, false);
        }
        arena_ = std::make_unique<Arena>(*backend_, denoiser_->arena_bytes());
        denoiser_->bind(*arena_, *parameters_);
        algorithms_.save_for_machine();
        height_ = height;
        width_ = width;
        return *denoiser_;
    }

  private:
    Config config_;
    std::string checkpoint_;
    std::unique_ptr<Backend> backend_;
    Algorithms algorithms_ = Algorithms::of_machine();
    std::unique_ptr<Parameters> parameters_;
    std::unique_ptr<Denoiser> denoiser_;
    std::unique_ptr<Arena> arena_;
    int height_ = 0, width_ = 0;
};

/// Denoises each channel by itself and writes NAME.png, NAME_lambda.npy and NAME_lambda.png.
void denoise(const std::string& path, Denoisers& denoisers, const std::string& out) {
    const Picture noisy = read_picture(path);
    const int h = noisy.height, w = noisy.width;
    const std::size_t pixels = std::size_t(h) * w;
    Denoiser& denoiser = denoisers.of(h, w);
    std::vector<float> plane(pixels), result(pixels), maps(pixels * denoiser.maps() * noisy.channels);
    Picture denoised = noisy;
    for (int c = 0; c < noisy.channels; ++c) {
        for (std::size_t i = 0; i < pixels; ++i) plane[i] = noisy.values[i * noisy.channels + c];
        denoiser.run(plane.data(), &maps[c * pixels * denoiser.maps()], result.data());
        for (std::size_t i = 0; i < pixels; ++i) denoised.values[i * noisy.channels + c] = result[i];
    }
    const std::string stem = out + "/" + std::filesystem::path(path).stem().string();
    write_png(stem + ".png", denoised, noisy.bits);
    const int planes = denoiser.maps() * noisy.channels;
    write_npy(stem + "_lambda.npy",
              planes == 1 ? std::vector<std::int64_t>{h, w} : std::vector<std::int64_t>{planes, h, w},
              maps.data());
    write_png(stem + "_lambda.png", map_picture(maps.data(), h, w));
}

int run(const Options& options, const CommonOptions& common) {
    Config config = checkpoint_config(options.checkpoint);
    if (!options.set.empty()) config = parse_config(config.to_yaml(), options.checkpoint, options.set);
    if (common.device != "auto") config.device = common.device;
    std::map<std::string, std::string> stems;
    for (const std::string& image : options.images) {
        const std::string stem = std::filesystem::path(image).stem().string();
        if (const auto [entry, fresh] = stems.insert({stem, image}); !fresh)
            fail(image, " and ", entry->second, " would both be written as ", stem,
                 ".png; denoise them into two folders");
        std::error_code error;
        if (std::filesystem::equivalent(image, options.out + "/" + stem + ".png", error))
            fail(image, ": would be overwritten by its own result; choose another --out");
    }
    make_folder(options.out);

    Denoisers denoisers(config, options.checkpoint);
    ProgressLine progress("denoising", double(options.images.size()), "images", common.quiet);
    interrupted();
    double done = 0;
    for (const std::string& image : options.images) {
        if (interrupted()) return was_interrupted;
        denoise(image, denoisers, options.out);
        progress.update(++done);
    }
    print_result(common,
                 Json{{"command", "denoise"}, {"out", options.out}, {"images", options.images.size()}},
                 text(options.out, ": ", options.images.size(), " images, each with its map\n"));
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
    command.add_option("--out", options->out, "folder, made if need be")->required();
}

}  // namespace tvmap
