#include "apps/program/command_table.h"

#include <algorithm>

#include "apps/program/command.h"

namespace tvmap {
namespace {

std::vector<std::string> alternatives(const std::string& value) {
    std::vector<std::string> parts;
    for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
        end = value.find('|', begin);
        parts.push_back(value.substr(begin, end - begin));
    }
    return parts;
}

bool is_upper(char c) { return 'A' <= c && c <= 'Z'; }

/// CLI11 calls words that are checked TEXT:{a,b,c}.
std::string value_of(const CLI::Option& option) {
    if (option.get_items_expected_max() == 0) return {};
    std::string name = option.get_type_name();
    const std::size_t brace = name.find(":{");
    if (brace == std::string::npos) return name;
    name = name.substr(brace + 2, name.size() - brace - 3);
    std::replace(name.begin(), name.end(), ',', '|');
    return name;
}

/// truncated:K begins with truncated: whatever K is.
std::vector<std::string> words_of(const std::string& value) {
    std::vector<std::string> words;
    for (const std::string& part : alternatives(value))
        if (!part.empty() && !is_upper(part.front()))
            words.push_back(part.substr(0, std::find_if(part.begin(), part.end(), is_upper) - part.begin()));
    return words;
}

Argument argument_of(const CLI::Option& option) {
    Argument argument;
    argument.name = option.get_positional() ? option.get_name(true) : "--" + option.get_lnames().front();
    if (!option.get_snames().empty()) argument.letter = "-" + option.get_snames().front();
    if (option.get_lnames().size() > 1) argument.alias = "--" + option.get_lnames()[1];
    argument.value = value_of(option);
    argument.usual = option.get_default_str();
    argument.description = option.get_description();
    argument.words = words_of(argument.value);
    argument.required = option.get_required();
    argument.several = option.get_items_expected_max() > 1;
    argument.common = option.get_group() == common_group;
    return argument;
}

}  // namespace

bool Argument::takes(const std::string& kind) const {
    const std::vector<std::string> kinds = alternatives(value);
    return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

Command described(const CLI::App& command) {
    Command found{command.get_name(), command.get_description(), command.get_footer(), {}, {}};
    for (const CLI::Option* option : command.get_options())
        (option->get_positional() ? found.positionals : found.options).push_back(argument_of(*option));
    std::stable_partition(found.options.begin(), found.options.end(),
                          [](const Argument& a) { return !a.common; });
    return found;
}

std::vector<Command> described_commands(const CLI::App& program) {
    std::vector<Command> commands;
    for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
        commands.push_back(described(*command));
    return commands;
}

const std::vector<ExitMeaning>& exit_meanings() {
    static const std::vector<ExitMeaning> all = {
        {success, "done"},
        {failure, "failure: one line on standard error says what and where"},
        {wrong_usage, "wrong usage"},
        {gap_not_reached, "solve: the gap asked for was not reached; the best iterate is written"},
        {was_interrupted, "interrupted: what stands is saved, or said"},
    };
    return all;
}

const std::vector<Variable>& environment_variables() {
    static const std::vector<Variable> all = {
        {"OMP_NUM_THREADS", "CPU threads where --threads does not say"},
        {"XDG_CACHE_HOME",
         "where the times of convolutions and solvers are kept, in tvmap/ (default: ~/.cache)"},
        {"TVMAP_WEIGHTS", "the folder of the weights that go by name, in place of those that came along"},
        {"TVMAP_CUDA_BACKEND", "the file of another CUDA backend than the one beside the program"},
        {"TVMAP_CUDA_LIBRARIES", "folders of cuDNN and cuBLAS, with : between them"},
        {"CUDA_VISIBLE_DEVICES", "as for any CUDA program; -1 hides the GPU"},
    };
    return all;
}

}  // namespace tvmap
