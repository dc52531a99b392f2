#include "apps/commands/bench_cases.h"

#include <algorithm>
#include <array>

#include "engine/config/config.h"
#include "engine/graph/algorithms.h"
#include "engine/graph/operations.h"
#include "engine/graph/parameters.h"
#include "engine/graph/plan.h"
#include "engine/graph/solver_mapping.h"
#include "engine/model/unet.h"
#include "kernels/base/shapes.h"
#include "kernels/device_array.h"
#include "kernels/layers/leaky_relu.h"
#include "kernels/layers/map_from_raw.h"
#include "kernels/layers/max_pool.h"
#include "kernels/layers/upsample.h"
#include "kernels/training/loss.h"
#include "kernels/training/random.h"

namespace tvmap {
namespace {

template <class T>
using Shared = std::shared_ptr<DeviceArray<T>>;

class Cases {
  public:
    Cases(Backend& backend, const BenchOptions& options) : backend_(backend), options_(options) {
        const int n = options.batch, s = options.size;
        for (const auto& [in, out, side] : {std::array{1, 32, s},
                                            {32, 32, s},
                                            {64, 32, s},
                                            {32, 64, s / 2},
                                            {64, 64, s / 2},
                                            {128, 64, s / 2},
                                            {128, 128, s / 4},
                                            {256, 128, s / 4},
                                            {256, 256, s / 8}})
            convolution(dense_features(n, in, side, side, 1), out, 3, 0.01f);
        convolution(dense_features(n, 64, s / 2, s / 2, 1), 32, 1, 1.0f);
        convolution(dense_features(n, 32, s, s, 1), 2, 1, 1.0f);
        const Features wide = dense_features(n, 32, s, s, backend.channel_block(32));
        sampling(wide);
        elementwise(wide);
        losses();
        solver();
        network();
        training();
    }

    std::vector<std::pair<std::string, std::function<BenchCase()>>> makers;

  private:
    void add(const std::string& name, std::function<BenchCase()> make) {
        makers.emplace_back(name, std::move(make));
    }

    /// Numbers in [from, to), the same each time: never zeros, which can run faster than data.
    static std::vector<float> values(std::int64_t count, float from, float to) {
        std::vector<float> result(static_cast<std::size_t>(count));
        for (std::size_t i = 0; i < result.size(); ++i)
            result[i] = from + (to - from) * uniform(1, Purpose::phantom, 0, 0, std::uint32_t(i));
        return result;
    }
    Shared<float> numbers(std::int64_t count, float from, float to) const {
        return std::make_shared<DeviceArray<float>>(backend_, values(count, from, to));
    }
    /// The same as a tensor of this shape and element.
    Shared<float> tensor(const Features& shape, float from, float to) const {
        if (shape.element == Element::fp32) return numbers(shape.size(), from, to);
        const auto result = memory<float>(floats_of(shape));
        std::vector<Bfloat16> narrow(static_cast<std::size_t>(shape.size()));
        std::ranges::transform(values(shape.size(), from, to), narrow.begin(), to_bfloat16);
        backend_.upload(result->data(), narrow.data(), sizeof(Bfloat16) * narrow.size());
        return result;
    }
    /// Floats that take the tensor's room.
    static std::size_t floats_of(const Features& shape) {
        return (std::size_t(shape.size()) * element_bytes(shape.element) + sizeof(float) - 1) / sizeof(float);
    }
    template <class T>
    Shared<T> memory(std::size_t count) const {
        return std::make_shared<DeviceArray<T>>(backend_, count);
    }

