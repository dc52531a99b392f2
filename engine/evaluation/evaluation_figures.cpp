#include "engine/evaluation/evaluation_figures.h"

#include <algorithm>
#include <cmath>

#include "engine/figures/distribution.h"
#include "engine/files/csv.h"
#include "engine/files/format.h"
#include "engine/solver/search.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// A measure that figures show.
struct Measure {
    double Quality::*of;
    const char *key, *name, *unit;  // in CSV files; in figures, the unit with a blank in front
    int digits, column;             // of curves.csv
};
constexpr Measure measures[] = {{&Quality::psnr, "psnr", "PSNR", " dB", 2, 2},
                                {&Quality::ssim, "ssim", "SSIM", "", 3, 3}};

struct Method {
    Quality EvaluatedImage::*of;
    const char *key, *name, *area;
};
const Method methods[] = {{&EvaluatedImage::noisy, "noisy", "noisy", noisy_area},
                          {&EvaluatedImage::scalar, "scalar", "best scalar λ", scalar_area},
                          {&EvaluatedImage::map, "map", "learned", map_area}};

std::vector<double> finite_values(const Evaluation& evaluation,
                                  const std::function<double(const EvaluatedImage&)>& pick) {
    std::vector<double> values = values_of(evaluation.images, pick);
    std::erase_if(values, [](double value) { return !std::isfinite(value); });
    return values;
}

double mean(const Evaluation& evaluation, Quality EvaluatedImage::*method, double Quality::*measure) {
    return statistic(evaluation.images, [&](auto& image) { return (image.*method).*measure; }).mean;
}

/// Measures of which the map has a mean: SSIM has none on images smaller than its window.
std::vector<Measure> shown(const Evaluation& evaluation) {
    std::vector<Measure> list;
    for (const Measure& m : measures)
        if (std::isfinite(mean(evaluation, &EvaluatedImage::map, m.of))) list.push_back(m);
    return list;
}

std::string with_unit(double value, const Measure& m) { return format("%.*f%s", m.digits, value, m.unit); }

/// One plot for each measure, side by side.
std::string side_by_side(const std::vector<std::string>& plots) {
    std::string commands = text(plot_axes, "set multiplot layout 1,", plots.size(), "\n");
    for (const std::string& plot : plots) commands += plot;
    return commands + "unset multiplot\n";
}

constexpr int plot_width = 450, plot_height = 400;

Drawing drawing(const std::string& name, const std::vector<std::string>& plots,
                std::vector<std::pair<std::string, std::string>> data) {
    if (plots.empty()) return {{}, std::move(data)};
    return {{name, plot_width * int(plots.size()), plot_height, side_by_side(plots)}, std::move(data)};
}

// ------------------------------------------------------------------------------------------------- curves

/// The mean over the images that count, at each λ.
std::vector<Quality> mean_curve(const Evaluation& evaluation) {
    std::vector<Quality> means;
    for (std::size_t l = 0; l < evaluation.lambdas.size(); ++l) {
        std::vector<Quality> at;
        for (const EvaluatedImage& image : evaluation.images)
            if (image.counts()) at.push_back(image.curve[l]);
        means.push_back(mean_quality(at));
    }
    return means;
}

/// A level with its name above it, or below.
std::string level(int number, double value, const char* style, const std::string& name, bool above) {
    return format("set arrow %d from graph 0, first %.9g to graph 1, first %.9g nohead %s\n", number, value,
                  value, style) +
           format("set label %d '%s' at graph 0.99, first %.9g right offset 0,%s\n", number, name.c_str(),
                  value, above ? "0.6" : "-0.7");
}

std::string curve_plot(const Evaluation& evaluation, const std::vector<Quality>& curve, const Measure& m) {
    const double map = mean(evaluation, &EvaluatedImage::map, m.of),
                 scalar = mean(evaluation, &EvaluatedImage::scalar, m.of);
    double lowest = std::min(map, scalar), highest = std::max(map, scalar);
    for (const Quality& at : curve)
        if (std::isfinite(at.*m.of))
            lowest = std::min(lowest, at.*m.of), highest = std::max(highest, at.*m.of);
    const double room = 0.08 * std::max(highest - lowest, 1e-6);
    std::string commands =
        format("set xlabel 'λ'\nset ylabel '%s'\nset yrange [%.9g:%.9g]\n",
               text(m.name, *m.unit ? "," : "", m.unit).c_str(), lowest - room, highest + room);
    commands += level(1, map, map_line, evaluation.method + ": " + with_unit(map, m), map >= scalar) +
                level(2, scalar, noisy_line, "best λ of each image: " + with_unit(scalar, m), map < scalar);
    std::string plot = text("plot 'curves.csv' skip 1 using 1:", m.column, " with lines ", scalar_line);
    if (const auto best = best_of(curve, m.of)) {
        const double lambda = evaluation.lambdas[*best], value = curve[*best].*m.of;
        commands += format("set title 'one λ for all images: best %s at λ = %s'\n",
                           with_unit(value, m).c_str(), rounded_decimal(lambda, 3).c_str());
        // A drop line to the axis and a point.
        commands +=
            format("set arrow 3 from %.9g, first %.9g to %.9g, graph 0 nohead lw 1 dt 2 lc rgb '#404040'\n",
                   lambda, value, lambda);
        plot += format(", '+' every ::0::0 using (%.9g):(%.9g) with points pt 7 ps 1 lc rgb '#000000'",
                       lambda, value);
    }
    return commands + plot + "\n";
}

