#include "engine/solver/search.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <memory>

#include "engine/config/solver_problem.h"
#include "engine/files/stopwatch.h"
#include "engine/solver/solver.h"
#include "engine/unrolled/observed_input.h"
#include "engine/unrolled/unrolled_problem.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"

namespace tvmap {
namespace {

/// Results of one call. On a device the solver's workspace takes some seven times as much again.
std::size_t suitable_batch_bytes(const Backend& backend) {
    constexpr std::size_t host = 128 << 20, most = std::size_t(4) << 30;
    return backend.separate_memory() ? std::min(backend.memory_free() / 16, most) : host;
}

/// Solves of one call: a device does some 1e11 pixels × steps in a second, a thread 1e9, and nothing is heard of it
/// before. Each thread gets one at least.
int solves_at_once(const Backend& backend, int iterations, double pixels, std::size_t batch_bytes) {
    const double threads = backend.separate_memory() ? 1 : thread_count();
    const double work = backend.separate_memory() ? 1e11 : 1e9 * threads;
    const double solves = std::min(double(batch_bytes) / (pixels * sizeof(float)),
                                   std::max(threads, work / (pixels * iterations)));
    return int(std::clamp(solves, 1.0, 1e6));
}

/// A call's part of the work: some values of each of some images.
struct Call {
    UnrolledProblem problem;
    std::function<std::size_t()> input_bytes;  ///< scratch memory that the input takes
    std::function<SolverInput(const float* noisy, const float* weights, const float* lambda, void* workspace)>
        input;
};
/// What makes it, for `images` and `values` of each.
using MakeCall = std::function<Call(int images, int values)>;

void check_search(const SearchedImages& images, const std::vector<float>& lambdas,
                  const SearchOptions& options) {
    const int count = int(lambdas.size());
    if (count < 1 || options.repeat < 1 || images.count < 1)
        fail("search: ", count, " values, ", images.count, " images and ", options.repeat,
             " runs; give 1 or more of each");
    if (std::int64_t(images.count) * count > INT_MAX)
        fail("search: ", images.count, " images and ", count,
             " values are more than can be counted; give fewer");
    check_finite("lambda", lambdas);
    if (*std::min_element(lambdas.begin(), lambdas.end()) < 0)
        fail("search: a negative lambda; give 0 or more");
}

/// parameters: `maps` of each value.
std::vector<ScalarCurve> search(Backend& backend, int iterations, const SearchedImages& images,
                                const std::vector<float>& parameters, int maps, const SearchOptions& options,
                                const MakeCall& make) {
    // A call takes all values of several images, or some values of one.
    const int count = int(parameters.size()) / maps;
    const std::size_t pixels = std::size_t(images.height) * images.width;
    const int solves =
        solves_at_once(backend, iterations, double(pixels),
                       options.batch_bytes ? options.batch_bytes : suitable_batch_bytes(backend));
    const int image_batch = std::clamp(solves / count, 1, images.count),
              value_batch = std::min(solves, count);
    // Of whole batches and of what is left, for fewer solves may be laid out so that they need more.
    std::size_t workspace_bytes = 0;
    for (const int together : {images.count % image_batch, image_batch})
        for (const int values : {count % value_batch, value_batch}) {
            if (together == 0 || values == 0) continue;
            const Call call = make(together, values);
            workspace_bytes = std::max(workspace_bytes, call.input_bytes() + call.problem.workspace_bytes());
        }
    std::vector<float> repeated;
    for (int n = 0; n < image_batch; ++n)
        repeated.insert(repeated.end(), parameters.begin(), parameters.end());
    const DeviceInput<float> lambda(backend, repeated.data(), repeated.size());
    const std::size_t most = std::size_t(image_batch) * value_batch;
    const DeviceArray<float> x(backend, pixels * most);
    const DeviceArray<Quality> quality(backend, most);
    const DeviceArray<std::byte> workspace(backend, workspace_bytes);

    std::vector<ScalarCurve> curves(images.count);
    for (ScalarCurve& curve : curves) curve.quality.resize(count);
    for (int image = 0; image < images.count; image += image_batch) {
        const int together = std::min(image_batch, images.count - image);
        const std::size_t known = images.weights ? pixels * together : 0;
        const DeviceInput<float> noisy(backend, images.noisy + pixels * image, pixels * together),
            clean(backend, images.clean + pixels * image, pixels * together),
            weights(backend, known ? images.weights + pixels * image : nullptr, known);
        std::vector<double> seconds(options.repeat);
        for (int first = 0; first < count; first += value_batch) {
            const int values = std::min(value_batch, count - first);
            const Call call = make(together, values);
            const std::size_t input_bytes = call.input_bytes();
            for (double& run : seconds)
                run += seconds_of(backend, [&] {
                    const SolverInput input =
                        call.input(noisy.data(), weights.data(), lambda.data() + std::size_t(first) * maps,
                                   workspace.data());
                    call.problem.forward(iterations, input, {.x = x.data()},
                                         {workspace.data() + input_bytes, workspace.bytes() - input_bytes});
                });
            backend.image_quality({.images = x.data(),
                                   .truths = clean.data(),
                                   .count = together * values,
                                   .images_per_truth = values,
                                   .height = images.height,
                                   .width = images.width},
                                  quality.data());
            for (int n = 0; n < together; ++n)
                quality.download(&curves[image + n].quality[first], values, std::size_t(n) * values);
            const bool last = image + together == images.count && first + values == count;
            if (options.proceed && !options.proceed(image * count + together * (first + values)) && !last)
                throw Interrupted("search: interrupted");
        }
        for (int n = 0; n < together; ++n) curves[image + n].seconds = median(seconds) / together;
    }
    return curves;
}

}  // namespace

std::optional<int> best_of(const std::vector<Quality>& curve, double Quality::*measure) {
    std::optional<int> best;
    for (int i = 0; i < int(curve.size()); ++i)
        if (!std::isnan(curve[i].*measure) && (!best || curve[i].*measure > curve[*best].*measure)) best = i;
    return best;
}

int images_at_once(const Backend& backend, const SolverConfig& solver, int height, int width, int lambdas) {
    const int most =
        solves_at_once(backend, solver.iterations, double(height) * width, suitable_batch_bytes(backend)) /
        lambdas;
    // A thread takes one solve after the other: with eight each, no more than an eighth of the time is
    // waited.
    const int enough = (8 * thread_count() + lambdas - 1) / lambdas;
    return std::max(1, backend.separate_memory() ? most : std::min(most, enough));
}

std::vector<ScalarCurve> scalar_search(Backend& backend, const SolverProblem& base,
                                       const std::vector<float>& kernel, int iterations,
                                       const SearchedImages& images, const std::vector<float>& lambdas,
                                       const SearchOptions& options) {
    check_search(images, lambdas, options);
    if (base.map != MapKind::scalar || base.height != images.height || base.width != images.width)
        fail("search: a problem of another size or map than the search's");
    if ((base.data == DataTerm::weights) != (images.weights != nullptr))
        fail("search: weights go with the data term of that name, and it with them");
    const int maps = base.maps();
    std::vector<float> parameters;
    for (const float value : lambdas)
        for (int m = 0; m < maps; ++m) parameters.push_back(m == 0 ? value : float(options.second) * value);
    return search(backend, iterations, images, parameters, maps, options, [&](int together, int values) {
        SolverProblem problem = base;
        problem.solves = together * values;
        problem.solves_per_image = values;
        const auto observed = std::make_shared<ObservedInput>(backend, problem, kernel);
        return Call{unrolled_problem(backend, problem), [=] { return observed->workspace_bytes(); },
                    [=](const float* noisy, const float* weights, const float* lambda, void* workspace) {
                        return observed->make(noisy, weights, lambda, workspace);
                    }};
    });
}

std::vector<ScalarCurve> scalar_search(Backend& backend, const SolverConfig& solver,
                                       const SearchedImages& images, const std::vector<float>& lambdas,
                                       const SearchOptions& options) {
    if (!is_plain(solver)) {
        SolverProblem problem = family_problem(solver, MapConfig{}, 1, images.height, images.width);
        problem.map = MapKind::scalar;
        return scalar_search(backend, problem, blur_kernel(solver.observation), solver.iterations, images,
                             lambdas, options);
    }
    PdhgProblem base = pdhg_problem(solver, MapConfig{}, 1, images.height, images.width);
    check_search(images, lambdas, options);
    base.map = MapKind::scalar;
    return search(backend, solver.iterations, images, lambdas, 1, options, [&](int together, int values) {
        PdhgProblem problem = base;
        problem.solves_per_image = values;
        problem.solves = together * values;
        return Call{unrolled_problem(backend, problem), [] { return std::size_t(0); },
                    [](const float* noisy, const float*, const float* lambda, void*) {
                        return SolverInput{.b = noisy, .lambda = lambda};
                    }};
    });
}

}  // namespace tvmap
