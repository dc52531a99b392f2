#include "engine/model/unet.h"

#include "engine/config/solver_problem.h"
#include "engine/graph/operations.h"
#include "engine/graph/restore.h"
#include "engine/graph/upsample_window.h"
#include "engine/unrolled/step_sizes.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

Value double_convolution(Graph& graph, Value x, const std::string& name, int channels, float slope) {
    x = convolution(graph, x, name + ".conv_block.0", channels, 3, slope);
    return convolution(graph, x, name + ".conv_block.2", channels, 3, slope);
}

Value record_map(Graph& graph, const Config& config, Value noisy, Value window = {}) {
    const Value raw = record_unet(graph, config.network, noisy, window);
    const MapFromRaw map{float(config.map.scale), float(config.map.up_bound)};
    return map_from_raw(graph, raw, map, map_count(config.solver, config.map));
}

/// Where the steps are learned, also adds their parameters, to the graph and to the model.
void record_solver(RecordedModel& model, const Config& config, int iterations) {
    const Features image = model.graph.tensor(model.noisy).shape;
    if (!is_plain(config.solver)) {
        const SolverProblem problem = family_problem(config.solver, config.map, image.n, image.h, image.w);
        if (iterations == 0) return;
        const ObservationConfig& observation = config.solver.observation;
        if (observation.data == DataTerm::weights)
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

Value record_unet(Graph& graph, const NetworkConfig& network, Value image, Value window) {
    const int levels = int(network.channels.size());
    const Features shape = graph.tensor(image).shape;
    const int multiple = 1 << (levels - 1);
    if (shape.h % multiple != 0 || shape.w % multiple != 0)
        fail("network: images of ", shape.h, "x", shape.w, " cannot be halved ", levels - 1,
             " times; sides must be multiples of ", multiple);
    const float slope = float(network.slope);

    std::vector<Value> skips;
    Value x = double_convolution(graph, image, "c0x0", network.channels[0], slope);
    for (int i = 0; i + 1 < levels; ++i) {
        skips.push_back(x);
        x = double_convolution(graph, max_pool(graph, x), "encoder." + std::to_string(i) + ".double_conv",
                               network.channels[i + 1], slope);
    }
    for (int i = 0; i + 1 < levels; ++i) {
        const int channels = network.channels[levels - 2 - i];
        const std::string name = "decoder." + std::to_string(i);
        x = convolution(graph, x, name + ".upsampling.1", channels, 1, 1.0f);
        // A level's pixels are 2^level of the image's.
        x = window.id < 0 ? upsample(graph, x)
                          : upsample_window(graph, x, window, 1.0f / float(multiple >> i));
        x = concatenate(graph, {skips.back(), x});
        skips.pop_back();
        x = double_convolution(graph, x, name + ".double_conv", channels, slope);
    }
    return convolution(graph, x, "c1x1", network.outputs, 1, 1.0f);
}

RecordedModel record_training_model(const Backend& backend, const Config& config, int n, int h, int w) {
    RecordedModel model{.graph = Graph(network_block(backend, config.network))};
    Graph& graph = model.graph;
    model.noisy = graph.input("noisy", n, 1, h, w);
    model.target = graph.input("target", n, 1, h, w);
    model.lambda = record_map(graph, config, model.noisy);
    record_solver(model, config, config.solver.iterations);
    model.loss = loss(graph, model.denoised, model.target, config.train.loss);
    return model;
}

RecordedModel record_inference_model(const Backend& backend, const Config& config, int n, int h, int w,
                                     int iterations) {
    RecordedModel model{.graph = Graph(network_block(backend, config.network))};
    Graph& graph = model.graph;
    model.noisy = graph.input("noisy", n, 1, h, w);
    model.lambda = record_map(graph, config, model.noisy);
    graph.keep(model.lambda);
    record_solver(model, config, iterations);
    if (iterations > 0) graph.keep(model.denoised);
    return model;
}

RecordedModel record_window_model(const Backend& backend, const Config& config, int h, int w) {
    RecordedModel model{.graph = Graph(network_block(backend, config.network))};
    Graph& graph = model.graph;
    model.noisy = graph.input("noisy", 1, 1, h, w);
    model.window = graph.input("window", 1, 4, 1, 1);
    model.lambda = record_map(graph, config, model.noisy, model.window);
    graph.keep(model.lambda);
    record_solver(model, config, 0);
    return model;
}

}  // namespace tvmap
