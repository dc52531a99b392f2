#include "engine/metrics_file.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "engine/file.h"

namespace tvmap {

namespace {
const char* const header = "epoch,steps,loss,rate,val_psnr,val_ssim,val_noisy_psnr,seconds";
}

void MetricsFile::cut_back(int epoch) {
    rows_.clear();
    seconds_ = 0;
    if (!std::filesystem::exists(path_)) return;
    std::istringstream file(read_file(path_));
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
        if (line.empty() || std::atoi(line.c_str()) > epoch) break;
        rows_.push_back(line);
        seconds_ += std::atof(line.substr(line.rfind(',') + 1).c_str());
    }
    write();
}

void MetricsFile::append(const Row& row) {
    char buffer[256], validation[96] = ",,";
    if (row.validated)
        std::snprintf(validation, sizeof validation, "%.6f,%.6f,%.6f", row.psnr, row.ssim, row.noisy_psnr);
    std::snprintf(buffer, sizeof buffer, "%d,%lld,%.9g,%.9g,%s,%.3f", row.epoch, row.steps, row.loss,
                  row.rate, validation, row.seconds);
    rows_.push_back(buffer);
    seconds_ += row.seconds;
    write();
}

double MetricsFile::seconds() const { return seconds_; }

void MetricsFile::write() const {
    std::string content = std::string(header) + "\n";
    for (const std::string& row : rows_) content += row + "\n";
    write_file(path_, content);
}

}  // namespace tvmap
