// The study's figures, by gnuplot from its CSV files: time, memory and error over T by mode (on the largest
// images). (Quality: engine/study/quality_figure.h.)
#include <algorithm>
#include <optional>

#include "engine/figures/gnuplot.h"
#include "engine/study/quality_figure.h"
#include "engine/study/study.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

// A line's rows follow one another in the file only by accident: those of others are "missing", which a line
// leaps over. The lines' order by T is the file's.
constexpr const char* opening =
    "set datafile separator ','\nset datafile missing NaN\nset grid\nset key outside right\n"
    "set logscale x 2\n";

/// What gradient.csv is drawn as: an expression of its columns, and how.
struct Curve {
    const char* expression;
    const char* style = "linespoints lw 2";
    bool named = true;
};

/// Each curve for each mode, over T.
std::string by_mode(const StudyResult& study, const std::vector<Curve>& curves) {
    std::vector<std::string> modes;
    int size = 0;
    for (const GradientRow& row : study.gradient) {
        size = std::max(size, row.size);
        if (std::find(modes.begin(), modes.end(), row.mode) == modes.end()) modes.push_back(row.mode);
    }
    std::string lines;
    for (const Curve& curve : curves)
        for (std::size_t m = 0; m < modes.size(); ++m)
            lines +=
                text(lines.empty() ? "plot" : ",", " 'gradient.csv' skip 1 using 3:(strcol(1) eq '", modes[m],
                     "' && $2 == ", size, " ? ", curve.expression, " : NaN) with ", curve.style, " lc ",
                     m + 1, curve.named ? text(" title '", modes[m], "'") : " notitle");
    return text("set title '", size, "×", size, "'\nset xlabel 'T'\n", lines, "\n");
}

std::vector<Figure> gradient_figures(const StudyResult& study) {
    const std::string axes = text(opening, "set logscale y\n");
    return {{"time", 720, 420,
             text(axes, "set ylabel 'forward and backward, ms'\n", by_mode(study, {{"1e3*($4+$5)"}}))},
            {"memory", 720, 420,
             text(axes, "set ylabel 'MB (circles: measured)'\n",
                  by_mode(study, {{"1e-6*$6", "lines lw 2"}, {"1e-6*$7", "points pt 6", false}}))},
            {"error", 720, 420,
             text(axes, "set format y '10^{%L}'\nset ylabel 'relative error of ∂MSE/∂Λ'\n",
                  by_mode(study, {{"$8"}}))}};
}

}  // namespace

std::string draw_study(const std::string& folder, const StudyResult& result) {
    std::vector<Figure> figures;
    if (!result.gradient.empty()) figures = gradient_figures(result);
    if (std::optional<Figure> quality = quality_figure(result)) figures.push_back(*quality);
    return draw_figures(folder, figures);
}

}  // namespace tvmap