    /// As it stands in the network, whose first and last tensors are planar.
    void convolution(Features x, int channels, int kernel, float slope) {
        Features y = dense_features(x.n, channels, x.h, x.w, 1);
        for (Features* f : {&x, &y}) {
            f->block = backend_.channel_block(f->c);
            if (f->block > 1) f->element = backend_.feature_element();
        }
        for (const bool backward : {false, true})
            add(backward ? "convolution_backward" : "convolution_forward", [=, this] {
                const ConvolutionProblem problem{x, y, kernel, slope, true, x.c > 1};
                const std::shared_ptr<Convolution> planned = backend_.convolution(problem, "");
                const std::int64_t weights = std::int64_t(channels) * x.c * kernel * kernel;
                const auto in = tensor(x, 0, 1), out = tensor(y, -1, 1), d_out = tensor(y, -1, 1),
                           w = numbers(weights, -0.1f, 0.1f);
                const auto b = numbers(channels, -0.1f, 0.1f);
                const auto work = memory<std::byte>(
                    std::max(planned->forward_workspace_bytes(), planned->backward_workspace_bytes()));
                const double x_bytes = double(element_bytes(x.element)) * double(x.size()),
                             y_bytes = double(element_bytes(y.element)) * double(y.size());
                const double forward_operations = 2.0 * double(weights) * x.n * x.h * x.w;
                BenchCase c;
                c.shape = text(shape_text(x), " → ", channels, ", ", kernel, "×", kernel);
                // "forward=…,weights=…,data=…", or one word for all of them
                const std::string all = planned->algorithms();
                const std::size_t comma = std::min(all.find(','), all.size());
                c.algorithm = backward && comma < all.size() ? all.substr(comma + 1) : all.substr(0, comma);
                if (!backward) {
                    c.bytes = x_bytes + y_bytes + 4.0 * double(weights);
                    c.operations = forward_operations;
                    c.run = [=] {
                        planned->forward(in->data(), w->data(), b->data(), out->data(), work->data());
                    };
                } else {
                    const bool d_x = problem.needs_d_x;
                    const auto d_in = memory<float>(floats_of(x)), d_w = memory<float>(weights);
                    const auto d_b = memory<float>(channels);
                    c.bytes = (d_x ? 2 : 1) * (x_bytes + 4.0 * double(weights)) + 2 * y_bytes;
                    c.operations = (d_x ? 2 : 1) * forward_operations;
                    c.run = [=] {
                        planned->backward({.x = in->data(),
                                           .weight = w->data(),
                                           .y = out->data(),
                                           .d_y = d_out->data(),
                                           .d_x = d_x ? d_in->data() : nullptr,
                                           .d_weight = d_w->data(),
                                           .d_bias = d_b->data()},
                                          work->data());
                    };
                }
                return c;
            });
    }

    /// An operation on tensors, given as shapes of one element; it moves so many numbers.
    void plain(const std::string& name, const std::vector<Features>& shapes, double moved,
               const std::function<void(Backend&, const std::vector<View>&)>& run) {
        add(name, [=, this] {
            std::vector<Shared<float>> buffers;
            std::vector<View> views;
            for (const Features& shape : shapes) {
                buffers.push_back(tensor(shape, -1, 1));
                views.push_back({buffers.back()->data(), shape});
            }
            BenchCase c;
            c.shape = shape_text(shapes.front());
            c.bytes = double(element_bytes(shapes.front().element)) * moved;
            c.run = [&backend = backend_, run, buffers, views] { run(backend, views); };
            return c;
        });
    }

    void sampling(Features large) {
        if (large.block > 1) large.element = backend_.feature_element();
        const Features small =
            dense_features(large.n, large.c, large.h / 2, large.w / 2, large.block, large.element);
        const double l = double(large.size()), s = double(small.size());
        plain("max_pool_forward", {large, small}, l + s,
              [](Backend& on, const auto& v) { max_pool_forward(on, v[0], v[1]); });
        plain("max_pool_backward", {large, small, large}, 2 * l + s,
              [](Backend& on, const auto& v) { max_pool_backward(on, v[0], v[1], v[2], Write::overwrite); });
        plain("upsample_forward", {large, small}, l + s,
              [](Backend& on, const auto& v) { upsample_forward(on, v[1], v[0]); });
        plain("upsample_backward", {large, small}, l + s,
              [](Backend& on, const auto& v) { upsample_backward(on, v[0], v[1], Write::overwrite); });
    }

    void elementwise(const Features& f) {
        const double floats = double(f.size());
        plain("leaky_relu_forward", {f, f}, 2 * floats,
              [](Backend& on, const auto& v) { leaky_relu_forward(on, v[0], v[1], 0.01f); });
        plain("leaky_relu_backward", {f, f, f}, 3 * floats, [](Backend& on, const auto& v) {
            leaky_relu_backward(on, v[0], v[1], v[2], 0.01f, Write::overwrite);
        });
        plain("add", {f, f, f}, 3 * floats,
              [](Backend& on, const auto& v) { add_forward(on, v[0], v[1], v[2]); });
        const Features raw = dense_features(f.n, 2, f.h, f.w, 1);
        plain("map_from_raw_forward", {raw, raw}, 2 * double(raw.size()),
              [](Backend& on, const auto& v) { map_from_raw_forward(on, MapFromRaw{}, v[0], v[1]); });
        plain("map_from_raw_backward", {raw, raw, raw}, 3 * double(raw.size()),
              [](Backend& on, const auto& v) {
                  map_from_raw_backward(on, MapFromRaw{}, v[0], v[1], v[2], Write::overwrite);
              });
        const Features weights = dense_features(1, 1, 1, 1796034, 1);  // the reference network's parameters
        plain("adam_step", {weights, weights, weights, weights}, 7 * double(weights.size()),
              [](Backend& on, const auto& v) {
                  on.adam_step(Adam{}, v[0].shape.size(), v[0].data, v[1].data, v[2].data, v[3].data);
              });
    }

