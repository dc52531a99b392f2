// Several trainings, one after the other, in one folder: those of a sweep, the folds of a cross-validation, or the folds of
// each value of a sweep. What is finished is known from the folder alone, so a queue can be left at any moment.
//
//     QUEUE/pieces.json                what is finished, and what came of it
//     QUEUE/pieces.csv, folds.csv, table.md    a line for each training, a line for each cross-validation, and both to read
//     QUEUE/rate-0.001/                a run of a sweep
//     QUEUE/fold-1/                    a run of a cross-validation, with its lists train.txt, test.txt (val.txt)
//     QUEUE/evaluation/                all its images, each tested by the fold that was not trained on it
//     QUEUE/rate-0.001/fold-1/ …       both
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/evaluation/evaluator.h"
#include "engine/files/folder_lock.h"
#include "engine/model/checkpoint.h"
#include "engine/queue/piece_record.h"
#include "engine/queue/table.h"

namespace tvmap {

/// A training of a queue.
struct QueuedRun {
    std::string name;   ///< of its folder, below the queue's
    Config config;      ///< its own: read_config of its folder's config.yaml gives it again
    std::size_t point;  ///< of the sweep
    int fold;           ///< from 1; 0: none, and nothing to test
};

/// Whether there may be more than one training: a sweep, or folds.
bool is_queue(const Sweep& sweep);

/// Used by one thread.
class Queue {
  public:
    /// Makes the list of runs and reads what `folder` holds of them. Without `resume` it must hold none of them yet; with
    /// it, images and folds must be those that the queue was begun with (their pictures, and settings, are for the
    /// trainer to check). Throws Error; nothing is changed.
    Queue(const Sweep& sweep, const std::string& folder, bool resume);
    ~Queue();

    const std::vector<QueuedRun>& runs() const { return runs_; }
    std::string folder_of(const QueuedRun& run) const { return folder_ + "/" + run.name; }

    /// Makes the folder, which no other queue may work in from here on. Throws Error.
    void begin();

    /// Whether the run has been trained, under its present settings.
    bool trained(const QueuedRun& run) const;
    /// Whether its images have been tested since, and what came out is still there. True of a run without a fold.
    bool tested(const QueuedRun& run) const;

    /// Writes the lists of a fold's images. Throws Error.
    void prepare(const QueuedRun& run) const;
    /// From here on the run is trained, or tested, whatever happens; the tables show those that are finished. Throws Error.
    void keep_trained(const QueuedRun& run, const Progress& reached);
    void keep_tested(const QueuedRun& run);

    /// Writes the tables and, of each cross-validation that is complete, the evaluation of all its images, made by
    /// `made_by`. Returns what draw_figures says.
    std::string finish(const Provenance& made_by);

    /// The tables of what there is so far; `folds` is empty where there are none.
    struct Tables {
        Table pieces, folds;
        std::string markdown;
    };
    Tables tables() const;
    /// What was found in the folder that the user should know of, a line each.
    const std::vector<std::string>& notes() const { return record_.notes(); }

  private:
    struct Point;

    std::vector<EvaluatedImage> images_of(const QueuedRun& run) const;
    std::optional<std::vector<EvaluatedImage>> all_images(std::size_t point) const;
    void save();

    std::string folder_;
    PieceRecord record_;
    std::vector<std::string> keys_;  ///< that are swept
    std::vector<Point> points_;
    std::vector<QueuedRun> runs_;
    std::unique_ptr<FolderLock> lock_;
};

/// The folders of a queue that were evaluated and stand for what came out: those of a cross-validation, all its images
/// first, or one for each value of a sweep. Nothing where `folder` holds no queue. Throws Error, which names what to run,
/// where none was evaluated.
std::optional<std::vector<std::string>> evaluated_folders(const std::string& folder);

}  // namespace tvmap
