// How far iterates of the family are from a solution, in double.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/family/data_term.h"
#include "kernels/family/differences.h"
#include "kernels/family/family_step.h"

namespace tvmap::cpu {
namespace {

using namespace tvmap::family;

double huber(double t, double threshold) {
    const double size = std::abs(t);
    return size <= threshold && threshold > 0 ? t * t / (2 * threshold) : size - threshold / 2;
}

/// The sums over one solve, added up pixel by pixel.
struct Sums {
    const SolverProblem& problem;
    const float *lambda, *u, *q;
    double darkest, brightest;  // of z
    double variation = 0, product = 0, image = 0, field = 0, image_product = 0, excess = 0;

    double bound(int component, std::int64_t here) const {
        const int map =
            problem.map == MapKind::separate ? component : shared_map(problem.regulariser, component);
        return lambda[problem.map == MapKind::scalar ? map : map * problem.pixels() + here];
    }

    template <Regulariser r, int component>
    void add_component(const Links& at, std::int64_t here) {
        if (!exists<r, component>(at)) return;
        const std::int64_t plane = problem.pixels();
        const double dual = q[component * plane + here], most = bound(component, here);
        if (!(std::abs(dual) <= most))
            fail("solver_gap: component ", component, " of q at pixel ", here, " is ", dual,
                 ", outside its bound of ", most, "; there is no gap for such a q: project it first");
        const double value = difference<r, component, false, double>(u + here, plane, at);
        variation += multiplicity(r, component) * most * std::abs(value);
        product += multiplicity(r, component) * dual * value;
    }

    /// What a residual may hide at a pixel of this weight: see SolverGap::image_excess.
    double hidden(double residual, double x, double weight) const {
        const double of_square = residual * residual / (2 * weight);
        if (problem.data == DataTerm::identity) return of_square;
        const double of_range = std::abs(residual) * std::max({0.0, x - darkest, brightest - x});
        return problem.data == DataTerm::weights && weight > 0 ? std::min(of_square, of_range) : of_range;
    }

    /// pull: (N x − b) there, for DataTerm::huber x − z.
    template <Regulariser r>
    void add_pixel(const Links& at, std::int64_t here, double pull, double weight) {
        add_component<r, 0>(at, here);
        add_component<r, 1>(at, here);
        if constexpr (components(r) > 2) {
            add_component<r, 2>(at, here);
            add_component<r, 3>(at, here);
        }
        const std::int64_t plane = problem.pixels();
        const double of_dual = adjoint_difference<r, 0, false, double>(q + here, plane, at);
        double of_image = pull + of_dual;
        if (problem.data == DataTerm::huber) {  // pull: x − z, whose dual is r
            const double dual = std::clamp(-of_dual, -1.0, 1.0);
            image_product += pull * dual - 0.5 * problem.threshold * dual * dual;
            of_image = dual + of_dual;
        }
        image += of_image * of_image;
        excess += hidden(of_image, u[here], weight);
        if constexpr (components(r) > 4) {
            add_component<r, 4>(at, here);
            const double of_v = adjoint_difference<r, 1, false, double>(q + here, plane, at);
            const double of_h = adjoint_difference<r, 2, false, double>(q + here, plane, at);
            field += of_v * of_v + of_h * of_h;
        }
    }
};

}  // namespace

SolverGap solver_gap(const SolverProblem& problem, const float* data, const float* z, const float* lambda,
                     const float* u, const float* q) {
    check_solver("solver_gap", problem, 0);
    const int height = problem.height, width = problem.width, factor = problem.factor;
    const DataOperator a = data_operator(problem, data);
    const float* weights = problem.data == DataTerm::weights ? data : nullptr;

    const bool by_huber = problem.data == DataTerm::huber;

    // A x − z in the data's grid (weights: W(x − z)), and half its square, or Huber's function of it.
    std::vector<double> rest;
    double fidelity = 0, darkest = HUGE_VAL, brightest = -HUGE_VAL;
    for (int i = 0; i < height / factor; ++i)
        for (int j = 0; j < width / factor; ++j) {
            const std::int64_t here = std::int64_t(rest.size());
            const double noise = weights != nullptr ? double(u[here]) - z[here]
                                                    : data_at<double>(a, nullptr, u, i, j) - z[here];
            const double weight = weights != nullptr ? weights[here] : 1;
            fidelity += by_huber ? huber(noise, problem.threshold) : 0.5 * weight * noise * noise;
            rest.push_back(weight * noise);
            if (weight == 0) continue;
            darkest = std::min(darkest, double(z[here]));
            brightest = std::max(brightest, double(z[here]));
        }

    Sums sums{problem, lambda, u, q, darkest, brightest};
    for_regulariser(problem.regulariser, [&](auto regulariser) {
        for (int i = 0; i < height; ++i)
            for (int j = 0; j < width; ++j) {
                const std::int64_t here = std::int64_t(i) * width + j;
                const double pull = weights != nullptr ? rest[std::size_t(here)]
                                                       : image_at<double>(a, nullptr, rest.data(), i, j);
                sums.add_pixel<regulariser.value>(
                    links(height, width, problem.boundary == Boundary::periodic, i, j), here, pull,
                    weights != nullptr ? weights[here] : 1);
            }
    });
    const double of_data = by_huber ? fidelity - sums.image_product : 0;
    return {fidelity + sums.variation, of_data + sums.variation - sums.product, std::sqrt(sums.image),
            std::sqrt(sums.field), sums.excess};
}

}  // namespace tvmap::cpu
