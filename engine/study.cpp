#include "engine/study.h"

#include <algorithm>
#include <filesystem>

#include "engine/file.h"
#include "engine/phantoms.h"
#include "kernels/error.h"

namespace tvmap {
namespace {

/// Where no data are named, phantoms in the study's folder take their place: as large as the largest images
/// asked for, as many as data.limit allows.
void provide_data(Config& config, const std::string& folder) {
    DataConfig& data = config.data;
    if (!data.train.empty() || !data.val.empty() || !data.test.empty()) return;
    int side = data.size;
    for (const int size : config.study.sizes) side = std::max(side, size);
    const auto make = [&](std::string& place, const char* name, int count, std::uint64_t seed) {
        place = folder + "/phantoms/" + name;
        write_phantoms(place, count, side, config.seed + seed);
    };
    make(data.test, "test", config.study.images, 3);
    if (config.study.steps == 0) return;
    make(data.train, "train", data.limit.train, 1);
    make(data.val, "val", data.limit.val, 2);
}

}  // namespace

StudyResult run_study(Backend& backend, Config config, const std::string& checkpoint,
                      const std::string& folder, const StudyReport& report, const std::atomic<bool>& stop) {
    if (std::filesystem::exists(folder + "/summary.txt"))
        fail(folder, ": holds a study already; choose another folder with --out");
    make_folder(folder);
    provide_data(config, folder);
    write_file(folder + "/config.yaml", config.to_yaml());

    StudyResult result;
    const auto save = [&] { write_study(folder, result); };
    study_gradients(backend, config, checkpoint, result, save, report, stop);
    if (!stop) study_trainings(backend, config, folder, result, save, report, stop);
    save();
    result.missing_figures = draw_study(folder, result);
    if (stop)
        throw Interrupted(text("interrupted; ", folder, " holds the ", result.gradient.size(),
                               " gradients and the ", result.training.size(),
                               " trainings that were finished"));
    return result;
}

}  // namespace tvmap
