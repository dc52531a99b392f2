#include "engine/model/unet.h"

#include <cmath>

#include "engine/config/solver_problem.h"
#include "engine/graph/noise_scale.h"
#include "engine/graph/operations.h"
#include "engine/graph/restore.h"
#include "engine/graph/sure.h"
#include "engine/graph/upsample_window.h"
#include "engine/unrolled/step_sizes.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// Of a convolution with a leaky ReLU of this slope behind it.
ConvolutionStart start_of(const NetworkConfig& network, float slope) {
    if (!network.he) return {};
    return {.weight = {.gain = std::sqrt(6 / (1 + slope * slope))}, .bias = {.value = 0.0f}};
}

ConvolutionStart last_start(const NetworkConfig& network) {
    if (!network.he) return {};
    return {.weight = {.value = 0.0f}, .bias = {.value = 0.0f}};
}

Value double_convolution(Graph& graph, Value x, const std::string& name, int channels,
                         const NetworkConfig& network) {
    const float slope = float(network.slope);
    const ConvolutionStart start = start_of(network, slope);
    x = convolution(graph, x, name + ".conv_block.0", channels, 3, slope, start);
    return convolution(graph, x, name + ".conv_block.2", channels, 3, slope, start);
}

/// The map; or the denoised image, where the network's output is that. `level`: of the image's noise, where the network
/// works at its scale. With `window`, of a window of a larger image.
void record_network(RecordedModel& model, const Config& config, Value level, Value window = {}) {
    Graph& graph = model.graph;
    const NetworkConfig& network = config.network;
    const auto at_scale = [&](Scaling scaling, Value x) {
        return network.normalise ? scaled(graph, scaling, x, level) : x;
    };
    const Value raw = record_unet(graph, network, at_scale(Scaling::divide, model.noisy), window);
    if (network.predicts_image) {
        model.denoised = residual(graph, model.noisy, at_scale(Scaling::multiply, raw));
        return;
    }
    const MapFromRaw map{float(config.map.scale), float(config.map.up_bound)};
    const int maps = map_count(config.solver, config.map);
    model.lambda = at_scale(Scaling::multiply, map_from_raw(graph, raw, map, maps));
}

Value level_of(RecordedModel& model, const Config& config) {
    return config.network.normalise ? noise_level(model.graph, model.noisy) : Value{};
}

/// Where the steps are learned, also adds their parameters, to the graph and to the model.
void record_solver(RecordedModel& model, const Config& config, int iterations) {
    const Features image = model.graph.tensor(model.noisy).shape;
    if (!is_plain(config.solver)) {
        const SolverProblem problem = family_problem(config.solver, config.map, image.n, image.h, image.w);
        if (iterations == 0) return;
        const ObservationConfig& observation = config.solver.observation;
        if (observation.data() == DataTerm::weights)
            model.weights = model.graph.input("weights", image.n, 1, image.h, image.w);
        model.denoised = restore(model.graph, {model.noisy, model.weights, blur_kernel(observation)},
                                 model.lambda, problem, iterations, config.solver.gradient);
        return;
    }
    const PdhgProblem problem = pdhg_problem(config.solver, config.map, image.n, image.h, image.w);
    if (config.solver.train_steps == TrainSteps::none) {
        if (iterations > 0)
            model.denoised =
                denoise(model.graph, model.noisy, model.lambda, problem, iterations, config.solver.gradient);
        return;
    }
    const StepTraining training = step_training(config.solver, problem);
    model.steps = step_parameters(model.graph, training);
    if (iterations > 0)
        model.denoised =
            denoise_with_steps(model.graph, model.noisy, model.lambda, problem, iterations, training);
}

}  // namespace

int network_block(const Backend& backend, const NetworkConfig& network) {
    int block = 0;
    for (int channels : network.channels) {
        const int own = backend.channel_block(channels);
        if (block != 0 && own != block) return 1;
        block = own;
    }
    return block;
}

