#include "engine/init/first_experiment_text.h"

#include <algorithm>
#include <map>

#include "engine/config/key_names.h"
#include "engine/files/decimal.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr std::size_t comment_column = 40;

/// YAML in the order in which keys are given, each with its comment.
class CommentedYaml {
  public:
    explicit CommentedYaml(const Config& config) : config_(config) {}

    void heading(const std::string& line) { yaml_ += "# " + line + "\n"; }
    void gap() { yaml_ += "\n"; }

    /// The key's sections are opened as need be, `about` beside the innermost.
    void key(const std::string& path, const std::string& comment, const std::string& about = "") {
        std::vector<std::string> parts;
        for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
            end = path.find('.', begin);
            parts.push_back(path.substr(begin, end - begin));
        }
        const std::string name = parts.back();
        parts.pop_back();
        std::size_t depth = 0;
        while (depth < parts.size() && depth < open_.size() && open_[depth] == parts[depth]) ++depth;
        if (depth == 0 && !parts.empty()) yaml_ += "\n";
        for (; depth < parts.size(); ++depth)
            line(depth, parts[depth] + ":", depth + 1 == parts.size() ? about : "");
        line(depth, name + ": " + yaml_value(config_, path), comment);
        open_ = parts;
    }

    const std::string& text() const { return yaml_; }

  private:
    /// The comment stands in front of a line that leaves no room beside it.
    void line(std::size_t depth, const std::string& content, const std::string& comment) {
        const std::string indent(4 * depth, ' ');
        std::string whole = indent + content;
        if (whole.size() + 2 > comment_column) {
            yaml_ += indent + "# " + comment + "\n" + whole + "\n";
            return;
        }
        whole.resize(comment_column, ' ');
        yaml_ += whole + "# " + comment + "\n";
    }

    const Config& config_;
    std::string yaml_;
    std::vector<std::string> open_;  // the sections that the last key stood in
};

std::string rounded(double value) { return rounded_decimal(value, 2); }

/// "8 bits" where all are alike, else "8 bits (12), 16 bits (3)".
std::string counted(const std::map<std::string, int>& kinds) {
    std::string list;
    for (const auto& [kind, count] : kinds)
        list += (list.empty() ? "" : ", ") + kind + (kinds.size() > 1 ? text(" (", count, ")") : "");
    return list;
}

std::string size_of(const SurveyedPicture& picture) { return text(picture.height, "×", picture.width); }

std::string sizes_of(std::vector<SurveyedPicture> pictures) {
    const auto pixels = [](const SurveyedPicture& p) { return std::int64_t(p.height) * p.width; };
    std::stable_sort(pictures.begin(), pictures.end(),
                     [&](const SurveyedPicture& a, const SurveyedPicture& b) {
                         return std::pair(pixels(a), a.height) < std::pair(pixels(b), b.height);
                     });
    const std::string least = size_of(pictures.front()), greatest = size_of(pictures.back());
    if (least == greatest) return "all of " + least;
    return text("from ", least, " over ", size_of(pictures[pictures.size() / 2]), " (median) to ", greatest);
}

void write_heading(CommentedYaml& yaml, const FirstExperiment& experiment,
                   const std::vector<SurveyedPicture>& pictures, std::size_t left_out) {
    std::map<std::string, int> depths, colours;
    for (const SurveyedPicture& picture : pictures) {
        ++depths[text(picture.bits, " bits")];
        ++colours[picture.channels == 1 ? "grey" : "colour"];
    }
    const Spread& noise = experiment.noise;
    yaml.heading(
        "A first experiment on pictures of one's own, made by tvmap init. What it does not name is the "
        "default.");
    yaml.heading(text("Pictures: ", pictures.size(), ", ", counted(colours), ", ", counted(depths),
                      "; sizes (rows×columns): ", sizes_of(pictures),
                      left_out ? text("; ", left_out, " others cannot be used") : ""));
    yaml.heading(text("Their own noise, white being 1: ", rounded(noise.median), " (median; ",
                      rounded(noise.least), " to ", rounded(noise.greatest),
                      "; by Immerkær 1996, for which fine texture is noise too)"));
    if (noise.median > visible_noise)
        yaml.heading(
            "They seem noisy themselves, and stand for clean ones: what is learned gets no cleaner than they "
            "are.");
    if (experiment.divided)
        yaml.heading(
            text("Divided by chance (seed ", experiment.config.seed,
                 ") into lists beside this file; where several show one thing, keep them in one list."));
    else if (!experiment.lists.empty())
        yaml.heading("Lists beside this file leave out what cannot be used of a folder.");
    yaml.gap();
}