Drawing curves(const Evaluation& evaluation) {
    if (evaluation.lambdas.empty()) return {};
    const std::vector<Quality> curve = mean_curve(evaluation);
    std::string csv = "lambda,psnr,ssim,ssim_uniform\n";
    for (std::size_t l = 0; l < curve.size(); ++l)
        csv += csv_number(evaluation.lambdas[l]) + "," + csv_number(curve[l].psnr, 9) + "," +
               csv_number(curve[l].ssim, 9) + "," + csv_number(curve[l].ssim_uniform, 9) + "\n";
    std::vector<std::string> plots;
    for (const Measure& m : shown(evaluation)) plots.push_back(curve_plot(evaluation, curve, m));
    return drawing("curves", plots, {{"curves.csv", csv}});
}

// -------------------------------------------------------------------------------------------------- boxes

Drawing boxes(const Evaluation& evaluation) {
    std::string rows = "measure,method,count,mean,low,first_quartile,median,third_quartile,high\n",
                outliers = "measure,method,name,value\n";
    std::vector<std::string> plots;
    for (const Measure& m : shown(evaluation)) {
        std::string plot, names;
        int place = 0;
        for (const Method& method : methods) {
            const auto pick = [&](const EvaluatedImage& image) { return (image.*method.of).*m.of; };
            const std::vector<double> values = finite_values(evaluation, pick);
            if (values.empty()) continue;
            const Box b = box(values);
            rows += text(m.key, ",", method.key, ",", values.size());
            for (const double number :
                 {statistic(values).mean, b.low, b.first_quartile, b.median, b.third_quartile, b.high})
                rows += "," + csv_number(number, 9);
            rows += "\n";
            for (const EvaluatedImage& image : evaluation.images)
                if (image.counts() && std::isfinite(pick(image)) && !b.within(pick(image)))
                    outliers += text(m.key, ",", method.key, ",", csv_field(image.name), ",",
                                     csv_number(pick(image), 9), "\n");
            ++place;
            const bool learned = method.of == &EvaluatedImage::map;
            names += format("%s'%s' %d", place > 1 ? ", " : "",
                            learned ? evaluation.method.c_str() : method.name, place);
            const std::string of = format("strcol(1) eq '%s' && strcol(2) eq '%s'", m.key, method.key),
                              at = format("(%s ? %d : NaN)", of.c_str(), place);
            plot += text(
                place > 1 ? ", " : "plot ", "'boxes.csv' skip 1 using ", at,
                ":6:5:9:8:(0.5) with candlesticks whiskerbars 0.5 fill solid border lc rgb '#202020' lw 1.2 ",
                method.area, ", '' skip 1 using (", at,
                "-0.25):7:(0.5):(0) with vectors nohead lw 2.5 lc rgb '#000000', '' skip 1 using ", at,
                ":4 with points pt 13 ps 0.9 lc rgb '#000000', 'outliers.csv' skip 1 using ", at,
                ":4 with points pt 6 ps 0.6 lc rgb '#202020'");
        }
        plots.push_back(text("set title '", m.name, "'\nset ylabel '", m.name, *m.unit ? "," : "", m.unit,
                             "'\nset xrange [0.4:", place, ".6]\nset xtics (", names, ")\n", plot, "\n"));
    }
    return drawing("boxes", plots, {{"boxes.csv", rows}, {"outliers.csv", outliers}});
}

// -------------------------------------------------------------------------------------------- differences

