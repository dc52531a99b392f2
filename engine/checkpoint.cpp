#include "engine/checkpoint.h"

#include <cstdio>
#include <cstdlib>

#include "kernels/error.h"

namespace tvmap {
namespace {

/// A double that reads back as the same bits.
std::string exact(double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%a", value);
    return buffer;
}

const std::string& entry(const SafeTensors& file, const std::string& key, const std::string& path) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end())
        fail(path, ": no '", key,
             "' in its metadata: these are weights alone, training cannot go on from them");
    return found->second;
}

double number(const SafeTensors& file, const std::string& key, const std::string& path) {
    const std::string& value = entry(file, key, path);
    char* end = nullptr;
    const double result = std::strtod(value.c_str(), &end);
    if (value.empty() || *end) fail(path, ": metadata '", key, "' is '", value, "', not a number");
    return result;
}

}  // namespace

void write_checkpoint(const std::string& path, const Parameters& parameters, const Config& config,
                      const Progress& progress) {
    const std::map<std::string, std::string> metadata = {
        {"format", "pt"},  // what PyTorch's readers look for
        {"tvmap.config", config.to_yaml()},
        {"tvmap.epoch", std::to_string(progress.epoch)},
        {"tvmap.step", std::to_string(progress.step)},
        {"tvmap.steps", std::to_string(progress.steps)},
        {"tvmap.loss_sum", exact(progress.loss_sum)},
        {"tvmap.seconds", text(progress.seconds)},
        {"tvmap.data", progress.data},
        {"tvmap.best_psnr", exact(progress.best_psnr)},
        {"tvmap.best_epoch", std::to_string(progress.best_epoch)}};
    write_safetensors(path, parameters.stored(true).tensors, metadata);
}

Progress read_checkpoint(const std::string& path, Parameters& parameters, bool moments) {
    const SafeTensors file = read_safetensors(path);
    Progress progress;
    if (moments) {
        progress.epoch = int(number(file, "tvmap.epoch", path));
        progress.step = int(number(file, "tvmap.step", path));
        progress.steps = std::int64_t(number(file, "tvmap.steps", path));
        progress.loss_sum = number(file, "tvmap.loss_sum", path);
        progress.seconds = number(file, "tvmap.seconds", path);
        progress.data = entry(file, "tvmap.data", path);
        progress.best_psnr = number(file, "tvmap.best_psnr", path);
        progress.best_epoch = int(number(file, "tvmap.best_epoch", path));
    }
    parameters.load(file, moments, path);
    return progress;
}

Config checkpoint_config(const std::string& path) {
    const SafeTensors file = read_safetensors(path);
    if (const auto yaml = file.metadata.find("tvmap.config"); yaml != file.metadata.end())
        return parse_config(yaml->second, path + " (its configuration)");

    Config config;
    auto out_channels = [&](const std::string& name) {
        const auto tensor = file.tensors.find(name);
        if (tensor == file.tensors.end() || tensor->second.shape.empty())
            fail(path, ": no tensor '", name, "': not a checkpoint of a U-Net that this program knows");
        return int(tensor->second.shape[0]);
    };
    config.network.channels = {out_channels("c0x0.conv_block.0.weight")};
    for (int i = 0; file.tensors.count("encoder." + std::to_string(i) + ".double_conv.conv_block.0.weight");
         ++i)
        config.network.channels.push_back(
            out_channels("encoder." + std::to_string(i) + ".double_conv.conv_block.0.weight"));
    config.network.outputs = out_channels("c1x1.weight");
    return config;
}

}  // namespace tvmap
