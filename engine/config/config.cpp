// Writing experiments, and the one table of keys that reading, the list of known keys and to_yaml() stand on.
// What values are possible is checked in engine/config/config_check.cpp, on the finished struct.
#include "engine/config/config.h"

#include <algorithm>
#include <set>
#include <type_traits>

#include "engine/config/config_keys.h"
#include "engine/config/edit_distance.h"
#include "engine/config/key_names.h"
#include "engine/config/solver_words.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

template <class Member>
using MemberType = std::remove_cvref_t<std::invoke_result_t<Member, Config&>>;

/// A key that holds one member; `member` gives a reference to it.
template <class Member>
Key key(const std::string& path, Bearing bearing, Member member) {
    return {path,
            bearing,
            [member](const Given& given, Config& config) { read(given, member(config)); },
            [member](const Config& config) { return write(member(config)); },
            can_be_list<MemberType<Member>>,
            std::is_same_v<MemberType<Member>, bool> ? std::vector<std::string>{"true", "false"}
                                                     : std::vector<std::string>{}};
}

/// A key that holds a number of bytes.
template <class Member>
Key bytes(const std::string& path, Bearing bearing, Member member) {
    return {path, bearing,
            [member](const Given& given, Config& config) { member(config) = parse_bytes(given); },
            [member](const Config& config) { return write(member(config)); }};
}

/// A key that holds a time in seconds.
template <class Member>
Key duration(const std::string& path, Bearing bearing, Member member) {
    return {path, bearing,
            [member](const Given& given, Config& config) { member(config) = parse_duration(given); },
            [member](const Config& config) { return write(member(config)); }};
}

/// A key whose values are words, each standing for a value of the member.
template <class Member, class T>
Key choice(const std::string& path, Bearing bearing, Member member,
           std::vector<std::pair<std::string, T>> words) {
    std::vector<std::string> known_words;
    for (const auto& [word, value] : words) known_words.push_back(word);
    return {path,
            bearing,
            [member, words](const Given& given, Config& config) {
                std::string known;
                for (const auto& [word, value] : words) {
                    if (given.node.IsScalar() && given.node.Scalar() == word) {
                        member(config) = value;
                        return;
                    }
                    known += (known.empty() ? "" : " | ") + word;
                }
                given.reject((words.size() > 1 ? "one of " : "the only choice, ") + known);
            },
            [path, member, words](const Config& config) -> std::string {
                for (const auto& [word, value] : words)
                    if (value == member(config)) return word;
                fail("configuration: ", path, ": a value without a name");
            },
            false,
            known_words};
}

template <class Member>
Key choice(const std::string& path, Bearing bearing, Member member, const std::vector<std::string>& words) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const std::string& word : words) pairs.emplace_back(word, word);
    return choice(path, bearing, member, pairs);
}

#define MEMBER(name) \
    [](auto& c) -> auto& { return c.name; }

}  // namespace

