// metrics.csv of a run: one row an epoch. Rows are kept in memory and the file is replaced as a whole, so it
// is never half-written.
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

    explicit MetricsFile(std::string path) : path_(std::move(path)) {}

    /// Reads what is there and drops rows past `epoch`: what a resumed run will compute again.
    void cut_back(int epoch);
    void append(const Row& row);
    /// Seconds of all rows.
    double seconds() const;

  private:
    void write() const;
    std::string path_;
    std::vector<std::string> rows_;
    double seconds_ = 0;
};

}  // namespace tvmap
