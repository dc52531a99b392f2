// The metrics of a run: one row an epoch in metrics.csv, and the same as TensorBoard scalars. Both files only
// grow: a row costs the same in the first epoch and in the last.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/files/event_file.h"
#include "engine/files/file.h"

namespace tvmap {

/// For one thread at a time, but for sync().
class MetricsFile {
  public:
    struct Row {
        int epoch = 0;
        long long steps = 0;
        double loss = 0, rate = 0;
        bool validated = false;
        double psnr = 0, ssim = 0, noisy_psnr = 0;
        double seconds = 0;                         ///< of this epoch
        std::optional<double> sure = std::nullopt;  ///< the column val_sure; see Validation
    };

    /// What a run goes on from.
    struct Start {
        int epoch = 0;        ///< finished epochs: later rows will be computed again and are cut off
        long long steps = 0;  ///< of these epochs and of the one under way
        /// Later rows may be those of a process that died: as many as took less than so many seconds together, and so
        /// many more. Yet more are worth a copy.
        double unsaved_seconds = 0;
        int unsaved = 0;
        bool estimates = false;  ///< whether the file has the column val_sure
    };

    /// Opens the files in `folder`. metrics.csv may be as a spreadsheet left it (quotes, other separators,
    /// decimal commas, lines that are no rows, another order): what can be read as rows stays. Whatever is
    /// not kept as it was stands in a copy beside it, which note() names. Throws Error.
    MetricsFile(const std::string& folder, const Start& start);

    /// One line on what was found in metrics.csv and done about it, "" if it was as this class writes it.
    const std::string& note() const { return note_; }

    /// Throws Error; neither file holds a part of the row then.
    void append(const Row& row);

    /// From here on, the rows that metrics.csv has now survive a power cut. A checkpoint that counts on them comes
    /// after. May be called by another thread, while rows are appended.
    void sync() { csv_->sync(); }

    /// Of the run in `folder`: its rows by epoch, as far as they can be read; none where there is no file.
    static std::vector<Row> rows(const std::string& folder);
    /// The row of its last epoch, none where there is none.
    static std::optional<Row> last_row(const std::string& folder);
    /// Of the best validation: the lowest SURE where there is one, else the highest PSNR that is a finite number; the first
    /// of several. Null where there is none.
    static const Row* best_row(const std::vector<Row>& rows);

    /// Seconds of all rows.
    double seconds() const { return seconds_; }

  private:
    std::string note_;
    double seconds_ = 0;
    bool estimates_;
    std::unique_ptr<GrowingFile> csv_;
    EventFile events_;
};

}  // namespace tvmap