const std::vector<Key>& keys() {
    using Words = std::vector<std::string>;
    using Flags = std::vector<std::pair<std::string, bool>>;
    static const std::vector<Key> table = {
        key("seed", Bearing::training, MEMBER(seed)),
        choice("device", Bearing::place, MEMBER(device), Words{"auto", "cpu", "cuda"}),
        key("data.train", Bearing::place, MEMBER(data.train)),
        key("data.val", Bearing::place, MEMBER(data.val)),
        key("data.test", Bearing::result, MEMBER(data.test)),
        key("data.size", Bearing::training, MEMBER(data.size)),
        choice("data.prepare", Bearing::training, MEMBER(data.own_sizes),
               Flags{{"square", false}, {"none", true}}),
        key("data.limit.train", Bearing::place, MEMBER(data.limit.train)),
        key("data.limit.val", Bearing::place, MEMBER(data.limit.val)),
        key("data.limit.test", Bearing::result, MEMBER(data.limit.test)),
        bytes("data.picture_limit", Bearing::place, MEMBER(data.picture_limit)),
        key("data.folds", Bearing::place, MEMBER(data.folds)),
        key("noise.sigma", Bearing::training, MEMBER(noise.sigma)),
        choice("noise.relative_to", Bearing::weights, MEMBER(noise.relative_to_image_std),
               Flags{{"image_std", true}, {"one", false}}),
        choice("noise.source", Bearing::training, MEMBER(noise.source),
               std::vector<std::pair<std::string, NoiseSource>>{{"simulated", NoiseSource::simulated},
                                                                {"given", NoiseSource::given},
                                                                {"estimated", NoiseSource::estimated}}),
        key("network.channels", Bearing::weights, MEMBER(network.channels)),
        key("network.outputs", Bearing::weights, MEMBER(network.outputs)),
        key("network.slope", Bearing::weights, MEMBER(network.slope)),
        choice("network.initialisation", Bearing::training, MEMBER(network.he),
               Flags{{"reference", false}, {"he", true}}),
        choice("network.normalise", Bearing::weights, MEMBER(network.normalise),
               Flags{{"none", false}, {"noise", true}}),
        choice("network.output", Bearing::weights, MEMBER(network.predicts_image),
               Flags{{"map", false}, {"image", true}}),
        choice("network.precision", Bearing::training, MEMBER(network.precision),
               Words{"fp32", "tf32", "bf16"}),
        choice("map.kind", Bearing::weights, MEMBER(map.separate),
               Flags{{"shared", false}, {"separate", true}}),
        key("map.scale", Bearing::weights, MEMBER(map.scale)),
        key("map.up_bound", Bearing::weights, MEMBER(map.up_bound)),
        choice("solver.regulariser", Bearing::weights, MEMBER(solver.regulariser), regulariser_words),
        choice("solver.operator", Bearing::weights, MEMBER(solver.observation.sight), sight_words),
        key("solver.mask.missing", Bearing::training, MEMBER(solver.observation.missing)),
        key("solver.blur.size", Bearing::training, MEMBER(solver.observation.blur_size)),
        key("solver.blur.sigma", Bearing::training, MEMBER(solver.observation.blur_sigma)),
        key("solver.downsample.factor", Bearing::training, MEMBER(solver.observation.factor)),
        key("solver.impulses.share", Bearing::training, MEMBER(solver.observation.impulses)),
        key("solver.impulses.threshold", Bearing::weights, MEMBER(solver.observation.threshold)),
        key("solver.poisson.gain", Bearing::training, MEMBER(solver.observation.gain)),
        key("solver.iterations", Bearing::training, MEMBER(solver.iterations)),
        {"solver.norm",
         Bearing::weights,
         [](const Given& given, Config& config) {
             config.solver.norm_auto = given.node.IsScalar() && given.node.Scalar() == "auto";
             if (!config.solver.norm_auto)
                 config.solver.norm = parse_number<double>(given, "a number or auto");
         },
         [](const Config& config) { return config.solver.norm_auto ? "auto" : write(config.solver.norm); },
         false,
         {"auto"}},
        key("solver.tau", Bearing::weights, MEMBER(solver.tau)),
        key("solver.sigma", Bearing::weights, MEMBER(solver.sigma)),
        key("solver.theta", Bearing::weights, MEMBER(solver.theta)),
        choice("solver.dual_start", Bearing::weights, MEMBER(solver.dual_start),
               std::vector<std::pair<std::string, DualStart>>{{"zero", DualStart::zero},
                                                              {"image", DualStart::image}}),
        choice("solver.boundary", Bearing::weights, MEMBER(solver.boundary), boundary_words),
        {"solver.gradient",
         Bearing::training,
         [](const Given& given, Config& config) {
             const auto mode = gradient_mode(given.node.IsScalar() ? given.node.Scalar() : "");
             if (!mode) given.reject(text("one of ", gradient_mode_names));
             config.solver.gradient.kind = mode->kind;
             config.solver.gradient.steps = mode->steps;
         },
         [](const Config& config) { return config.solver.gradient.name(); },
         false,
         {"masks", "checkpoint", "stored", "truncated:8", "implicit"}},
        key("solver.implicit.tolerance", Bearing::training, MEMBER(solver.gradient.tolerance)),
        key("solver.implicit.cap", Bearing::training, MEMBER(solver.gradient.cap)),
        choice("solver.train_steps", Bearing::weights, MEMBER(solver.train_steps),
               std::vector<std::pair<std::string, TrainSteps>>{{"none", TrainSteps::none},
                                                               {"shared", TrainSteps::shared},
                                                               {"per_step", TrainSteps::per_step}}),
        choice("optimiser.kind", Bearing::training, MEMBER(optimiser.decoupled_decay),
               Flags{{"adam", false}, {"adamw", true}}),
        key("optimiser.rate", Bearing::training, MEMBER(optimiser.rate)),
        {"optimiser.betas", Bearing::training,
         [](const Given& given, Config& config) {
             read_pair(given, config.optimiser.beta1, config.optimiser.beta2,
                       "two numbers, like [0.9, 0.999]");
         },
         [](const Config& config) {
             return "[" + write(config.optimiser.beta1) + ", " + write(config.optimiser.beta2) + "]";
         },
         true},
        key("optimiser.eps", Bearing::training, MEMBER(optimiser.eps)),
        choice("optimiser.schedule", Bearing::training, MEMBER(optimiser.schedule),
               std::vector<std::pair<std::string, RateSchedule>>{{"constant", RateSchedule::constant},
                                                                 {"cosine", RateSchedule::cosine},
                                                                 {"step", RateSchedule::step}}),
        key("optimiser.warmup", Bearing::training, MEMBER(optimiser.warmup)),
        key("optimiser.weight_decay", Bearing::training, MEMBER(optimiser.weight_decay)),
        key("optimiser.clip", Bearing::training, MEMBER(optimiser.clip)),
        key("optimiser.milestones", Bearing::training, MEMBER(optimiser.milestones)),
        key("optimiser.factor", Bearing::training, MEMBER(optimiser.factor)),
        key("train.epochs", Bearing::schedule, MEMBER(train.epochs)),
        key("train.batch", Bearing::training, MEMBER(train.batch)),
        key("train.crop", Bearing::training, MEMBER(train.crop)),
        key("train.flip", Bearing::training, MEMBER(train.flip)),
        choice("train.loss", Bearing::training, MEMBER(train.loss),
               std::vector<std::pair<std::string, LossKind>>{{"mse", LossKind::mse},
                                                             {"log_mse", LossKind::log_mse}}),
        key("train.validate_every", Bearing::result, MEMBER(train.validate_every)),
        key("train.checkpoint_every", Bearing::result, MEMBER(train.checkpoint_every)),
        key("train.checkpoint_seconds", Bearing::result, MEMBER(train.checkpoint_seconds)),
        bytes("train.memory_limit", Bearing::place, MEMBER(train.memory_limit)),
        key("train.ema", Bearing::training, MEMBER(train.ema)),
        key("train.stop_after", Bearing::result, MEMBER(train.stop_after)),
        key("train.rotate", Bearing::training, MEMBER(train.rotate)),
        key("train.accumulate", Bearing::training, MEMBER(train.accumulate)),
        duration("train.time", Bearing::schedule, MEMBER(train.time)),
        choice("train.supervision", Bearing::training, MEMBER(train.supervision),
               std::vector<std::pair<std::string, Supervision>>{{"clean", Supervision::clean},
                                                                {"r2r", Supervision::r2r},
                                                                {"sure", Supervision::sure},
                                                                {"pairs", Supervision::pairs}}),
        key("train.r2r.alpha", Bearing::training, MEMBER(train.r2r_alpha)),
        key("train.sure.epsilon", Bearing::training, MEMBER(train.sure_epsilon)),
        key("evaluate.sigma", Bearing::result, MEMBER(evaluate.sigma)),
        key("evaluate.iterations", Bearing::training, MEMBER(evaluate.iterations)),
        key("evaluate.search.from", Bearing::result, MEMBER(evaluate.search.from)),
        key("evaluate.search.to", Bearing::result, MEMBER(evaluate.search.to)),
        key("evaluate.search.count", Bearing::result, MEMBER(evaluate.search.count)),
        key("evaluate.draws", Bearing::result, MEMBER(evaluate.draws)),
        key("evaluate.orientations", Bearing::result, MEMBER(evaluate.orientations)),
        choice("denoise.colour", Bearing::result, MEMBER(denoise.luminance),
               Flags{{"channels", false}, {"luminance", true}}),
        key("study.modes", Bearing::place, MEMBER(study.modes)),
        key("study.iterations", Bearing::place, MEMBER(study.iterations)),
        key("study.sizes", Bearing::place, MEMBER(study.sizes)),
        key("study.images", Bearing::place, MEMBER(study.images)),
        key("study.repeat", Bearing::place, MEMBER(study.repeat)),
        key("study.reference_iterations", Bearing::place, MEMBER(study.reference_iterations)),
        key("study.steps", Bearing::place, MEMBER(study.steps)),
        key("study.train_iterations", Bearing::place, MEMBER(study.train_iterations)),
        key("study.test_iterations", Bearing::place, MEMBER(study.test_iterations)),
        key("study.step_sizes", Bearing::place, MEMBER(study.step_sizes)),
        key("study.step_sizes_iterations", Bearing::place, MEMBER(study.step_sizes_iterations)),
        key("output.folder", Bearing::place, MEMBER(output.folder)),
        key("output.name", Bearing::place, MEMBER(output.name)),
    };
    return table;
}
#undef MEMBER

