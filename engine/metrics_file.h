// The metrics of a run: one row an epoch in metrics.csv, and the same as TensorBoard scalars. Rows are kept
// in memory and the files are replaced as a whole, so they are never half-written.
#pragma once
#include <string>
#include <vector>

namespace tvmap {

class MetricsFile {
  public:
    struct Row {
        int epoch = 0;
        long long steps = 0;
        double loss = 0, rate = 0;
        bool validated = false;
        double psnr = 0, ssim = 0, noisy_psnr = 0;
        double seconds = 0;  ///< of this epoch
    };

    MetricsFile(std::string csv_path, std::string events_path)
        : csv_path_(std::move(csv_path)), events_path_(std::move(events_path)) {}

    /// Reads what is there and drops rows past `epoch`: what a resumed run will compute again.
    void cut_back(int epoch);
    void append(const Row& row);
    /// Seconds of all rows.
    double seconds() const;

  private:
    void write() const;

    std::string csv_path_, events_path_;
    std::vector<Row> rows_;
};

}  // namespace tvmap