void write_data(CommentedYaml& yaml, const FirstExperiment& experiment) {
    const Config& config = experiment.config;
    const auto of = [](int found) { return text("at most so many, of ", found); };
    yaml.key("data.train", "to learn from", "what is learned, from clean pictures; colours become grey");
    yaml.key("data.val", "to choose the best weights by");
    yaml.key("data.test", "seen by tvmap evaluate alone");
    yaml.key("data.prepare", config.data.own_sizes
                                 ? "as they are: training sees crops, the test whole pictures"
                                 : "all are squares of one size: nothing is cut or resized");
    yaml.key("data.size",
             config.data.own_sizes
                 ? "of validation, the middle of each picture: the network halves it, the smallest holds it"
                 : "the pictures' own, which the network can halve");
    yaml.key("data.limit.train", of(experiment.train) + " (memory, and an epoch's length)", "of each part");
    yaml.key("data.limit.val", of(experiment.val) + " (validation comes often)");
    yaml.key("data.limit.test", of(experiment.test) + " (each is searched for its best scalar)");
    if (config.data.picture_limit != usual_picture_limit)
        yaml.key("data.picture_limit", "bytes that reading a picture may take, as for tvmap init");
}

void write_network(CommentedYaml& yaml, const Config& config) {
    yaml.key("noise.sigma", "from faint to strong, not below what the pictures seem to have",
             "what is added to clean pictures");
    yaml.key("noise.relative_to",
             config.noise.relative_to_image_std
                 ? "times a picture's standard deviation; one: of white, as a camera has it"
                 : "of white");
    yaml.key("network.initialisation",
             "a start that passes signals on; the reference's learns nothing for long", "the U-Net");
    yaml.key("network.normalise",
             "sees each picture at the scale of its noise, so one network serves all levels");
    yaml.key("map.kind", "a map for each of the two differences: better than a shared one",
             "what the network predicts");
    yaml.key("map.scale", "of the noise: the map starts near the best scalar");
    yaml.key("solver.iterations", "steps that are learned through; fewer are faster and nearly as good",
             "total variation");
}

void write_training(CommentedYaml& yaml, const FirstExperiment& experiment) {
    const Config& config = experiment.config;
    const int per_epoch = experiment.steps_per_epoch;
    const long long steps = static_cast<long long>(per_epoch) * config.train.epochs;
    yaml.key("optimiser.rate", "high, since the cosine takes it down", "Adam");
    yaml.key("optimiser.betas",
             "with 0.999 a step may be so large that the map falls to zero and stays there");
    yaml.key("optimiser.schedule", "down to zero at the last step");
    yaml.key("optimiser.warmup", "steps in which the rate rises");
    yaml.key("train.epochs",
             text("of ", per_epoch, per_epoch == 1 ? " step" : " steps", " each: ", steps,
                  " steps, which take ", steps, " / (60 · the steps a second that training shows) minutes"),
             "how long, and on what");
    yaml.key("train.batch", "crops a step");
    yaml.key("train.crop", "side of the crops: the map is local, so they teach as much as whole pictures");
    yaml.key("train.flip", "mirrored left to right now and then: more to learn from");
    yaml.key("train.loss", "faint and strong noise weigh alike");
    yaml.key("train.validate_every", "epochs: some forty times in all");
    yaml.key("train.checkpoint_every", "epochs: what an interrupted run goes on from");
    yaml.key("evaluate.sigma", "the strongest noise of the training", "what tvmap evaluate tests");
    yaml.key("evaluate.search.from", "no smoothing",
             "for the best scalar of each picture, which the map is compared with");
    yaml.key("evaluate.search.to",
             "twice that noise in the picture of most contrast: more than any scalar needs");
    yaml.key("evaluate.search.count", "scalars, equally spaced");
    yaml.key("output.folder", "where runs are kept, below the place that training is started in", "the run");
    yaml.key("output.name", "this run's folder there");
}

}  // namespace

std::string experiment_text(const FirstExperiment& experiment, const std::vector<SurveyedPicture>& pictures,
                            std::size_t left_out) {
    CommentedYaml yaml(experiment.config);
    write_heading(yaml, experiment, pictures, left_out);
    yaml.key("seed", "of the division, the start, the crops and the noise: the same seed, the same run");
    yaml.key("device", "a GPU where there is one");
    write_data(yaml, experiment);
    write_network(yaml, experiment.config);
    write_training(yaml, experiment);
    return yaml.text();
}

}  // namespace tvmap