const Key* find_key(const std::string& path) {
    for (const Key& known : keys())
        if (known.path == path) return &known;
    return nullptr;
}

std::string last_part(const std::string& path) { return path.substr(path.rfind('.') + 1); }

bool is_section(const std::string& path) {
    return std::any_of(keys().begin(), keys().end(),
                       [&](const Key& known) { return known.path.starts_with(path + "."); });
}

std::string nearest_key(const std::string& path) {
    std::set<std::string> known{"sweep"};
    for (const Key& k : keys())
        for (std::size_t end = 0; end != std::string::npos;) {
            end = k.path.find('.', end + 1);
            known.insert(k.path.substr(0, end));
        }
    const auto distance = [&](const std::string& candidate) {
        return std::min(edit_distance(path, candidate),
                        edit_distance(last_part(path), last_part(candidate)) + 1);
    };
    return *std::min_element(known.begin(), known.end(), [&](const std::string& a, const std::string& b) {
        return distance(a) < distance(b);
    });
}

std::vector<KeyName> key_names() {
    std::vector<KeyName> names;
    for (const Key& known : keys()) names.push_back({known.path, known.words});
    return names;
}

std::string yaml_value(const Config& config, const std::string& path) {
    const Key* known = find_key(path);
    if (known == nullptr)
        fail("configuration: there is no key ", path, "; the nearest is ", nearest_key(path));
    return known->write(config);
}

