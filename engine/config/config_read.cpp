// Reading experiments: YAML files and overrides to lists of given values, and these to a Config.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "engine/config/config.h"
#include "engine/config/config_keys.h"
#include "engine/config/solver_problem.h"
#include "engine/files/ascii.h"
#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

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
            fail(where, ": unknown key ", path, "; the nearest known key is ", nearest_key(path));
        }
    }
}

GivenValues parse_override(const std::string& assignment) {
    const std::string where = "--set " + assignment;
    const std::size_t equals = assignment.find('=');
    if (equals == 0 || equals == std::string::npos)
        fail(where, ": not of the form key=value, like solver.iterations=64");
    const std::string path = assignment.substr(0, equals), value = assignment.substr(equals + 1);
    const Key* known = find_key(path);
    YAML::Node node;
    try {  // a section's keys and values can only be given as YAML
        node[path] = is_section(path) ? YAML::Load(value) : override_node(value, known && known->list);
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

/// Counts documents, to go no further: YAML::LoadAll finds documents without end where a text begins with a comma.
struct DocumentCount final : YAML::EventHandler {
    int documents = 0;
    void OnDocumentStart(const YAML::Mark&) override { ++documents; }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                         YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                    YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
};

/// The only document of a text; null where there is none. Throws Error and YAML::Exception.
YAML::Node only_document(const std::string& yaml, const std::string& path) {
    std::istringstream stream(yaml);
    YAML::Parser parser(stream);
    DocumentCount count;
    while (count.documents < 2 && parser.HandleNextDocument(count)) {
    }
    if (count.documents > 1)
        fail(path, ": several YAML documents, or a comma at the beginning; an experiment is one document");
    return YAML::Load(yaml);
}

Document parse_document(const std::string& yaml, const std::string& path,
                        const std::vector<std::string>& overrides) {
    Document document{path, {}, {}};
    const auto place = [&](const YAML::Node& node) { return text(path, ":", node.Mark().line + 1); };
    YAML::Node experiment;
    try {
        experiment = only_document(yaml, path);
    } catch (const YAML::Exception& error) {
        fail(path, ":", error.mark.line + 1, ": not valid YAML: ", error.msg);
    }
    if (!experiment.IsNull()) {
        if (!experiment.IsMap()) fail(place(experiment), ": not a configuration; give lines like seed: 42");
        YAML::Node plain(YAML::NodeType::Map), sweep;
        for (const auto& entry : experiment) {
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

/// The folder that a name means here and now, so that it means the same wherever it is read again.
std::string absolute(const std::string& folder) {
    if (folder.empty()) return folder;
    std::error_code error;
    const std::string whole = std::filesystem::absolute(folder, error).string();
    if (error)
        fail("cannot tell where ", folder, " is: ", error.message(), "; give a path that begins with /");
    return whole;
}

/// Reads values into the defaults and checks the result.
Config build(const Document& document, const GivenValues& values) {
    Config config;
    std::map<std::string, std::string> places;
    for (const Given& given : values) {
        find_key(given.key)->read(given, config);
        places[given.key] = given.where;
    }
    for (std::string* folder : {&config.data.train, &config.data.val, &config.data.test})
        *folder = absolute(*folder);
    // The network's outputs follow the maps of problems that have more than two.
    if (!is_plain(config.solver))
        config.network.outputs = std::max(config.network.outputs, map_count(config.solver, config.map));
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
            name += is_letter(c) || is_digit(c) || std::string(".+-_").find(c) != std::string::npos ? c : '_';
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

Sweep read_sweep(const std::string& path, const std::vector<std::string>& overrides) {
    const Document document = parse_document(read_file(path), path, overrides);
    std::size_t runs = 1;
    Sweep sweep;
    for (const Given& swept : document.sweep) {
        if (swept.key.starts_with("output."))
            fail(swept.where, ": ", swept.key,
                 " cannot be swept: all runs of a sweep lie in one folder, and are called by what is swept");
        sweep.keys.push_back(swept.key);
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
    std::set<std::string> names;
    for (std::size_t run = 0; run < runs; ++run) {
        GivenValues values = document.values;
        SweptConfig& point = sweep.configs.emplace_back();
        std::size_t rest = run, block = runs;
        for (const Given& swept : document.sweep) {
            block /= swept.node.size();
            const YAML::Node value = swept.node[rest / block];
            rest %= block;
            values.push_back(swept.with(value));
            point.name += (point.name.empty() ? "" : "_") + last_part(swept.key) + "-" + in_name(value);
        }
        point.config = build(document, values);
        for (const std::string& key : sweep.keys) point.values.push_back(find_key(key)->write(point.config));
        if (!names.insert(point.name).second)
            fail(path, ": the sweep gives the run ", point.name, " twice; take out the repeated value");
    }
    return sweep;
}

}  // namespace tvmap
