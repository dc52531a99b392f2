// tvmap init: a first configuration for somebody's own pictures.
#include <algorithm>
#include <filesystem>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "apps/options/image_options.h"
#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "apps/program/warning.h"
#include "engine/files/file.h"
#include "engine/files/outputs.h"
#include "engine/init/first_experiment.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

struct Options {
    std::string pictures, out;
    std::uint64_t seed = 42;
    ImageOptions reading;
};

/// Without a / at its end.
std::string absolute(const std::string& path) {
    const fs::path whole = fs::absolute(path).lexically_normal();
    return (whole.has_filename() ? whole : whole.parent_path()).string();
}

/// NAME.yaml here, for a folder of that name.
std::string usual_name(const std::string& pictures) {
    const std::string name = fs::path(absolute(pictures)).filename().string();
    return (name.empty() ? "pictures" : name) + ".yaml";
}

void refuse_existing(const std::string& out) {
    std::vector<std::string> paths = picture_list_paths(out);
    paths.insert(paths.begin(), out);
    for (const std::string& path : paths)
        if (std::error_code error; fs::exists(fs::symlink_status(path, error)))
            fail(path, ": is there already, and nothing is overwritten; name another file by --out");
}

/// The folders of the parts, where the user has made them; `train` is all that was given where there are none.
FirstExperimentRequest given_parts(const std::string& pictures) {
    const auto part = [&](const char* name) {
        std::error_code error;
        const std::string folder = absolute((fs::path(pictures) / name).string());
        return fs::is_directory(folder, error) ? folder : std::string();
    };
    FirstExperimentRequest request;
    request.train.folder = part("train");
    request.val.folder = part("val");
    request.test.folder = part("test");
    if (request.train.folder.empty() && !(request.val.folder.empty() && request.test.folder.empty()))
        fail(pictures, ": has a folder ", request.val.folder.empty() ? "test" : "val",
             " and none named train; add it, or name the folder of pictures that are to be divided");
    if (request.train.folder.empty()) request.train.folder = absolute(pictures);
    return request;
}

void survey(FirstExperimentRequest& request, bool quiet) {
    std::vector<std::pair<GivenPart*, std::vector<ListedImage>>> parts;
    std::size_t total = 0;
    for (GivenPart* part : {&request.train, &request.val, &request.test}) {
        if (part->folder.empty()) continue;
        parts.emplace_back(part, list_images(part->folder, std::numeric_limits<int>::max(), ""));
        total += parts.back().second.size();
    }
    ProgressLine progress("looking", double(total), "pictures", quiet);
    double before = 0;
    interrupted();
    for (auto& [part, listed] : parts) {
        part->survey = survey_pictures(listed, least_picture_side, request.picture_limit, [&](int read) {
            progress.update(before + read);
            return !interrupted();
        });
        before += double(listed.size());
    }
}

std::vector<std::string> left_out(const FirstExperimentRequest& request) {
    std::vector<std::string> all;
    for (const GivenPart* part : {&request.train, &request.val, &request.test})
        all.insert(all.end(), part->survey.left_out.begin(), part->survey.left_out.end());
    return all;
}

/// At most three are named.
void warn_of_left_out(const std::vector<std::string>& all) {
    constexpr std::size_t most = 3;
    if (all.empty()) return;
    std::string line = text(all.size(), all.size() == 1 ? " picture is" : " pictures are", " left out");
    for (std::size_t i = 0; i < std::min(all.size(), most); ++i) line += (i ? " | " : ": ") + all[i];
    if (all.size() > most) line += text(" | and ", all.size() - most, " more");
    std::replace(line.begin(), line.end(), '\n', ' ');
    print_warning("init", line);
}

void write(const std::string& out, const FirstExperiment& experiment) {
    std::vector<Output> outputs{{out, experiment.yaml.size()}};
    std::vector<NewFile> files{{out, {experiment.yaml}}};
    for (const PictureList& list : experiment.lists) {
        outputs.push_back({list.path, list.content.size()});
        files.push_back({list.path, {list.content}});
    }
    prepare_outputs(outputs);
    write_files(files);
}

int run(const Options& options, const CommonOptions& common) {
    if (std::error_code error; !fs::is_directory(options.pictures, error))
        fail(options.pictures, fs::exists(options.pictures, error) ? ": is no folder" : ": does not exist",
             "; give a folder of pictures");
    const std::string named = options.out.empty() ? usual_name(options.pictures) : options.out;
    const std::string out = absolute(named);
    refuse_existing(out);
    FirstExperimentRequest request = given_parts(options.pictures);
    request.out = out;
    request.seed = options.seed;
    request.picture_limit = options.reading.picture_limit;
    survey(request, common.quiet);
    const std::vector<std::string> refused = left_out(request);
    const FirstExperiment experiment = first_experiment(request);
    write(out, experiment);

    warn_of_left_out(refused);
    const Config& config = experiment.config;
    const Spread& noise = experiment.noise;
    if (noise.median > visible_noise)
        print_warning("init",
                      text("the pictures seem noisy themselves (", number(noise.median, 2),
                           " of white, or fine texture), and stand for clean ones: what is learned gets no "
                           "cleaner than they are"));
    const long long steps = static_cast<long long>(experiment.steps_per_epoch) * config.train.epochs;
    Json lists = Json::array();
    for (const PictureList& list : experiment.lists) lists.push_back(list.path);
    print_result(
        common,
        Json{{"command", "init"},
             {"out", named},
             {"lists", lists},
             {"train", experiment.train},
             {"val", experiment.val},
             {"test", experiment.test},
             {"left_out", refused.size()},
             {"noise", {{"least", noise.least}, {"median", noise.median}, {"greatest", noise.greatest}}},
             {"size", config.data.size},
             {"prepare", config.data.own_sizes ? "none" : "square"},
             {"steps", steps}},
        text(named, ": ", experiment.train, " pictures to train, ", experiment.val, " to validate, ",
             experiment.test, " to test; ", steps, " steps\nread it, then: tvmap train ",
             shell_word(named.starts_with('-') ? "./" + named : named), "\n"));
    return success;
}

}  // namespace

void add_init(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command =
        program.add("init", "write a first configuration, with comments, for pictures of one's own",
                    "tvmap init photos --out photos.yaml",
                    [options](const CommonOptions& common) { return run(*options, common); });
    command
        .add_option("pictures", options->pictures,
                    "folder of clean pictures, of folders of them (classes), or of train, val and test")
        ->type_name(value::folder)
        ->required();
    command
        .add_option(
            "--out", options->out,
            "the configuration; lists of pictures stand beside it (default: the folder's name, .yaml, here)")
        ->type_name(value::file);
    add_number(command, "--seed", options->seed, "of the division, and of the training");
    options->reading.add_limit(command);
}

}  // namespace tvmap
