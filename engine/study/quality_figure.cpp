#include "engine/study/quality_figure.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "engine/figures/distribution.h"
#include "engine/files/format.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr int panel_width = 460, label_width = 118, height = 420, left_margin = 96, panel_gap = 52;

/// A training, and its gain at each T of the test.
struct Curve {
    const TrainedRow* training;
    std::string name;
    std::vector<int> tested;
    std::vector<double> gains;

    double last() const { return gains.back(); }
    double least() const { return *std::min_element(gains.begin(), gains.end()); }
};

struct Panel {
    std::string question;
    std::vector<Curve> curves;
};

struct Axis {
    double from, to;
};

/// A training's curve; without points where its results are no numbers.
Curve curve_of(const StudyResult& study, const TrainedRow& training, const std::string& name) {
    Curve curve{&training, name, {}, {}};
    for (const TestedRow& row : study.iterations)
        if (row.mode == training.mode && row.step_sizes == training.step_sizes &&
            row.trained_iterations == training.iterations && std::isfinite(row.psnr - row.scalar_psnr)) {
            curve.tested.push_back(row.tested_iterations);
            curve.gains.push_back(row.psnr - row.scalar_psnr);
        }
    return curve;
}

/// The value that most fixed trainings have in common; the first of them where there are several.
template <class Value>
Value most_common(const StudyResult& study, Value TrainedRow::*member) {
    std::map<Value, int> counts;
    for (const TrainedRow& row : study.training)
        if (row.step_sizes == "none") ++counts[row.*member];
    const auto most = std::max_element(counts.begin(), counts.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    return most == counts.end() ? Value{} : most->first;
}

/// The panels that compare something; one of all curves where none does.
std::vector<Panel> panels_of(const StudyResult& study) {
    const int shared_T = most_common(study, &TrainedRow::iterations);
    const std::string shared_mode = most_common(study, &TrainedRow::mode);
    std::set<int> learned_T;
    for (const TrainedRow& row : study.training)
        if (row.step_sizes != "none") learned_T.insert(row.iterations);

    Panel modes{text("which gradient? (trained at T = ", shared_T, ")"), {}},
        steps{"trained at which T? (" + shared_mode + ")", {}}, sizes{"learned step sizes?", {}};
    for (const TrainedRow& row : study.training) {
        const bool fixed = row.step_sizes == "none";
        const auto add = [&](Panel& panel, const std::string& name) {
            Curve curve = curve_of(study, row, name);
            if (!curve.gains.empty()) panel.curves.push_back(std::move(curve));
        };
        if (fixed && row.iterations == shared_T) add(modes, row.mode);
        if (fixed && row.mode == shared_mode) add(steps, text("T = ", row.iterations));
        if (!fixed || (row.mode == "masks" && learned_T.contains(row.iterations)))
            add(sizes, text("T = ", row.iterations,
                            fixed                        ? ", fixed"
                            : row.step_sizes == "shared" ? ", shared"
                                                         : ", per step"));
    }
    std::vector<Panel> panels;
    for (Panel* panel : {&modes, &steps, &sizes})
        if (panel->curves.size() > 1) panels.push_back(std::move(*panel));
    if (!panels.empty()) return panels;
    Panel alone{"quality", {}};  // of trainings that no question is about
    for (const TrainedRow& row : study.training) {
        Curve curve = curve_of(study, row, row.mode);
        if (!curve.gains.empty()) alone.curves.push_back(std::move(curve));
    }
    if (!alone.curves.empty()) panels.push_back(std::move(alone));
    return panels;
}

Axis axis_of(const std::vector<Panel>& panels) {
    std::vector<double> gains;
    for (const Panel& panel : panels)
        for (const Curve& curve : panel.curves)
            gains.insert(gains.end(), curve.gains.begin(), curve.gains.end());
    std::sort(gains.begin(), gains.end());
    const double lower = quantile(gains, 0.25), upper = quantile(gains, 0.75);
    const double fence = lower - 3 * std::max(upper - lower, 0.05);  // dB: a difference that means something
    const double least = std::min(*std::lower_bound(gains.begin(), gains.end(), fence), 0.0),
                 greatest = std::max(gains.back(), 0.0), room = 0.06 * std::max(greatest - least, 0.05);
    return {least - room, greatest + room};
}

/// Heights for labels that shall be at `wanted`, in ascending order: none nearer to the next than `gap`, all within
/// the axis where they fit.
std::vector<double> apart(std::vector<double> wanted, double gap, const Axis& axis) {
    for (std::size_t i = 1; i < wanted.size(); ++i) wanted[i] = std::max(wanted[i], wanted[i - 1] + gap);
    double most = axis.to;
    for (std::size_t i = wanted.size(); i-- > 0; most = wanted[i] - gap)
        wanted[i] = std::min(wanted[i], most);
    return wanted;
}

/// Told apart by dashes and points too.
std::string line_style(std::size_t colour, std::size_t dash) {
    constexpr const char* colours[] = {"#1b2f6b", "#c46a00", "#2a7f62", "#8a2f5b", "#606060", "#4a90c4"};
    constexpr int points[] = {7, 5, 9, 13, 6, 4};
    return format("lw 2 dt %zu pt %d ps 0.7 lc rgb '%s'", dash % 5 + 1, points[colour % 6],
                  colours[colour % 6]);
}

/// A style for each curve: its own where all step sizes are fixed, else T by colour and the kind of step sizes by dashes.
std::vector<std::string> line_styles(const Panel& panel) {
    const std::vector<std::string> kinds{"none", "shared", "per_step"};
    const auto is_learned = [](const Curve& curve) { return curve.training->step_sizes != "none"; };
    const bool learned = std::any_of(panel.curves.begin(), panel.curves.end(), is_learned);
    std::set<int> Ts;
    for (const Curve& curve : panel.curves) Ts.insert(curve.training->iterations);
    std::vector<std::string> styles;
    for (const Curve& curve : panel.curves) {
        const auto T = std::size_t(std::distance(Ts.begin(), Ts.find(curve.training->iterations))),
                   kind = std::size_t(std::find(kinds.begin(), kinds.end(), curve.training->step_sizes) -
                                      kinds.begin());
        styles.push_back(learned ? line_style(T, kind) : line_style(styles.size(), styles.size()));
    }
    return styles;
}

/// Names at the right ends of the curves, and below the axis of those that it cuts off.
std::string labels(const Panel& panel, const Axis& axis) {
    std::vector<const Curve*> seen, cut;
    for (const Curve& curve : panel.curves) (curve.least() < axis.from ? cut : seen).push_back(&curve);
    std::sort(seen.begin(), seen.end(), [](const Curve* a, const Curve* b) { return a->last() < b->last(); });
    std::vector<double> wanted;
    for (const Curve* curve : seen) wanted.push_back(curve->last());
    const std::vector<double> places = apart(wanted, 0.048 * (axis.to - axis.from), axis);
    std::string commands;
    for (std::size_t i = 0; i < seen.size(); ++i)
        commands += format(
                        "set arrow from first %d, first %.6g to graph 1.035, first %.6g nohead lw 0.7 lc rgb "
                        "'#909090'\n",
                        seen[i]->tested.back(), seen[i]->last(), places[i]) +
                    "set label " + quoted(seen[i]->name) +
                    format(" at graph 1.05, first %.6g noenhanced\n", places[i]);
    for (std::size_t i = 0; i < cut.size(); ++i)
        commands += "set label " +
                    quoted(text("▼ ", cut[i]->name, format(": down to %.1f dB", cut[i]->least()))) +
                    format(" at graph 0.03, graph %.3f front boxed noenhanced\n", 0.035 + 0.05 * double(i));
    return commands;
}

std::string plot(const Panel& panel) {
    const std::vector<std::string> styles = line_styles(panel);
    std::string lines;
    for (std::size_t i = 0; i < panel.curves.size(); ++i) {
        const TrainedRow& t = *panel.curves[i].training;
        lines += text(i ? ", " : "plot ", "'iterations.csv' skip 1 using 4:(strcol(1) eq '", t.mode,
                      "' && strcol(2) eq '", t.step_sizes, "' && $3 == ", t.iterations,
                      " ? $7 - $6 : NaN) with linespoints ", styles[i]);
    }
    return lines + "\n";
}

}  // namespace

