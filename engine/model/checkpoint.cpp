#include "engine/model/checkpoint.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <limits>

#include "engine/files/decimal.h"
#include "engine/unrolled/step_sizes.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

// Earlier programs took SURE by a forward difference: the best of it tells nothing of today's.
constexpr char best_sure_key[] = "tvmap.best_symmetric_sure", earlier_best_sure_key[] = "tvmap.best_sure";

const std::string& entry(const SafeTensors& file, const std::string& key, const std::string& path) {
    const auto found = file.metadata.find(key);
    if (found == file.metadata.end())
        fail(path, ": no '", key,
             "' in its metadata: training cannot go on from weights alone, nor from another version's "
             "checkpoint");
    return found->second;
}

/// A number from `least` to `most`.
template <class Number>
Number number(const SafeTensors& file, const std::string& key, const std::string& path, Number least,
              Number most) {
    const std::string& value = entry(file, key, path);
    const std::optional<Number> result = parse_decimal<Number>(value);
    if (!result || *result < least || *result > most)
        fail(path, ": metadata '", key, "' is '", value, "', where a number from ", least, " to ", most,
             " is due; get the file again");
    return *result;
}

Progress progress_of(const SafeTensors& file, const std::string& path) {
    constexpr double infinite = std::numeric_limits<double>::max();
    Progress p;
    p.epoch = number(file, "tvmap.epoch", path, 0, INT_MAX - 1);  // the next one has a number too
    p.step = number(file, "tvmap.step", path, 0, INT_MAX - 1);
    p.steps = number<std::int64_t>(file, "tvmap.steps", path, 0, INT64_MAX);
    p.loss_sum = number(file, "tvmap.loss_sum", path, -infinite, infinite);
    p.seconds = number(file, "tvmap.seconds", path, 0.0, infinite);
    p.best_psnr = number(file, "tvmap.best_psnr", path, -infinite, infinite);
    p.best_epoch = number(file, "tvmap.best_epoch", path, 0, p.epoch);
    p.train_images = entry(file, "tvmap.train_images", path);
    p.val_images = entry(file, "tvmap.val_images", path);
    if (file.metadata.count(best_sure_key))
        p.best_sure = number(file, best_sure_key, path, -infinite, infinite);
    p.earlier_sure = file.metadata.count(earlier_best_sure_key) > 0;
    if (file.metadata.count("tvmap.changes")) p.changes = entry(file, "tvmap.changes", path);
    if (file.metadata.count("tvmap.time")) p.time = number(file, "tvmap.time", path, 0.0, infinite);
    if (file.metadata.count("tvmap.unimproved"))
        p.unimproved = number(file, "tvmap.unimproved", path, 0, INT_MAX - 1);
    return p;
}

/// The side of a tensor, "" and 0 if it is not in the file.
int first_side(const SafeTensors& file, const std::string& name, const std::string& path) {
    const auto tensor = file.tensors.find(name);
    if (tensor == file.tensors.end() || tensor->second.shape.empty()) return 0;
    const std::int64_t side = tensor->second.shape[0];
    if (side < 1 || side > INT_MAX) fail(path, ": tensor ", name, ": ", side, " is no number of channels");
    return int(side);
}

/// `config` with the sizes of the network that the tensors have.
Config with_sizes_of(const SafeTensors& file, Config config, const std::string& path) {
    const auto channels = [&](const std::string& name) {
        const int count = first_side(file, name, path);
        if (count == 0)
            fail(path, ": no tensor '", name, "': not a checkpoint of a U-Net that this program knows");
        return count;
    };
    config.network.channels = {channels("c0x0.conv_block.0.weight")};
    for (int i = 0;; ++i) {
        const std::string name = text("encoder.", i, ".double_conv.conv_block.0.weight");
        if (!file.tensors.count(name)) break;
        config.network.channels.push_back(channels(name));
    }
    config.network.outputs = channels("c1x1.weight");

    const int steps = first_side(file, step_parameter_names[0], path);
    TrainSteps& learned = config.solver.train_steps;
    if (steps == 0)
        learned = TrainSteps::none;
    else if (steps > 1 || learned == TrainSteps::none)
        learned = TrainSteps::per_step;
    if (learned == TrainSteps::per_step) config.solver.iterations = steps;
    return config;
}

std::optional<Config> stored_config(const SafeTensors& file, const std::string& path) {
    const auto yaml = file.metadata.find("tvmap.config");
    if (yaml == file.metadata.end()) return std::nullopt;
    const Config config = parse_config(yaml->second, path + " (its configuration)");
    // The file is as long as its tensors: sizes that agree with them are sizes that memory can hold.
    for (const Difference& d : differences(config, with_sizes_of(file, config, path)))
        fail(path, ": its configuration says ", d.key, ": ", d.then, ", and its tensors are those of ", d.now,
             "; get the file again");
    return config;
}