Drawing differences(const Evaluation& evaluation) {
    std::string csv = "measure,from,to,count\n";
    std::vector<std::string> plots;
    for (const Measure& m : shown(evaluation)) {
        std::vector<double> gains = evaluation.gains(m.of);
        std::erase_if(gains, [](double gain) { return !std::isfinite(gain); });
        const std::vector<Bin> bins = histogram(gains);
        if (bins.empty()) continue;
        for (const Bin& bin : bins)
            csv +=
                text(m.key, ",", csv_number(bin.from, 9), ",", csv_number(bin.to, 9), ",", bin.count, "\n");
        const auto won = std::count_if(gains.begin(), gains.end(), [](double gain) { return gain > 0; });
        const double width = bins[0].to - bins[0].from, mean_gain = statistic(gains).mean;
        int most = 0;
        for (const Bin& bin : bins) most = std::max(most, bin.count);
        const auto bars = [&](const char* sign, const char* style) {
            return format(
                       "'differences.csv' skip 1 using (strcol(1) eq '%s' && $3 %s %.9g ? ($2+$3)/2 : "
                       "NaN):4:(%.9g) ",
                       m.key, sign, width / 2, width) +
                   "with boxes " + style;
        };
        plots.push_back(
            format("set title '%s better on %zd of %zu images, mean %s%s'\n", evaluation.method.c_str(),
                   std::ptrdiff_t(won), gains.size(), mean_gain < 0 ? "" : "+",
                   with_unit(mean_gain, m).c_str()) +
            format("set xlabel '%s of %s − best scalar λ%s'\nset ylabel 'images'\nset xtics auto\n"
                   "set ytics %s\n",
                   m.name, evaluation.method.c_str(), *m.unit ? ", dB" : "", most <= 6 ? "1" : "auto") +
            format("set yrange [0:*]\nset xrange [%.9g:%.9g]\n", std::min(bins.front().from, 0.0) - width,
                   std::max(bins.back().to, 0.0) + width) +
            "set arrow 1 from 0, graph 0 to 0, graph 1 nohead lw 1.5 lc rgb '#000000' front\n" +
            format(
                "set arrow 2 from %.9g, graph 0 to %.9g, graph 1 nohead lw 2 dt 2 lc rgb '#202020' front\n",
                mean_gain, mean_gain) +
            "plot " + bars(">", text("fill solid border lc rgb '#202020' ", map_area).c_str()) + ", " +
            bars("<", "fill pattern 4 border lc rgb '#202020' fc rgb '#b04000'") + "\n");
    }
    return drawing("differences", plots, {{"differences.csv", csv}});
}

// --------------------------------------------------------------------------------------------------- gain

/// Nothing to draw where every image has the same noise level.
Drawing gain_over_sigma(const Evaluation& evaluation) {
    std::string csv = "sigma,psnr,ssim\n";
    std::vector<double> sigmas;
    for (const EvaluatedImage& image : evaluation.images) {
        if (!image.counts()) continue;
        sigmas.push_back(image.sigma);
        csv += csv_number(image.sigma) + "," + csv_number(image.map.psnr - image.scalar.psnr) + "," +
               csv_number(image.map.ssim - image.scalar.ssim) + "\n";
    }
    if (sigmas.empty() ||
        *std::max_element(sigmas.begin(), sigmas.end()) == *std::min_element(sigmas.begin(), sigmas.end()))
        return {};
    std::vector<std::string> plots;
    for (const Measure& m : shown(evaluation))
        plots.push_back(
            format("set title '%s'\nset xlabel 'σ of the image'\nset ylabel 'gain of %s over "
                   "best scalar λ%s'\n",
                   m.name, evaluation.method.c_str(), *m.unit ? ", dB" : "") +
            "set offsets graph 0.03, graph 0.03, graph 0.05, graph 0.05\nset yrange [*<0:0<*]\n" +
            "set arrow 1 from graph 0, first 0 to graph 1, first 0 nohead lw 1.5 lc rgb '#000000'\n" +
            format("plot 'gain.csv' skip 1 using 1:%d with "
                   "points pt 6 ps 0.7 lw 1.3 "
                   "lc rgb '#1b2f6b'\n",
                   m.column));
    return drawing("gain", plots, {{"gain.csv", csv}});
}

}  // namespace

std::vector<Drawing> evaluation_drawings(const Evaluation& evaluation) {
    std::vector<Drawing> drawings;
    for (const auto& made : {curves, boxes, differences, gain_over_sigma})
        if (Drawing d = made(evaluation); !d.data.empty()) drawings.push_back(std::move(d));
    return drawings;
}

const std::vector<std::string>& evaluation_figure_names() {
    static const std::vector<std::string> names = {"curves", "boxes", "differences", "gain"};
    return names;
}

}  // namespace tvmap
