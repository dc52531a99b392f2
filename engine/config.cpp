// Writing experiments, and the one table of keys that reading, the list of known keys and to_yaml() stand on.
// What values are possible is checked in engine/config_check.cpp, on the finished struct.
#include "engine/config.h"

#include <algorithm>
#include <set>

#include "engine/config_keys.h"
#include "engine/edit_distance.h"
#include "kernels/error.h"

namespace tvmap {
namespace {

/// A key that holds one member; `member` gives a reference to it.
template <class Member>
Key key(const std::string& path, Member member) {
    return {path, [member](const Given& given, Config& config) { read(given, member(config)); },
            [member](const Config& config) { return write(member(config)); },
            can_be_list<std::remove_cvref_t<decltype(member(std::declval<Config&>()))>>};
}

/// A key that holds a number of bytes.
template <class Member>
Key bytes(const std::string& path, Member member) {
    return {path, [member](const Given& given, Config& config) { member(config) = parse_bytes(given); },
            [member](const Config& config) { return write(member(config)); }};
}

/// A key whose values are words, each standing for a value of the member.
template <class Member, class T>
Key choice(const std::string& path, Member member, std::vector<std::pair<std::string, T>> words) {
    return {path,
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
            }};
}

template <class Member>
Key choice(const std::string& path, Member member, const std::vector<std::string>& words) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const std::string& word : words) pairs.emplace_back(word, word);
    return choice(path, member, pairs);
}

#define MEMBER(name) \
    [](auto& c) -> auto& { return c.name; }

}  // namespace

const std::vector<Key>& keys() {
    using Words = std::vector<std::string>;
    using Flags = std::vector<std::pair<std::string, bool>>;
    static const std::vector<Key> table = {
        key("seed", MEMBER(seed)),
        choice("device", MEMBER(device), Words{"auto", "cpu", "cuda"}),
        key("data.train", MEMBER(data.train)),
        key("data.val", MEMBER(data.val)),
        key("data.test", MEMBER(data.test)),
        key("data.size", MEMBER(data.size)),
        key("data.limit.train", MEMBER(data.limit.train)),
        key("data.limit.val", MEMBER(data.limit.val)),
        key("data.limit.test", MEMBER(data.limit.test)),
        bytes("data.picture_limit", MEMBER(data.picture_limit)),
        key("noise.sigma", MEMBER(noise.sigma)),
        choice("noise.relative_to", MEMBER(noise.relative_to_image_std),
               Flags{{"image_std", true}, {"one", false}}),
        key("network.channels", MEMBER(network.channels)),
        key("network.outputs", MEMBER(network.outputs)),
        key("network.slope", MEMBER(network.slope)),
        choice("network.precision", MEMBER(network.precision), Words{"fp32", "tf32", "bf16"}),
        choice("map.kind", MEMBER(map.separate), Flags{{"shared", false}, {"separate", true}}),
        key("map.scale", MEMBER(map.scale)),
        key("map.up_bound", MEMBER(map.up_bound)),
        key("solver.iterations", MEMBER(solver.iterations)),
        {"solver.norm",
         [](const Given& given, Config& config) {
             config.solver.norm_auto = given.node.IsScalar() && given.node.Scalar() == "auto";
             if (!config.solver.norm_auto)
                 config.solver.norm = parse_number<double>(given, "a number or auto");
         },
         [](const Config& config) { return config.solver.norm_auto ? "auto" : write(config.solver.norm); }},
        key("solver.tau", MEMBER(solver.tau)),
        key("solver.sigma", MEMBER(solver.sigma)),
        key("solver.theta", MEMBER(solver.theta)),
        choice("solver.dual_start", MEMBER(solver.dual_start),
               std::vector<std::pair<std::string, DualStart>>{{"zero", DualStart::zero},
                                                              {"image", DualStart::image}}),
        choice("solver.boundary", MEMBER(solver.boundary),
               std::vector<std::pair<std::string, Boundary>>{{"periodic", Boundary::periodic},
                                                             {"neumann", Boundary::neumann}}),
        {"solver.gradient",
         [](const Given& given, Config& config) {
             const auto mode = gradient_mode(given.node.IsScalar() ? given.node.Scalar() : "");
             if (!mode) given.reject(text("one of ", gradient_mode_names));
             config.solver.gradient.kind = mode->kind;
             config.solver.gradient.steps = mode->steps;
         },
         [](const Config& config) { return config.solver.gradient.name(); }},
        key("solver.implicit.tolerance", MEMBER(solver.gradient.tolerance)),
        key("solver.implicit.cap", MEMBER(solver.gradient.cap)),
        choice("solver.train_steps", MEMBER(solver.train_steps),
               std::vector<std::pair<std::string, TrainSteps>>{{"none", TrainSteps::none},
                                                               {"shared", TrainSteps::shared},
                                                               {"per_step", TrainSteps::per_step}}),
        choice("optimiser.kind", MEMBER(optimiser.kind), Words{"adam"}),
        key("optimiser.rate", MEMBER(optimiser.rate)),
        {"optimiser.betas",
         [](const Given& given, Config& config) {
             read_pair(given, config.optimiser.beta1, config.optimiser.beta2,
                       "two numbers, like [0.9, 0.999]");
         },
         [](const Config& config) {
             return "[" + write(config.optimiser.beta1) + ", " + write(config.optimiser.beta2) + "]";
         },
         true},
        key("optimiser.eps", MEMBER(optimiser.eps)),
        choice("optimiser.schedule", MEMBER(optimiser.cosine), Flags{{"constant", false}, {"cosine", true}}),
        key("optimiser.warmup", MEMBER(optimiser.warmup)),
        key("train.epochs", MEMBER(train.epochs)),
        key("train.batch", MEMBER(train.batch)),
        key("train.crop", MEMBER(train.crop)),
        key("train.flip", MEMBER(train.flip)),
        choice("train.loss", MEMBER(train.loss),
               std::vector<std::pair<std::string, LossKind>>{{"mse", LossKind::mse},
                                                             {"log_mse", LossKind::log_mse}}),
        key("train.validate_every", MEMBER(train.validate_every)),
        key("train.checkpoint_every", MEMBER(train.checkpoint_every)),
        bytes("train.memory_limit", MEMBER(train.memory_limit)),
        key("evaluate.sigma", MEMBER(evaluate.sigma)),
        key("evaluate.iterations", MEMBER(evaluate.iterations)),
        key("evaluate.search.from", MEMBER(evaluate.search.from)),
        key("evaluate.search.to", MEMBER(evaluate.search.to)),
        key("evaluate.search.count", MEMBER(evaluate.search.count)),
        key("study.modes", MEMBER(study.modes)),
        key("study.iterations", MEMBER(study.iterations)),
        key("study.sizes", MEMBER(study.sizes)),
        key("study.images", MEMBER(study.images)),
        key("study.repeat", MEMBER(study.repeat)),
        key("study.reference_iterations", MEMBER(study.reference_iterations)),
        key("study.steps", MEMBER(study.steps)),
        key("study.train_iterations", MEMBER(study.train_iterations)),
        key("study.test_iterations", MEMBER(study.test_iterations)),
        key("study.step_sizes", MEMBER(study.step_sizes)),
        key("study.step_sizes_iterations", MEMBER(study.step_sizes_iterations)),
        key("output.folder", MEMBER(output.folder)),
        key("output.name", MEMBER(output.name)),
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