std::optional<Bearing> bearing_of(const std::string& path) {
    const Key* known = find_key(path);
    return known ? std::optional(known->bearing) : std::nullopt;
}

std::vector<Difference> differences(const Config& then, const Config& now) {
    std::vector<Difference> found;
    for (const Key& known : keys()) {
        if (known.bearing == Bearing::place) continue;
        const std::string a = known.write(then), b = known.write(now);
        if (a != b) found.push_back({known.path, a, b, known.bearing});
    }
    return found;
}

std::string Config::to_yaml() const {
    std::string yaml;
    std::vector<std::string> open;  // the sections that the last key stood in
    for (const Key& known : keys()) {
        if (known.path.starts_with("study.") && study == StudyConfig{}) continue;
        std::vector<std::string> parts;
        for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
            end = known.path.find('.', begin);
            parts.push_back(known.path.substr(begin, end - begin));
        }
        std::size_t depth = 0;
        while (depth + 1 < parts.size() && depth < open.size() && open[depth] == parts[depth]) ++depth;
        for (; depth + 1 < parts.size(); ++depth) yaml += std::string(4 * depth, ' ') + parts[depth] + ":\n";
        yaml += std::string(4 * depth, ' ') + parts.back() + ": " + known.write(*this) + "\n";
        parts.pop_back();
        open = parts;
    }
    return yaml;
}

}  // namespace tvmap
