#include "engine/solver/search.h"

#include <algorithm>
#include <climits>
#include <cmath>

#include "engine/config/solver_problem.h"
#include "engine/files/stopwatch.h"
#include "engine/solver/solver.h"
#include "kernels/base/error.h"
#include "kernels/base/threads.h"

namespace tvmap {
namespace {

/// Results of one call. On a device the solver's workspace takes some seven times as much again.
std::size_t suitable_batch_bytes(const Backend& backend) {
    constexpr std::size_t host = 128 << 20, most = std::size_t(4) << 30;
    return backend.separate_memory() ? std::min(backend.memory_free() / 16, most) : host;
}

/// Solves of one call: a device does some 1e11 pixels × steps in a second, and nothing is heard of it before.
int solves_at_once(const Backend& backend, const SolverConfig& solver, double pixels,
                   std::size_t batch_bytes) {
    double solves = double(batch_bytes) / (pixels * sizeof(float));
    if (backend.separate_memory()) solves = std::min(solves, 1e11 / (pixels * solver.iterations));
    return int(std::clamp(solves, 1.0, 1e6));
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
        solves_at_once(backend, solver, double(height) * width, suitable_batch_bytes(backend)) / lambdas;
    // A thread takes one solve after the other: with eight each, no more than an eighth of the time is
    // waited.
    const int enough = (8 * thread_count() + lambdas - 1) / lambdas;
    return std::max(1, backend.separate_memory() ? most : std::min(most, enough));
}

std::vector<ScalarCurve> scalar_search(Backend& backend, const SolverConfig& solver,
                                       const SearchedImages& images, const std::vector<float>& lambdas,
                                       int repeat, const std::function<bool(int done)>& proceed,
                                       std::size_t batch_bytes) {
    const int count = int(lambdas.size());
    PdhgProblem problem = pdhg_problem(solver, MapConfig{}, 1, images.height, images.width);
    problem.map = MapKind::scalar;
    if (count < 1 || repeat < 1 || images.count < 1)
        fail("search: ", count, " values, ", images.count, " images and ", repeat,
             " runs; give 1 or more of each");
    if (std::int64_t(images.count) * count > INT_MAX)
        fail("search: ", images.count, " images and ", count,
             " values are more than can be counted; give fewer");
    check_finite("lambda", lambdas);
    if (*std::min_element(lambdas.begin(), lambdas.end()) < 0)
        fail("search: a negative lambda; give 0 or more");

    // A call takes all values of several images, or some values of one.
    const std::size_t pixels = std::size_t(problem.pixels());
    const int solves = solves_at_once(backend, solver, double(pixels),
                                      batch_bytes ? batch_bytes : suitable_batch_bytes(backend));
    const int image_batch = std::clamp(solves / count, 1, images.count),
              value_batch = std::min(solves, count);
    // Of whole batches and of what is left, for fewer solves may be laid out so that they need more.
    std::size_t workspace_bytes = 0;
    for (const int together : {images.count % image_batch, image_batch})
        for (const int values : {count % value_batch, value_batch}) {
            if (together == 0 || values == 0) continue;
            problem.solves_per_image = values;
            problem.solves = together * values;
            workspace_bytes = std::max(workspace_bytes, backend.pdhg_workspace_bytes(problem));
        }
    std::vector<float> repeated;
    for (int n = 0; n < image_batch; ++n) repeated.insert(repeated.end(), lambdas.begin(), lambdas.end());
    const DeviceInput<float> parameters(backend, repeated.data(), repeated.size());
    const DeviceArray<float> x(backend, pixels * problem.solves);
    const DeviceArray<Quality> quality(backend, problem.solves);
    const DeviceArray<std::byte> workspace(backend, workspace_bytes);

    std::vector<ScalarCurve> curves(images.count);
    for (ScalarCurve& curve : curves) curve.quality.resize(count);
    for (int image = 0; image < images.count; image += image_batch) {
        const int together = std::min(image_batch, images.count - image);
        const DeviceInput<float> noisy(backend, images.noisy + pixels * image, pixels * together),
            clean(backend, images.clean + pixels * image, pixels * together);
        std::vector<double> seconds(repeat);
        for (int first = 0; first < count; first += value_batch) {
            problem.solves_per_image = std::min(value_batch, count - first);
            problem.solves = together * problem.solves_per_image;
            for (double& run : seconds)
                run += seconds_of(backend, [&] {
                    backend.pdhg_forward(problem, solver.iterations, noisy.data(), parameters.data() + first,
                                         x.data(), nullptr, nullptr, false,
                                         {workspace.data(), workspace.bytes()});
                });
            backend.image_quality(x.data(), clean.data(), problem.solves, problem.solves_per_image,
                                  images.height, images.width, quality.data());
            for (int n = 0; n < together; ++n)
                quality.download(&curves[image + n].quality[first], problem.solves_per_image,
                                 std::size_t(n) * problem.solves_per_image);
            if (proceed && !proceed(image * count + together * (first + problem.solves_per_image)))
                throw Interrupted("search: interrupted");
        }
        for (int n = 0; n < together; ++n) curves[image + n].seconds = median(seconds) / together;
    }
    return curves;
}

}  // namespace tvmap