    void losses() {
        const int n = options_.batch, s = options_.size;
        const Features f = dense_features(n, 1, s, s, 1);
        const double floats = double(f.size());
        const auto sums = std::make_shared<std::optional<DeviceArray<double>>>();
        const auto mse = [sums, n](Backend& on) {
            if (!*sums) sums->emplace(on, std::vector<double>(std::size_t(n) + 1, 0.1));
            return (*sums)->data();
        };
        plain("loss_forward", {f, f}, 2 * floats, [mse](Backend& on, const auto& v) {
            loss_forward(on, LossKind::mse, v[0], v[1], mse(on) + 1, mse(on));
        });
        plain("loss_backward", {f, f, f}, 3 * floats, [mse](Backend& on, const auto& v) {
            loss_backward(on, LossKind::mse, v[0], v[1], mse(on) + 1, v[2], Write::overwrite);
        });
        const Features pairs = dense_features(2 * n, 1, s, s, 1);
        plain("sure_forward", {pairs, pairs}, 4 * floats,
              [mse](Backend& on, const auto& v) { sure_forward(on, 0.1, v[0], v[1], mse(on) + 1, mse(on)); });
        plain("sure_backward", {pairs, pairs, pairs}, 5 * floats,
              [](Backend& on, const auto& v) { sure_backward(on, 0.1, v[0], v[1], v[2], Write::overwrite); });
        add("make_batch", [=, this] {
            const auto images = numbers(f.size(), 0, 1), clean = memory<float>(f.size()),
                       noisy = memory<float>(f.size());
            const auto counter = memory<std::uint32_t>(1);
            std::vector<BatchItem> batch(static_cast<std::size_t>(n));
            for (int i = 0; i < n; ++i) batch[std::size_t(i)] = {std::uint32_t(i), 0, 0, i % 2, 0, 0.1f, 1};
            const auto items = std::make_shared<DeviceArray<BatchItem>>(backend_, batch);
            Schedule schedule;
            schedule.steps = 1, schedule.batch = n;
            schedule.counter = counter->data(), schedule.items = items->data();
            BenchCase c;
            c.shape = shape_text(f);
            c.bytes = 4.0 * 3 * floats;
            c.run = [=, &backend = backend_] {
                (void)counter, (void)items;  // kept alive
                backend.make_batch(1, {images->data(), n, s}, schedule, {clean->data(), f},
                                   {noisy->data(), f});
            };
            return c;
        });
        add("image_quality", [=, this] {
            const auto images = numbers(f.size(), 0, 1), truths = numbers(f.size(), 0, 1);
            const auto quality = memory<ImageQuality>(static_cast<std::size_t>(n));
            BenchCase c;
            c.shape = shape_text(f);
            c.bytes = 4.0 * 2 * floats;
            c.run = [=, &backend = backend_] {
                backend.image_quality(
                    {.images = images->data(), .truths = truths->data(), .count = n, .height = s, .width = s},
                    quality->data());
            };
            return c;
        });
    }

    /// Per pixel and step: 4 operations for p, 2·3 for q (the clip not counted), 6 for x, 3 for x̄. The
    /// traffic is that of a plain sweep: 5 floats of state read and written, z and Λ read. So its share of
    /// the memory's peak says how much is saved by keeping the state on the chip, or carrying several steps
    /// through the caches.
    void solver() {
        PdhgProblem problem;
        problem.solves = options_.batch;
        problem.height = problem.width = options_.size;
        PdhgProblem search = problem;
        search.map = MapKind::scalar;
        search.solves = search.solves_per_image = 81;
        enum Kind { forward, with_masks, adjoint };
        const auto pdhg = [&](const char* name, PdhgProblem p, Kind kind) {
            add(name, [=, this, iterations = options_.iterations] {
                const std::int64_t count = p.solves * p.pixels();
                const auto z = numbers(count, 0, 1), lambda = numbers(p.solves * p.map_size(), 0, 0.2f),
                           x = numbers(count, -1e-5f, 1e-5f);
                const auto d_lambda = memory<float>(p.solves * p.map_size());
                settle_solver_mapping(backend_, p);
                const auto work = memory<std::byte>(backend_.pdhg_workspace_bytes(p));
                const auto masks =
                    memory<std::uint8_t>(kind == forward ? 0 : backend_.pdhg_mask_bytes(p, iterations));
                BenchCase c;
                const std::string mapping = backend_.pdhg_mapping_name(p);
                c.shape = text(p.solves, "×", p.height, "×", p.width, ", T = ", iterations,
                               mapping.empty() ? "" : ", ", mapping);
                c.operations = 19.0 * double(count) * iterations;
                c.bytes = 4.0 * 12 * double(count) * iterations;
                const auto run_forward = [=, &backend = backend_] {
                    backend.pdhg_forward(p, iterations, {z->data(), lambda->data()},
                                         {.x = x->data(), .masks = masks->data()},
                                         {work->data(), work->bytes()});
                };
                c.run = run_forward;
                if (kind == adjoint) {
                    run_forward();
                    c.run = [=, &backend = backend_] {
                        backend.pdhg_adjoint(p, iterations, {.masks = masks->data(), .d_x = x->data()},
                                             {.d_lambda = d_lambda->data()}, {work->data(), work->bytes()});
                    };
                }
                return c;
            });
        };
        pdhg("pdhg_forward", problem, forward);
        pdhg("pdhg_forward_masks", problem, with_masks);
        pdhg("pdhg_adjoint", problem, adjoint);
        pdhg("pdhg_search", search, forward);
    }

