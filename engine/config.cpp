// Reading and writing experiments. One table of keys serves reading, the list of known keys and to_yaml(): a
// key is its path, a reader into the struct and a writer out of it. What values are possible is checked in
// engine/config_check.cpp, on the finished struct.
#include "engine/config.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "engine/config_values.h"
#include "engine/edit_distance.h"
#include "engine/file.h"
#include "kernels/error.h"

namespace tvmap {
namespace {

// ---- the table ----

struct Key {
    std::string path;
    std::function<void(const Given&, Config&)> read;
    std::function<std::string(const Config&)> write;
};

/// A key that holds one member; `member` gives a reference to it.
template <class Member>
Key key(const std::string& path, Member member) {
    return {path, [member](const Given& given, Config& config) { read(given, member(config)); },
            [member](const Config& config) { return write(member(config)); }};
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

/// Every key there is, in the order in which to_yaml() prints them.
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
         }},
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

/// The known key or section nearest to `path`; one of the same name in another section counts as near.
std::string nearest(const std::string& path) {
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

// ---- files and overrides to lists of given values ----

using GivenValues = std::vector<Given>;

/// Collects the values below `node`, whose keys start with `prefix`. `place` says where a node's key stands.
void collect(const YAML::Node& node, const std::string& prefix,
             const std::function<std::string(const YAML::Node&)>& place, GivenValues& values) {
    for (const auto& entry : node) {
        const std::string where = place(entry.first);
        if (!entry.first.IsScalar()) fail(where, ": a key must be a word");
        const std::string path = prefix + entry.first.Scalar();
        if (is_section(path)) {
            if (!entry.second.IsMap())
                Given{path, where, entry.second}.reject("the keys of this section, like " + path + ": {...}");
            collect(entry.second, path + ".", place, values);
        } else if (find_key(path)) {
            const auto same = [&](const Given& other) { return other.key == path; };
            if (const auto first = std::find_if(values.begin(), values.end(), same); first != values.end())
                fail(where, ": ", path, " is given twice (first at ", first->where, "); keep one of the two");
            values.push_back({path, where, entry.second});
        } else {
            fail(where, ": unknown key ", path, "; the nearest known key is ", nearest(path));
        }
    }
}

GivenValues parse_override(const std::string& assignment) {
    const std::string where = "--set " + assignment;
    const std::size_t equals = assignment.find('=');
    if (equals == 0 || equals == std::string::npos)
        fail(where, ": not of the form key=value, like solver.iterations=64");
    YAML::Node node;
    try {
        node[assignment.substr(0, equals)] = YAML::Load(assignment.substr(equals + 1));
    } catch (const YAML::Exception& error) {
        fail(where, ": the value is not valid YAML: ", error.msg);
    }
    GivenValues values;
    collect(
        node, "", [&](const YAML::Node&) { return where; }, values);
    return values;
}

/// What a file and the overrides say: plain values, and those of the sweep (whose nodes are lists).
struct Document {
    std::string path;
    GivenValues values, sweep;
};

void override_values(Document& document, const std::vector<std::string>& overrides) {
    GivenValues overriding;
    for (const std::string& assignment : overrides)
        for (const Given& given : parse_override(assignment)) {
            const auto same = [&](const Given& other) { return other.key == given.key; };
            if (std::any_of(overriding.begin(), overriding.end(), same))
                fail(given.where, ": ", given.key, " is set twice; keep one of the two");
            if (std::any_of(document.sweep.begin(), document.sweep.end(), same))
                fail(given.where, ": ", given.key, " is swept by ", document.path,
                     "; take it out of the sweep");
            std::erase_if(document.values, same);
            overriding.push_back(given);
        }
    document.values.insert(document.values.end(), overriding.begin(), overriding.end());
}

Document parse_document(const std::string& yaml, const std::string& path,
                        const std::vector<std::string>& overrides) {
    Document document{path, {}, {}};
    const auto place = [&](const YAML::Node& node) { return text(path, ":", node.Mark().line + 1); };
    std::vector<YAML::Node> nodes;
    try {
        nodes = YAML::LoadAll(yaml);
    } catch (const YAML::Exception& error) {
        fail(path, ":", error.mark.line + 1, ": not valid YAML: ", error.msg);
    }
    if (nodes.size() > 1) fail(path, ": several YAML documents; an experiment is one");
    if (!nodes.empty() && !nodes[0].IsNull()) {
        if (!nodes[0].IsMap()) fail(place(nodes[0]), ": not a configuration; give lines like seed: 42");
        YAML::Node plain(YAML::NodeType::Map), sweep;
        for (const auto& entry : nodes[0]) {
            if (!entry.first.IsScalar() || entry.first.Scalar() != "sweep") {
                plain.force_insert(entry.first, entry.second);
                continue;
            }
            if (!sweep.IsNull()) fail(place(entry.first), ": sweep is given twice; keep one of the two");
            sweep = entry.second;
            if (!sweep.IsMap())
                fail(place(entry.first), ": sweep: give keys and lists, like solver.iterations: [8, 16]");
        }
        collect(plain, "", place, document.values);
        if (!sweep.IsNull()) collect(sweep, "", place, document.sweep);
    }
    override_values(document, overrides);
    return document;
}

/// Reads values into the defaults and checks the result.
Config build(const Document& document, const GivenValues& values) {
    Config config;
    std::map<std::string, std::string> places;
    for (const Given& given : values) {
        find_key(given.key)->read(given, config);
        places[given.key] = given.where;
    }
    check_config(config, [&](const std::string& key) {
        const auto place = places.find(key);
        return (place == places.end() ? document.path : place->second) + ": " + key;
    });
    return config;
}

/// A swept value as part of a folder's name: 8, 0.001, 32-64.
std::string in_name(const YAML::Node& node) {
    std::string name;
    if (node.IsSequence())
        for (const auto& element : node) name += (name.empty() ? "" : "-") + in_name(element);
    else if (node.IsScalar())
        for (char c : node.Scalar())
            name += std::isalnum(static_cast<unsigned char>(c)) ||
                            std::string(".+-_").find(c) != std::string::npos
                        ? c
                        : '_';
    return name;
}

}  // namespace

Config read_config(const std::string& path, const std::vector<std::string>& overrides) {
    return parse_config(read_file(path), path, overrides);
}

Config parse_config(const std::string& yaml, const std::string& where,
                    const std::vector<std::string>& overrides) {
    const Document document = parse_document(yaml, where, overrides);
    if (!document.sweep.empty())
        fail(document.sweep[0].where,
             ": a sweep describes several runs, and one is needed here; take it out and use --set ",
             document.sweep[0].key, "=VALUE");
    return build(document, document.values);
}

std::vector<Config> read_sweep(const std::string& path, const std::vector<std::string>& overrides) {
    const Document document = parse_document(read_file(path), path, overrides);
    std::size_t runs = 1;
    for (const Given& swept : document.sweep) {
        const auto same = [&](const Given& other) { return other.key == swept.key; };
        if (const auto plain = std::find_if(document.values.begin(), document.values.end(), same);
            plain != document.values.end())
            fail(swept.where, ": ", swept.key, " is swept and also given at ", plain->where,
                 "; keep one of the two");
        if (!swept.node.IsSequence() || swept.node.size() == 0)
            swept.reject("a list of values to sweep over");
        runs *= swept.node.size();
        if (runs > 10000) fail(swept.where, ": the sweep has more than 10000 runs; shorten its lists");
    }
    std::vector<Config> configs;
    std::set<std::string> names;
    for (std::size_t run = 0; run < runs; ++run) {
        GivenValues values = document.values;
        std::string extension;
        std::size_t rest = run, block = runs;
        for (const Given& swept : document.sweep) {
            block /= swept.node.size();
            const YAML::Node value = swept.node[rest / block];
            rest %= block;
            values.push_back(swept.with(value));
            if (swept.key != "output.name") extension += "_" + last_part(swept.key) + "-" + in_name(value);
        }
        configs.push_back(build(document, values));
        configs.back().output.name += extension;
        if (!names.insert(configs.back().output.name).second)
            fail(path, ": the sweep gives the run ", configs.back().output.name,
                 " twice; take out the repeated value");
    }
    return configs;
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
