#include "engine/training/training_figure.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/figures/gnuplot.h"
#include "engine/files/csv.h"
#include "engine/files/file.h"
#include "engine/files/format.h"
#include "engine/training/metrics_file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

using Row = MetricsFile::Row;

std::string csv_of(const std::vector<Row>& rows) {
    std::string csv = "epoch,steps,loss,rate,val_psnr,val_ssim\n";
    for (const Row& row : rows) {
        csv +=
            text(row.epoch, ",", row.steps, ",", csv_number(row.loss, 9), ",", csv_number(row.rate, 9), ",");
        csv += row.validated ? csv_number(row.psnr, 9) + "," + csv_number(row.ssim, 9) + "\n" : ",\n";
    }
    return csv;
}

std::string loss_plot(const std::vector<Row>& rows) {
    double least = INFINITY, greatest = -INFINITY;
    for (const Row& row : rows) least = std::min(least, row.loss), greatest = std::max(greatest, row.loss);
    const bool decades = least > 0 && greatest > 10 * least;  // (a logarithm's are not)
    return text("set title 'training loss'\nset ylabel 'mean loss of the epoch'\n",
                decades ? "set logscale y\n" : "", "plot 'training.csv' skip 1 using 1:3 with lines ",
                map_line, "\nunset logscale y\n");
}

/// "" where no epoch was validated against clean images.
std::string validation_plot(const std::vector<Row>& rows) {
    const Row* best = MetricsFile::best_row(rows);
    if (!best || !best->validated) return "";
    return format("set title 'validation: %s%.2f dB in epoch %d'\nset ylabel 'PSNR, dB'\n",
                  best->sure ? "best by SURE, " : "best ", best->psnr, best->epoch) +
           format(
               "plot 'training.csv' skip 1 using 1:(strlen(strcol(5)) ? $5 : NaN) with linespoints pt 7 ps "
               "0.35 %s, "
               "'+' every ::0::0 using (%d):(%.9g) with points pt 6 ps 1.5 lw 2 lc rgb '#000000'\n",
               map_line, best->epoch, best->psnr);
}

}  // namespace

std::string draw_training(const std::string& run, const std::string& folder) {
    const std::vector<Row> rows = MetricsFile::rows(run);
    if (rows.empty()) return "";
    write_file(folder + "/training.csv", csv_of(rows));
    const std::string validation = validation_plot(rows);
    const int plots = validation.empty() ? 1 : 2;
    return draw_figures(
        folder, {{"training", 450 * plots, 400,
                  text(plot_axes, "set datafile missing NaN\nset xlabel 'epoch (",
                       rows[0].steps / std::max(rows[0].epoch, 1), " steps each)'\nset multiplot layout 1,",
                       plots, "\n", loss_plot(rows), validation, "unset multiplot\n")}});
}

}  // namespace tvmap
