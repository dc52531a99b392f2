// The study's CSV files and tables.
#include <algorithm>
#include <cmath>

#include "engine/files/csv.h"
#include "engine/files/format.h"
#include "engine/study/study.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr const char* implicit = "implicit";

/// Pages and the stacks of threads blur what the system counts: below this nothing is said of agreement.
constexpr std::size_t telling_bytes = 8 << 20;

std::string gradient_csv(const std::vector<GradientRow>& rows) {
    std::string csv =
        "mode,size,iterations,forward_seconds,backward_seconds,predicted_bytes,measured_bytes,error,"
        "angle_degrees,error_in_double,angle_in_double,error_to_limit,angle_to_limit,adjoint_steps\n";
    for (const GradientRow& r : rows)
        csv += text(r.mode, ",", r.size, ",", r.iterations, ",", r.forward_seconds, ",", r.backward_seconds,
                    ",", r.predicted_bytes, ",", r.measured_bytes, ",", r.error.relative, ",", r.error.angle,
                    ",", r.in_double.relative, ",", r.in_double.angle, ",", r.limit.relative, ",",
                    r.limit.angle, ",", r.adjoint_steps, "\n");
    return csv;
}

std::string training_csv(const std::vector<TrainedRow>& rows) {
    std::string csv =
        "mode,step_sizes,iterations,steps,seconds_per_step,predicted_bytes,measured_bytes,loss,psnr,ssim\n";
    for (const TrainedRow& r : rows)
        csv += text(r.mode, ",", r.step_sizes, ",", r.iterations, ",", r.steps, ",", r.seconds_per_step, ",",
                    r.predicted_bytes, ",", r.measured_bytes, ",", r.loss, ",", csv_number(r.psnr), ",",
                    csv_number(r.ssim), "\n");
    return csv;
}

std::string iterations_csv(const std::vector<TestedRow>& rows) {
    std::string csv =
        "mode,step_sizes,trained_iterations,tested_iterations,noisy_psnr,scalar_psnr,psnr,ssim\n";
    for (const TestedRow& r : rows)
        csv += text(r.mode, ",", r.step_sizes, ",", r.trained_iterations, ",", r.tested_iterations, ",",
                    csv_number(r.noisy_psnr), ",", csv_number(r.scalar_psnr), ",", csv_number(r.psnr), ",",
                    csv_number(r.ssim), "\n");
    return csv;
}

std::string megabytes(std::size_t bytes) { return format("%9.2f", double(bytes) / 1e6); }

std::string gradient_table(const std::vector<GradientRow>& rows) {
    if (rows.empty()) return "";
    std::string table =
        "∂MSE/∂Λ by mode. Errors are ‖a − b‖/‖b‖ and the angle in degrees, against b in double:\n"
        "`steps` the adjoint of the steps as they were taken, `double` steps and adjoint in double, `limit`\n"
        "the same after study.reference_iterations steps (0: not asked for).\n\n"
        "size     T  mode          forward ms  backward ms      MB  measured     steps    angle    double"
        "    angle     limit    angle\n";
    for (const GradientRow& r : rows)
        table += format("%4d %5d  %-13s %10.3f %12.3f", r.size, r.iterations, r.mode.c_str(),
                        1e3 * r.forward_seconds, 1e3 * r.backward_seconds) +
                 megabytes(r.predicted_bytes).substr(1) + " " + megabytes(r.measured_bytes) +
                 format(" %9.2e %8.2g %9.2e %8.2g %9.2e %8.2g\n", r.error.relative, r.error.angle,
                        r.in_double.relative, r.in_double.angle, r.limit.relative, r.limit.angle);
    double worst = 0;
    int told = 0;
    for (const GradientRow& r : rows)
        if (r.predicted_bytes >= telling_bytes) {
            worst = std::max(worst, std::abs(double(r.measured_bytes) / double(r.predicted_bytes) - 1));
            ++told;
        }
    table += "\n";
    if (told)
        table += format("memory: measured within %.1f %% of the prediction in the %d cases above %.1f MB\n",
                        100 * worst, told, double(telling_bytes) / 1e6);
    for (const ImplicitRate& rate : implicit_rates(rows))
        table +=
            format("implicit tends to masks like T^%+.2f on %d×%d (error %.3g at T = %d, %.3g at %d)\n",
                   -rate.power, rate.size, rate.size, rate.first_error, rate.from, rate.last_error, rate.to);
    return table;
}

