#include "engine/study/study.h"

#include <algorithm>
#include <filesystem>

#include "engine/data/phantoms.h"
#include "engine/files/checksum.h"
#include "engine/files/file.h"
#include "engine/files/folder_lock.h"
#include "engine/model/checkpoint.h"
#include "engine/study/study_problem.h"
#include "kernels/base/error.h"

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

/// What all pieces depend on but their images, which may lie elsewhere. (How much memory may be taken changes nothing.)
std::string settings_of(Config config) {
    for (std::string* place : {&config.data.train, &config.data.val, &config.data.test}) place->clear();
    config.output = {};
    config.device = "auto";
    config.train.memory_limit = 0;
    config.data.picture_limit = usual_picture_limit;
    return config.to_yaml();
}

std::string identity_of(const std::string& checkpoint) {
    if (checkpoint.empty()) return "none";
    const std::string file = read_file(checkpoint);
    return text(file.size(), " bytes, ", std::hex, checksum<crc32_polynomial>(file));
}

}  // namespace

StudyResult run_study(Backend& backend, Config config, const std::string& checkpoint,
                      const std::string& folder, bool resume, const StudyReport& report,
                      const std::atomic<bool>& stop) {
    check_study_sizes(config);
    const std::string steps_warning = study_steps_warning(config);
    StudyResult result;
    result.problem = study_problem_line(config.solver);
    if (!checkpoint.empty())
        result.settings = check_use(checkpoint, with_network_of(checkpoint, config)).line();
    PieceRecord record(folder, resume, {"study", "--out", "summary.txt"});
    record.depends_on("setting", settings_of(config));
    record.depends_on("device", backend.description());
    record.depends_on("checkpoint", identity_of(checkpoint));
    make_folder(folder);
    const FolderLock lock(folder);
    provide_data(config, folder);
    write_file(folder + "/config.yaml", config.to_yaml());

    const auto save = [&] { record.write(study_files(result)); };
    study_gradients(backend, config, checkpoint, record, result, save, report, stop);
    if (!stop) study_trainings(backend, config, folder, record, result, save, report, stop);
    save();
    result.notes = record.notes();
    if (!steps_warning.empty()) result.notes.push_back(steps_warning);
    result.missing_figures = draw_study(folder, result);
    if (stop)
        throw Interrupted(text("interrupted; ", folder, " holds the ", result.gradient.size(),
                               " gradients and the ", result.training.size(),
                               " trainings that are finished; go on with --resume"));
    return result;
}

}  // namespace tvmap
