#include "engine/metrics_file.h"

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "engine/event_file.h"
#include "engine/file.h"

namespace tvmap {
namespace {

const char* const header = "epoch,steps,loss,rate,val_psnr,val_ssim,val_noisy_psnr,seconds";

std::string line_of(const MetricsFile::Row& row) {
    char line[256], validation[96] = ",,";
    if (row.validated)
        std::snprintf(validation, sizeof validation, "%.6f,%.6f,%.6f", row.psnr, row.ssim, row.noisy_psnr);
    std::snprintf(line, sizeof line, "%d,%lld,%.9g,%.9g,%s,%.3f", row.epoch, row.steps, row.loss, row.rate,
                  validation, row.seconds);
    return line;
}

/// False for a line that line_of did not write.
bool parse(const std::string& line, MetricsFile::Row& row) {
    int at = 0;
    if (std::sscanf(line.c_str(), "%d,%lld,%lf,%lf,%n", &row.epoch, &row.steps, &row.loss, &row.rate, &at) !=
            4 ||
        at == 0)
        return false;
    const char* rest = line.c_str() + at;
    row.validated =
        std::sscanf(rest, "%lf,%lf,%lf,%lf", &row.psnr, &row.ssim, &row.noisy_psnr, &row.seconds) == 4;
    return row.validated || std::sscanf(rest, ",,,%lf", &row.seconds) == 1;
}

}  // namespace

void MetricsFile::cut_back(int epoch) {
    rows_.clear();
    if (std::filesystem::exists(csv_path_)) {
        std::istringstream file(read_file(csv_path_));
        std::string line;
        std::getline(file, line);
        for (Row row; std::getline(file, line) && parse(line, row) && row.epoch <= epoch; row = {})
            rows_.push_back(row);
    }
    write();
}

void MetricsFile::append(const Row& row) {
    rows_.push_back(row);
    write();
}

double MetricsFile::seconds() const {
    double sum = 0;
    for (const Row& row : rows_) sum += row.seconds;
    return sum;
}

void MetricsFile::write() const {
    std::string csv = std::string(header) + "\n";
    std::vector<ScalarEvent> events;
    double time = 0;  // of training: what a run did while it stood still is of no interest
    for (const Row& row : rows_) {
        csv += line_of(row) + "\n";
        time += row.seconds;
        events.push_back({"train/loss", row.steps, time, float(row.loss)});
        events.push_back({"train/rate", row.steps, time, float(row.rate)});
        if (!row.validated) continue;
        events.push_back({"validation/psnr", row.steps, time, float(row.psnr)});
        events.push_back({"validation/ssim", row.steps, time, float(row.ssim)});
    }
    write_file(csv_path_, csv);
    write_file(events_path_, event_file(events));
}

}  // namespace tvmap