/// One line for each training, one column for each T of the test.
std::string training_table(const StudyResult& study) {
    if (study.training.empty()) return "";
    const std::size_t columns = study.iterations.size() / study.training.size();
    const auto tested = [&](std::size_t training, std::size_t column) -> const TestedRow& {
        return study.iterations[training * columns + column];
    };
    const auto line = [&](const std::string& name, std::size_t training, double TestedRow::*quality) {
        std::string cells = format("%-53s", name.c_str());
        for (std::size_t c = 0; c < columns; ++c) {
            const double value = tested(training, c).*quality;
            cells += std::isfinite(value) ? format(" %7.3f", value) : "       –";
        }
        return cells + "\n";
    };
    std::string table = text("trainings of ", study.training[0].steps,
                             " steps: PSNR in dB on the validation images, by T of the test\n\n"
                             "mode           step sizes     T  ms a step       MB     T =");
    for (std::size_t c = 0; c < columns; ++c)
        table += format(c ? " %7d" : " %3d", tested(0, c).tested_iterations);
    table += "\n" + line("noisy", 0, &TestedRow::noisy_psnr) +
             line("best scalar of each image", 0, &TestedRow::scalar_psnr);
    for (std::size_t t = 0; t < study.training.size(); ++t) {
        const TrainedRow& r = study.training[t];
        table += line(format("%-14s %-10s %5d %10.2f %9.1f", r.mode.c_str(), r.step_sizes.c_str(),
                             r.iterations, 1e3 * r.seconds_per_step, double(r.predicted_bytes) / 1e6),
                      t, &TestedRow::psnr);
    }
    return table;
}

}  // namespace

std::vector<ImplicitRate> implicit_rates(const std::vector<GradientRow>& rows) {
    std::vector<int> sizes;
    for (const GradientRow& r : rows)
        if (r.mode == implicit && std::find(sizes.begin(), sizes.end(), r.size) == sizes.end())
            sizes.push_back(r.size);
    std::vector<ImplicitRate> rates;
    for (const int size : sizes) {
        ImplicitRate rate;
        rate.size = size;
        double n = 0, t = 0, e = 0, tt = 0, te = 0;  // sums over log T and log error
        for (const GradientRow& r : rows) {
            if (r.mode != implicit || r.size != size || !(r.error.relative > 0)) continue;
            const double log_t = std::log(r.iterations), log_error = std::log(r.error.relative);
            n += 1, t += log_t, e += log_error, tt += log_t * log_t, te += log_t * log_error;
            if (rate.from == 0 || r.iterations < rate.from) {
                rate.from = r.iterations;
                rate.first_error = r.error.relative;
            }
            if (r.iterations > rate.to) {
                rate.to = r.iterations;
                rate.last_error = r.error.relative;
            }
        }
        if (rate.from == rate.to) continue;
        rate.power = -(n * te - t * e) / (n * tt - t * t);
        rates.push_back(rate);
    }
    return rates;
}

std::string StudyResult::summary() const {
    const std::string gradients = gradient_table(gradient), trainings = training_table(*this);
    std::string summary = gradients + (gradients.empty() || trainings.empty() ? "" : "\n") + trainings;
    if (!problem.empty()) summary += problem + "\n";
    for (const std::string& line : left_out) summary += line + "\n";
    if (!settings.empty()) summary += settings + "\n";
    return summary;
}

std::vector<std::pair<std::string, std::string>> study_files(const StudyResult& result) {
    return {{"gradient.csv", gradient_csv(result.gradient)},
            {"training.csv", training_csv(result.training)},
            {"iterations.csv", iterations_csv(result.iterations)},
            {"summary.txt", result.summary()}};
}

}  // namespace tvmap
