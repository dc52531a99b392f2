// The test: noisy images, the best scalar λ of each (an oracle: it looks at the clean image), and the
// network's map.
#pragma once
#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/data/quality.h"
#include "engine/evaluation/map_stability.h"
#include "engine/model/checkpoint.h"

namespace tvmap {

/// One test image.
struct EvaluatedImage {
    std::string name;
    double sigma = 0;
    double noise = 0;            ///< the standard deviation of the noise, white being 1
    double noise_estimated = 0;  ///< what the noisy image seems to say of it; NaN where it cannot
    Quality noisy, map;
    Quality scalar;              ///< each entry the best over λ, apart from the others
    Quality scalar_at;           ///< the λ that gave each; NaN where no λ has a value
    std::vector<Quality> curve;  ///< by λ
    double lambda_mean = 0;      ///< of the map
    double lambda_median = 0;    ///< which a few values without bounds do not move
    MapStability stability;      ///< where evaluate.draws asks for it

    /// Whether means are taken over this image too; see belongs_in_means.
    bool counts() const { return belongs_in_means({noisy, scalar, map}); }
};

/// Who made an evaluation, by what command and on what machine: names and values.
using Provenance = std::vector<std::pair<std::string, std::string>>;

struct Evaluation {
    std::string method = "map Λ";  ///< see method_name
    bool weighs_squares = true;    ///< see weighs_squares()
    Provenance made_by;
    std::string config;  ///< of what it is, as YAML
    int asked = 0;       ///< images that there should be; fewer where it was interrupted
    std::vector<double> lambdas;
    std::vector<EvaluatedImage> images;
    double search_seconds = 0, map_seconds = 0;  ///< medians an image: all λ; network and solver
    std::string missing_figures;                 ///< one line on figures that could not be drawn, or ""
    Use use;                                     ///< what differs from the training of the weights

    /// The table with mean ± standard deviation (N−1), as text, and the line of `use`.
    std::string table() const;
    /// What the map means, in units of the noise, and how much of it is the noise's doing, as lines of the table; "" where
    /// there is no map or no noise.
    std::string map_lines() const;
    /// A line of the table that warns where best scalars lie at an end of the search, and better ones may lie beyond; or "".
    std::string search_line() const;
    /// Gain of the map over the oracle by one measure, of the images that count.
    std::vector<double> gains(double Quality::*measure) const;
    /// Its mean.
    Quality gain() const;
    /// Names of the images that no mean is taken over.
    std::vector<std::string> left_out() const;
};

/// What `pick` takes from each image that counts.
std::vector<double> values_of(const std::vector<EvaluatedImage>& images,
                              const std::function<double(const EvaluatedImage&)>& pick);

/// Its mean and standard deviation (N−1); see statistic().
Statistic statistic(const std::vector<EvaluatedImage>& images,
                    const std::function<double(const EvaluatedImage&)>& pick);

/// Runs the test set of `config` on `backend` with the weights of `checkpoint`, which must have been trained under
/// the settings that they depend on. Writes to `folder` (made if need be): config.yaml, per_image.csv, curves.csv,
/// summary.csv, summary.txt, provenance.csv, figures, and pictures of the first `pictures` images, with figures of the
/// first `drawn` of these. `made_by` goes into provenance.csv, together with times.
/// When `stop` is set, writes the tables of the images that are finished and throws Interrupted. Nothing is
/// written before test set and weights are read; configuration and tables are written together. Throws Error for a
/// folder that holds a run, and where another process is at work in it.
Evaluation evaluate(Backend& backend, const Config& config, const std::string& checkpoint,
                    const std::string& folder, int pictures,
                    const std::function<void(int done, int total)>& report, const std::atomic<bool>& stop,
                    const Provenance& made_by = {}, int drawn = 3);

}  // namespace tvmap