    /// A recorded graph that ends in a loss, with memory of its own.
    struct Step {
        std::unique_ptr<Parameters> parameters;
        std::unique_ptr<Plan> plan;
        std::unique_ptr<Arena> arena;
    };

    /// Ready to be run: weights initialised, both images filled with numbers.
    std::shared_ptr<Step> planned(Graph graph, Value noisy, Value target) const {
        const auto step = std::make_shared<Step>();
        step->parameters = std::make_unique<Parameters>(backend_, graph.parameters(), true);
        step->parameters->initialise(1);
        Algorithms algorithms = Algorithms::of_machine();
        step->plan = std::make_unique<Plan>(std::move(graph), backend_, algorithms, true);
        algorithms.save_for_machine();
        step->arena = std::make_unique<Arena>(backend_, step->plan->arena_bytes());
        step->plan->bind(*step->arena, *step->parameters);
        for (const Value input : {noisy, target}) {
            const View view = step->plan->view(input);
            std::vector<float> values(std::size_t(view.shape.size()));
            for (std::size_t i = 0; i < values.size(); ++i)
                values[i] = uniform(1, Purpose::phantom, 0, std::uint32_t(input.id), std::uint32_t(i));
            backend_.upload(view.data, values.data(), sizeof(float) * values.size());
        }
        return step;
    }

    /// Of the convolutions: forward, and twice as much backward. Some 53.4 GFLOP at 256².
    static double operations(const Step& step, int images) {
        double sum = 0;
        for (const Parameter& p : step.parameters->list())
            if (p.shape.size() == 4) sum += 6.0 * double(p.size) * pixels_of(p, *step.plan) * images;
        return sum;
    }

    /// The network alone, forward and backward, with the error of its map as the loss: neither solver nor optimiser.
    void network() {
        add("network_step", [this] {
            const Config config;
            const int n = options_.batch, s = options_.size;
            Graph graph = network_graph(backend_, config.network);
            const Value noisy = graph.input("noisy", n, 1, s, s), target = graph.input("target", n, 1, s, s);
            const Value map = map_from_raw(graph, record_unet(graph, config.network, noisy), MapFromRaw{}, 1);
            loss(graph, map, target, LossKind::mse);
            const auto step = planned(std::move(graph), noisy, target);
            BenchCase c;
            c.shape = text(n, "×1×", s, "×", s);
            c.operations = operations(*step, n);
            c.run = [step] {
                step->plan->forward();
                step->plan->backward();
            };
            return c;
        });
    }

    /// Network, solver, loss, backward pass and optimiser of the reference experiment, batches not counted.
    void training() {
        add("training_step", [this] {
            Config config;
            config.solver.iterations = options_.iterations;
            const int n = options_.batch, s = options_.size;
            RecordedModel model = record_training_model(backend_, config, n, s, s);
            const auto step = planned(std::move(model.graph), model.noisy, model.target);
            BenchCase c;
            c.shape = text(n, "×1×", s, "×", s, ", T = ", options_.iterations);
            c.operations = operations(*step, n);
            c.run = [step] {
                step->plan->forward();
                step->plan->backward();
                step->parameters->adam_step(Adam{});
            };
            return c;
        });
    }

    /// Pixels that a convolution's weights are applied to.
    static double pixels_of(const Parameter& weight, const Plan& plan) {
        const Graph& graph = plan.graph();
        for (const auto& operation : graph.operations())
            for (const int index : operation->parameters)
                if (graph.parameters()[std::size_t(index)].name == weight.name) {
                    const Features& y = graph.tensors()[std::size_t(operation->output)].shape;
                    return double(y.h) * y.w;
                }
        return 0;
    }

    Backend& backend_;
    const BenchOptions options_;
};

}  // namespace

std::vector<std::pair<std::string, std::function<BenchCase()>>> bench_cases(Backend& backend,
                                                                            const BenchOptions& options) {
    const auto cases = std::make_shared<Cases>(backend, options);  // the makers refer to it
    std::vector<std::pair<std::string, std::function<BenchCase()>>> result;
    for (const auto& [name, make] : cases->makers)
        result.emplace_back(name, [cases, maker = make] { return maker(); });
    return result;
}

}  // namespace tvmap