Graph network_graph(const Backend& backend, const NetworkConfig& network) {
    const int block = network_block(backend, network);
    const Element element = backend.feature_element();
    if (element == Element::bf16 && block == 1)
        fail("network.precision: bf16 on the CPU needs network.channels that are all multiples of 16, ",
             "or all of 8 and none of 16; use others, or fp32");
    return Graph(block, element);
}

Value record_unet(Graph& graph, const NetworkConfig& network, Value image, Value window) {
    const int levels = int(network.channels.size());
    const Features shape = graph.tensor(image).shape;
    const int multiple = 1 << (levels - 1);
    if (shape.h % multiple != 0 || shape.w % multiple != 0)
        fail("network: images of ", shape.h, "x", shape.w, " cannot be halved ", levels - 1,
             " times; sides must be multiples of ", multiple);

    std::vector<Value> skips;
    Value x = double_convolution(graph, image, "c0x0", network.channels[0], network);
    for (int i = 0; i + 1 < levels; ++i) {
        skips.push_back(x);
        x = double_convolution(graph, max_pool(graph, x), "encoder." + std::to_string(i) + ".double_conv",
                               network.channels[i + 1], network);
    }
    for (int i = 0; i + 1 < levels; ++i) {
        const int channels = network.channels[levels - 2 - i];
        const std::string name = "decoder." + std::to_string(i);
        x = convolution(graph, x, name + ".upsampling.1", channels, 1, 1.0f, start_of(network, 1.0f));
        // A level's pixels are 2^level of the image's.
        x = window.id < 0 ? upsample(graph, x)
                          : upsample_window(graph, x, window, 1.0f / float(multiple >> i));
        x = concatenate(graph, {skips.back(), x});
        skips.pop_back();
        x = double_convolution(graph, x, name + ".double_conv", channels, network);
    }
    return convolution(graph, x, "c1x1", network.outputs, 1, 1.0f, last_start(network));
}

RecordedModel record_training_model(const Backend& backend, const Config& config, int n, int h, int w) {
    RecordedModel model{.graph = network_graph(backend, config.network)};
    Graph& graph = model.graph;
    n *= config.train.fed_images();
    model.noisy = graph.input("noisy", n, 1, h, w);
    model.target = graph.input("target", n, 1, h, w);
    record_network(model, config, level_of(model, config));
    if (!config.network.predicts_image) record_solver(model, config, config.solver.iterations);
    model.loss = config.train.supervision == Supervision::sure
                     ? sure(graph, model.denoised, model.target, config.train.sure_epsilon)
                     : loss(graph, model.denoised, model.target, config.train.loss);
    return model;
}

RecordedModel record_inference_model(const Backend& backend, const Config& config, int n, int h, int w,
                                     int iterations) {
    RecordedModel model{.graph = network_graph(backend, config.network)};
    Graph& graph = model.graph;
    model.noisy = graph.input("noisy", n, 1, h, w);
    record_network(model, config, level_of(model, config));
    if (config.network.predicts_image) {
        graph.keep(model.denoised);
        return model;
    }
    graph.keep(model.lambda);
    record_solver(model, config, iterations);
    if (iterations > 0) graph.keep(model.denoised);
    return model;
}

RecordedModel record_window_model(const Backend& backend, const Config& config, int h, int w) {
    RecordedModel model{.graph = network_graph(backend, config.network)};
    Graph& graph = model.graph;
    model.noisy = graph.input("noisy", 1, 1, h, w);
    model.window = graph.input("window", 1, 4, 1, 1);
    if (config.network.normalise) model.level = graph.input("noise level", 1, 1, 1, 1);
    record_network(model, config, model.level, model.window);
    graph.keep(config.network.predicts_image ? model.denoised : model.lambda);
    if (!config.network.predicts_image) record_solver(model, config, 0);
    return model;
}

}  // namespace tvmap