Use use_of(const SafeTensors& file, const Config& config, const std::string& path) {
    if (const auto trained = stored_config(file, path)) return {true, check_use(*trained, config, path)};
    return {false, {}};
}

}  // namespace

std::string Use::line() const {
    if (!configured)
        return "these weights hold no configuration: no setting could be compared with their training's";
    std::string line;
    for (const Difference& d : differences)
        line += (line.empty() ? "other settings than in training: " : "; ") + describe(d);
    return line;
}

void write_checkpoint(const std::string& path, const Parameters& parameters, const Config& config,
                      const Progress& progress) {
    std::vector<float> copy;
    if (!parameters.host_state()) {
        copy.resize(parameters.state_floats());
        parameters.download_state(copy.data());
    }
    const float* const state = copy.empty() ? parameters.host_state() : copy.data();
    write_checkpoint(path, parameters.stored(state), config, progress);
}

void write_checkpoint(const std::string& path, const std::map<std::string, TensorView>& stored,
                      const Config& config, const Progress& progress) {
    for (const auto& [name, tensor] : stored)
        if (!std::all_of(tensor.values, tensor.values + tensor.count,
                         [](float v) { return std::isfinite(v); }))
            fail(path, ": is not written: '", name, "' is not finite");
    std::map<std::string, std::string> metadata = {{"format", "pt"},  // what PyTorch's readers look for
                                                   {"tvmap.config", config.to_yaml()},
                                                   {"tvmap.epoch", std::to_string(progress.epoch)},
                                                   {"tvmap.step", std::to_string(progress.step)},
                                                   {"tvmap.steps", std::to_string(progress.steps)},
                                                   {"tvmap.loss_sum", shortest_decimal(progress.loss_sum)},
                                                   {"tvmap.seconds", shortest_decimal(progress.seconds)},
                                                   {"tvmap.train_images", progress.train_images},
                                                   {"tvmap.val_images", progress.val_images},
                                                   {"tvmap.best_psnr", shortest_decimal(progress.best_psnr)},
                                                   {"tvmap.best_epoch", std::to_string(progress.best_epoch)}};
    if (progress.best_sure < Progress().best_sure)
        metadata[best_sure_key] = shortest_decimal(progress.best_sure);
    if (!progress.changes.empty()) metadata["tvmap.changes"] = progress.changes;
    if (progress.time > 0) metadata["tvmap.time"] = shortest_decimal(progress.time);
    if (progress.unimproved > 0) metadata["tvmap.unimproved"] = std::to_string(progress.unimproved);
    write_safetensors(path, stored, metadata);
}

Progress read_checkpoint(const std::string& path, Parameters& parameters) {
    const SafeTensors file = read_safetensors(path);
    const Progress progress = progress_of(file, path);
    parameters.load(file, true, path);
    return progress;
}

Progress read_progress(const std::string& path) { return progress_of(read_safetensors(path), path); }

bool has_moments(const std::string& path) {
    const SafeTensors file = read_safetensors(path);
    return std::any_of(file.tensors.begin(), file.tensors.end(),
                       [](const auto& entry) { return entry.first.starts_with("optimiser."); });
}

Use read_weights(const std::string& path, const Config& config, Parameters& parameters) {
    const SafeTensors file = read_safetensors(path);
    Use use = use_of(file, config, path);
    parameters.load(file, false, path);
    return use;
}

Use check_use(const std::string& path, const Config& config) {
    return use_of(read_safetensors(path), config, path);
}

std::optional<Config> stored_config(const std::string& path) {
    return stored_config(read_safetensors(path), path);
}

std::optional<std::int64_t> stored_steps(const std::string& path) {
    const SafeTensors file = read_safetensors(path);
    if (file.metadata.count("tvmap.steps") == 0) return std::nullopt;
    return number<std::int64_t>(file, "tvmap.steps", path, 0, INT64_MAX);
}

Config checkpoint_config(const std::string& path, const std::vector<std::string>& overrides) {
    const SafeTensors file = read_safetensors(path);
    const auto stored = stored_config(file, path);
    const Config config = stored ? *stored : with_sizes_of(file, {}, path);
    if (!stored) check_config(config, path);
    return overrides.empty() ? config : parse_config(config.to_yaml(), path, overrides);
}

}  // namespace tvmap
