#include "engine/search.h"

#include <algorithm>

#include "engine/aligned_buffer.h"
#include "engine/solver.h"
#include "engine/stopwatch.h"
#include "kernels/error.h"

namespace tvmap {

int best_of(const std::vector<Quality>& curve, double Quality::*measure) {
    const auto worse = [&](const Quality& a, const Quality& b) { return a.*measure < b.*measure; };
    return int(std::max_element(curve.begin(), curve.end(), worse) - curve.begin());
}

ScalarCurve scalar_search(const SolverConfig& solver, const float* noisy, const float* clean, int height,
                          int width, const std::vector<float>& lambdas, int repeat,
                          const std::function<bool(int done)>& proceed, std::size_t batch_bytes) {
    const int count = int(lambdas.size());
    PdhgProblem problem = pdhg_problem(solver, MapConfig{}, 1, height, width);
    problem.map = MapKind::scalar;
    if (count < 1 || repeat < 1)
        fail("search: ", count, " values and ", repeat, " runs; give 1 or more of each");
    check_finite("lambda", lambdas);
    if (*std::min_element(lambdas.begin(), lambdas.end()) < 0)
        fail("search: a negative lambda; give 0 or more");

    const std::size_t pixels = std::size_t(problem.pixels());
    const int batch = int(std::clamp<std::size_t>(batch_bytes / (pixels * sizeof(float)), 1, lambdas.size()));
    problem.solves = problem.solves_per_image = batch;
    AlignedBuffer<float> z(pixels), parameters(lambdas.size()), x(pixels * batch);
    AlignedBuffer<std::byte> workspace(cpu::pdhg_workspace_bytes(problem));
    std::copy(noisy, noisy + pixels, z.begin());
    std::copy(lambdas.begin(), lambdas.end(), parameters.begin());

    ScalarCurve curve;
    curve.quality.resize(count);
    std::vector<double> seconds(repeat);
    for (int first = 0; first < count; first += batch) {
        problem.solves = problem.solves_per_image = std::min(batch, count - first);
        for (double& run : seconds) {
            const Stopwatch watch;
            cpu::pdhg_forward(problem, solver.iterations, z.data(), parameters.data() + first, x.data(),
                              nullptr, nullptr, false, workspace.data());
            run += watch.seconds();
        }
#pragma omp parallel for schedule(dynamic)
        for (int i = 0; i < problem.solves; ++i)
            curve.quality[first + i] = quality(x.data() + pixels * i, clean, height, width);
        if (proceed && !proceed(first + problem.solves)) throw Interrupted("search: interrupted");
    }
    curve.seconds = median(seconds);
    return curve;
}

std::vector<double> equally_spaced(double from, double to, int count) {
    std::vector<double> values(count, from);
    for (int i = 1; i < count; ++i) values[i] = from + (to - from) * i / (count - 1);
    return values;
}

}  // namespace tvmap
