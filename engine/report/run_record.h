// What is known of a run from the files that training and evaluation left: what a report is made of.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/files/csv_table.h"

namespace tvmap {

/// How a training went, as metrics.csv and log.txt have it.
struct TrainingRecord {
    Config config;       ///< as the run was trained last
    std::string images;  ///< how many; "" where no checkpoint says
    int epochs = 0;
    long long steps = 0;
    double seconds = 0;  ///< of all epochs
    std::optional<double>
        best_psnr;  ///< of the best validation, dB; none where there was none against clean images
    int best_epoch = 0;
    long long best_steps = 0;      ///< of the weights that are the best now; 0: not known
    std::string device;            ///< as it was begun on; "" where the log does not say
    std::string parameters;        ///< their number; "" likewise
    std::vector<std::string> log;  ///< its lines on beginnings, ends and changes
};

/// A number of summary.csv with its interval.
struct SummaryRow {
    double mean = 0, deviation = 0;   ///< NaN where there is none
    std::optional<double> low, high;  ///< of the 95 % interval of the mean
};

struct RunRecord {
    std::string name;        ///< the run folder's own name, or the evaluation's
    std::string evaluation;  ///< the folder of the evaluation's files
    Config config;           ///< as it was evaluated
    std::string yaml;        ///< the same, as the file has it
    CsvTable images;         ///< per_image.csv
    std::map<std::string, SummaryRow> summary;
    std::map<std::string, std::string> made_by;  ///< provenance.csv; empty where there is none
    std::optional<TrainingRecord> training;      ///< none where the run folder is not known
    int counted = 0;                             ///< images that means are taken over
    int won = 0;                                 ///< of them, those on which the map has the higher PSNR
    double p = 0;                                ///< of their gains; see sign_flip_p

    /// A fact of `made_by`, "" where it is not known.
    std::string fact(const std::string& key) const;
    /// Throws Error where summary.csv has no such row.
    const SummaryRow& of(const std::string& quantity) const;
    /// A file of the evaluation.
    std::string path(const std::string& file) const { return evaluation + "/" + file; }
    /// Names of the images of which there are pictures, in the table's order, at most so many.
    std::vector<std::string> examples(std::size_t most) const;
};

/// Reads a run folder that has been evaluated, or the folder of an evaluation (whose run is then looked for where it was).
/// Throws Error, which says what to run where there is no evaluation.
RunRecord read_run(const std::string& folder);

}  // namespace tvmap
