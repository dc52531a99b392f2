// Completion for bash, without the package bash-completion.
#include "apps/help/completion.h"

namespace tvmap {
namespace {

// bash ends words at = and : (COMP_WORDBREAKS), so --set data.size=64 comes as three: they are put together again, and what
// stands in front of the last of them is left away in the reply.
constexpr const char* functions = R"(# Completion of tvmap for bash, made by tvmap completion bash.
_tvmap_offer() {
    local breaks= stem candidate
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=':'
    [[ -n $breaks ]] && stem=${current%"${current##*[$breaks]}"}
    for candidate; do
        candidate=$lead$candidate
        [[ $candidate == "$current"* ]] && COMPREPLY+=("${candidate#"$stem"}")
    done
    [[ ${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace 2>/dev/null
    compopt +o default 2>/dev/null
}
_tvmap_folders() { compopt +o default -o dirnames 2>/dev/null; }
_tvmap_files() { compopt -o default 2>/dev/null; }
_tvmap_settings() {
    if [[ ${current#"$lead"} == *=* ]]; then
        _tvmap_offer "${_tvmap_values[@]}"
    else
        _tvmap_offer "${_tvmap_keys[@]}"
    fi
}
)";

constexpr const char* words_of_line = R"(_tvmap() {
    local words=() word joins= count current previous= lead= option
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        count=${#words[@]}
        if [[ $count -gt 0 && -n $word && ( -n $joins || $word == [=:]* ) ]]; then
            words[count - 1]+=$word
        else
            words+=("$word")
        fi
        joins=
        [[ $word == [=:]* ]] && joins=yes
    done
    current=${words[-1]}
    [[ ${#words[@]} -gt 1 ]] && previous=${words[-2]}
    if [[ $current == --*=* ]]; then
        previous=${current%%=*} lead=${current%%=*}=
    fi
    if [[ ${#words[@]} -eq 1 ]]; then
)";

std::string listed(const std::vector<std::string>& words) {
    std::string line;
    for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
    return line;
}

std::string action(const Argument& argument) {
    if (argument.takes(value::setting)) return "_tvmap_settings";
    if (argument.takes(value::folder)) return "_tvmap_folders";
    if (!argument.words.empty()) return "_tvmap_offer " + listed(argument.words);
    if (argument.takes(value::file)) return "_tvmap_files";
    return "_tvmap_offer";  // nothing that could be known
}

std::string function_of(const Command& command) {
    std::string names, cases;
    for (const Argument& option : command.options) {
        names += (names.empty() ? "" : " ") + option.name;
        std::string pattern = option.name;
        if (!option.letter.empty()) names += " " + option.letter;
        if (!option.alias.empty()) {
            names += " " + option.alias;
            pattern += " | " + option.alias;
        }
        if (!option.is_flag()) cases += "    " + pattern + ") " + action(option) + " ;;\n";
    }
    const std::string rest =
        command.positionals.empty() ? "_tvmap_offer" : action(command.positionals.front());
    return "_tvmap_" + command.name + "() {\n    case $previous in\n" + cases +
           "    *)\n        if [[ $current == -* ]]; then\n            _tvmap_offer " + names +
           "\n        else\n            " + rest + "\n        fi\n        ;;\n    esac\n}\n";
}

}  // namespace

std::string bash_completion(const CompletionTable& table) {
    std::string names, script = functions;
    script += "_tvmap_keys=(" + listed(table.keys) + ")\n_tvmap_values=(" + listed(table.settings) + ")\n";
    for (const Command& command : table.commands) {
        script += function_of(command);
        names += (names.empty() ? "" : " ") + command.name;
    }
    return script + words_of_line + "        _tvmap_offer " + names +
           " --help --version\n    elif declare -F \"_tvmap_${words[0]}\" >/dev/null; then\n" +
           "        \"_tvmap_${words[0]}\"\n    fi\n}\ncomplete -o default -F _tvmap tvmap\n";
}

}  // namespace tvmap
