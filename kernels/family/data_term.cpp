// The data terms on the CPU: data to image and back, N's norm, and the autocorrelation of a blur.
#include "kernels/family/data_term.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/threads/parallel.h"

namespace tvmap {
namespace {

// max |k̂|² over the image's frequencies: a row of the transform at a time.
double largest_response(const SolverProblem& s, const float* kernel) {
    using Complex = std::complex<double>;
    const auto turn = [](std::int64_t step, int size) {
        const double angle = -2 * std::numbers::pi * double(step % size) / size;
        return Complex(std::cos(angle), std::sin(angle));
    };
    double largest = 0;
    std::vector<Complex> columns(std::size_t(s.kernel_width));
    for (int u = 0; u < s.height; ++u) {
        for (int b = 0; b < s.kernel_width; ++b) {
            columns[std::size_t(b)] = 0;
            for (int a = 0; a < s.kernel_height; ++a)
                columns[std::size_t(b)] +=
                    double(kernel[a * s.kernel_width + b]) * turn(std::int64_t(u) * a, s.height);
        }
        for (int v = 0; v < s.width; ++v) {
            Complex response = 0;
            for (int b = 0; b < s.kernel_width; ++b)
                response += columns[std::size_t(b)] * turn(std::int64_t(v) * b, s.width);
            largest = std::max(largest, std::norm(response));
        }
    }
    return largest;
}

}  // namespace

double gram_norm(const SolverProblem& problem, const float* host) {
    switch (problem.data) {
        case DataTerm::identity:
        case DataTerm::huber:
            return 1;
        case DataTerm::weights: {
            float largest = 0;
            for (std::int64_t i = 0; i < problem.images() * problem.pixels(); ++i) {
                if (!(host[i] >= 0) || !std::isfinite(host[i]))
                    fail("weights: number ", i, " is ", host[i],
                         "; give finite ones, 0 where a pixel is missing");
                largest = std::max(largest, host[i]);
            }
            return largest;
        }
        case DataTerm::blur:
            for (int i = 0; i < problem.kernel_height * problem.kernel_width; ++i) {
                if (!std::isfinite(host[i]))
                    fail("blur kernel: number ", i, " is ", host[i], "; give finite numbers");
            }
            return largest_response(problem, host);
        case DataTerm::super_resolution:
            return 1 / (double(problem.factor) * problem.factor);
    }
    return 1;
}

void blur_gram(const SolverProblem& problem, const float* kernel, float* gram) {
    const int rows = problem.kernel_height, columns = problem.kernel_width;
    for (int i = 1 - rows; i < rows; ++i)
        for (int j = 1 - columns; j < columns; ++j) {
            double sum = 0;
            for (int a = std::max(0, -i); a < std::min(rows, rows - i); ++a)
                for (int b = std::max(0, -j); b < std::min(columns, columns - j); ++b)
                    sum += double(kernel[a * columns + b]) * kernel[(a + i) * columns + (b + j)];
            gram[(i + rows - 1) * (2 * columns - 1) + (j + columns - 1)] = float(sum);
        }
}

namespace cpu {

void data_to_image(const SolverProblem& problem, const float* data, const float* z, float* b) {
    check_solver("data_to_image", problem, 0);
    const family::DataOperator o = family::data_operator(problem, data);
    const std::int64_t pixels = problem.pixels(), rows = std::int64_t(problem.images()) * problem.height;
    parallel_for(rows, rows * problem.width * o.rows * o.columns, [&](std::int64_t r) {
        const std::int64_t image = r / o.height;
        const int i = int(r % o.height);
        const float* weights = o.data == DataTerm::weights ? o.weights(image) : nullptr;
        for (int j = 0; j < o.width; ++j)
            b[image * pixels + std::int64_t(i) * o.width + j] =
                family::image_at<float>(o, weights, z + image * o.data_size(), i, j);
    });
}

void image_to_data(const SolverProblem& problem, const float* data, const float* d_b, float* d_z,
                   Write write) {
    check_solver("image_to_data", problem, 0);
    const family::DataOperator o = family::data_operator(problem, data);
    const int height = o.height / o.factor, width = o.width / o.factor;
    const std::int64_t rows = std::int64_t(problem.solves) * height;
    parallel_for(rows, rows * o.width * o.factor * o.rows * o.columns, [&](std::int64_t r) {
        const std::int64_t solve = r / height;
        const int i = int(r % height);
        const float* weights = o.data == DataTerm::weights ? o.weights(solve / o.solves_per_image) : nullptr;
        float* row = d_z + r * width;
        for (int j = 0; j < width; ++j) {
            const float value = family::data_at<float>(o, weights, d_b + solve * o.pixels(), i, j);
            row[j] = write == Write::overwrite ? value : row[j] + value;
        }
    });
}

}  // namespace cpu
}  // namespace tvmap