std::optional<Figure> quality_figure(const StudyResult& study) {
    const std::vector<Panel> panels = panels_of(study);
    if (panels.empty()) return std::nullopt;
    const Axis axis = axis_of(panels);
    std::set<int> tested;
    for (const TestedRow& row : study.iterations) tested.insert(row.tested_iterations);
    std::string ticks;
    for (const int T : tested) ticks += text(ticks.empty() ? "" : ", ", T);
    const int width = left_margin + int(panels.size()) * panel_width;
    std::string commands = text(plot_axes,
                                "set style textbox opaque noborder\nset datafile missing NaN\nset logscale x "
                                "2\nset xlabel 'T of the test'\n",
                                "set xtics (", ticks, ")\n",
                                format("set xrange [%g:%g]\nset yrange [%.6g:%.6g]\n", *tested.begin() / 1.15,
                                       *tested.rbegin() * 1.15, axis.from, axis.to),
                                "set tmargin at screen 0.89\nset bmargin at screen 0.16\nset multiplot\n");
    for (std::size_t i = 0; i < panels.size(); ++i) {
        const double left = left_margin + double(i) * panel_width,
                     right = left + panel_width - label_width - panel_gap;
        commands +=
            format("set lmargin at screen %.5f\nset rmargin at screen %.5f\n", left / width, right / width);
        commands += "unset label\nunset arrow\nset title " + quoted(panels[i].question) + " noenhanced\n";
        commands +=
            i == 0 ? "set ylabel 'gain over the best scalar λ of each image, dB'\n" : "unset ylabel\n";
        commands += "set arrow from graph 0, first 0 to graph 1, first 0 nohead lw 1.5 lc rgb '#000000'\n";
        commands += labels(panels[i], axis) + plot(panels[i]);
    }
    return Figure{"quality", width, height, commands + "unset multiplot\n"};
}

}  // namespace tvmap
