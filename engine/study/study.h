// What `tvmap study` measures, from one configuration (its section study):
//     gradient.csv    every mode × T × size: time and memory of forward and backward pass, and how far ∂MSE/∂Λ is from
//                     the same gradient in double
//     training.csv    short trainings from one seed: every mode, several T, fixed and learned step sizes
//     iterations.csv  the quality that each of them reaches on the validation images, for several T of the
//     test
// and summary.txt with all of it as tables, and figures where gnuplot is installed.
#pragma once
#include <atomic>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/queue/piece_record.h"
#include "engine/solver/exact_gradient.h"
#include "kernels/backend.h"

namespace tvmap {

/// One mode at one T and size; errors are means over the images, times medians over images and runs.
struct GradientRow {
    std::string mode;
    int size = 0, iterations = 0;
    double forward_seconds = 0, backward_seconds = 0;
    std::size_t predicted_bytes = 0;  ///< beyond a solve's input and the target: solver, result and gradients
    std::size_t measured_bytes = 0;   ///< the peak above what was in use before
    GradientError error;      ///< against the adjoint in double of the decisions that these steps took
    GradientError in_double;  ///< against steps and adjoint in double, which decide for themselves
    GradientError limit;      ///< the same after study.reference_iterations steps (0: not asked for)
    int adjoint_steps = 0;    ///< T but for truncated and implicit
};

/// One training, and its quality at evaluate.iterations. Time and measured memory are those of the process that ended
/// it.
struct TrainedRow {
    std::string mode, step_sizes;
    int iterations = 0;  ///< T
    std::int64_t steps = 0;
    double seconds_per_step = 0;
    std::size_t predicted_bytes = 0, measured_bytes = 0;  ///< of the process (measured 0: too few steps)
    double loss = 0;                                      ///< mean over the last epoch
    double psnr = 0, ssim = 0;
};

/// The quality of a training at one T of the test: means over the validation images.
struct TestedRow {
    std::string mode, step_sizes;
    int trained_iterations = 0, tested_iterations = 0;
    double noisy_psnr = 0;
    double scalar_psnr = 0;  ///< the best scalar λ of tv for each image at this T, with the configured steps
    double psnr = 0, ssim = 0;
};

// What of a row is measured, for PieceRecord::piece.
template <class Visit>
void visit_figures(GradientRow& row, const Visit& visit) {
    visit("forward_seconds", row.forward_seconds);
    visit("backward_seconds", row.backward_seconds);
    visit("predicted_bytes", row.predicted_bytes);
    visit("measured_bytes", row.measured_bytes);
    visit("error", row.error.relative);
    visit("angle", row.error.angle);
    visit("error_in_double", row.in_double.relative);
    visit("angle_in_double", row.in_double.angle);
    visit("error_to_limit", row.limit.relative);
    visit("angle_to_limit", row.limit.angle);
    visit("adjoint_steps", row.adjoint_steps);
}
template <class Visit>
void visit_figures(TrainedRow& row, const Visit& visit) {  // (its quality is that of a test)
    visit("steps", row.steps);
    visit("seconds_per_step", row.seconds_per_step);
    visit("predicted_bytes", row.predicted_bytes);
    visit("measured_bytes", row.measured_bytes);
    visit("loss", row.loss);
}
template <class Visit>
void visit_figures(TestedRow& row, const Visit& visit) {
    visit("psnr", row.psnr);
    visit("ssim", row.ssim);
}

struct StudyResult {
    std::vector<GradientRow> gradient;
    std::vector<TrainedRow> training;
    std::vector<TestedRow> iterations;  ///< training by training, T rises
    std::set<std::string> left_out;     ///< lines on images and trainings that no row is about
    std::string missing_figures;        ///< one line on figures that could not be drawn, or ""
    std::vector<std::string>
        notes;  ///< what was found in the folder that the user should know of, a line each

    std::string problem;   ///< what the rows are about, where that is not plain total variation, in one line
    std::string settings;  ///< what differs from the training of the weights that gave the maps, in one line

    /// Tables, and the lines.
    std::string summary() const;
};

/// How fast the implicit gradient tends to the exact one on images of one size: error ≈ c·T^(−power), by
/// least squares of the logarithms over the T that were measured (two at least).
struct ImplicitRate {
    int size = 0;
    double power = 0;
    int from = 0, to = 0;                    ///< least and greatest T
    double first_error = 0, last_error = 0;  ///< there
};
std::vector<ImplicitRate> implicit_rates(const std::vector<GradientRow>& rows);

/// Told now and then: a part of the study, and how much of it is done, in its own unit.
using StudyReport =
    std::function<void(const std::string& part, double done, double total, const std::string& unit)>;

/// The settings under which a checkpoint's network gives the study's maps: its own network in the study's place.
Config with_network_of(const std::string& checkpoint, Config config);

/// The parts. Each measures the pieces that `record` does not have yet, adds all rows in their order, and calls
/// `save` after each piece that it measured. Where data.train, data.val and data.test are not given, phantoms take
/// their place (see study_data). checkpoint: the network whose Λ the gradients are measured at; "": Λ varies smoothly
/// about 0.07.
void study_gradients(Backend& backend, const Config& config, const std::string& checkpoint,
                     PieceRecord& record, StudyResult& result, const std::function<void()>& save,
                     const StudyReport& report, const std::atomic<bool>& stop);
void study_trainings(Backend& backend, const Config& config, const std::string& folder, PieceRecord& record,
                     StudyResult& result, const std::function<void()>& save, const StudyReport& report,
                     const std::atomic<bool>& stop);

/// The tables of what there is so far: name and content of each file.
std::vector<std::pair<std::string, std::string>> study_files(const StudyResult& result);
/// Figures of the CSV files in `folder`. Returns what draw_figures says.
std::string draw_study(const std::string& folder, const StudyResult& result);

/// All of it. Without `resume` the folder must not hold a study yet; with it, the study goes on from the pieces that
/// are finished (and from the step that its unfinished training was left at), or starts where there are none. Settings,
/// device, checkpoint and images must be the same then, wherever they lie. When `stop` is set, what is finished is
/// kept, and Interrupted is thrown.
StudyResult run_study(Backend& backend, Config config, const std::string& checkpoint,
                      const std::string& folder, bool resume, const StudyReport& report,
                      const std::atomic<bool>& stop);

}  // namespace tvmap
