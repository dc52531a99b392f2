#include <algorithm>
#include <filesystem>
#include <string_view>

#include "engine/files/format.h"
#include "engine/files/printable.h"
#include "engine/report/narrative.h"
#include "engine/report/report.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

/// Any text as one line of Markdown that shows it.
std::string markdown_text(const std::string& content) {
    std::string result;
    for (const char c : printable(content)) {
        if (std::string_view("\\`*_{}[]<>#|&~").find(c) != std::string_view::npos) result += '\\';
        result += c == '\n' ? ' ' : c;
    }
    return result;
}

/// A path as a link's address.
std::string address(const fs::path& path) {
    std::string result;
    for (const unsigned char c : path.generic_string()) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '/' || c == '.' || c == '_' || c == '-';
        result += plain ? std::string(1, char(c)) : format("%%%02X", unsigned(c));
    }
    return result;
}

std::string table(const Cells& cells) {
    std::string result;
    for (std::size_t row = 0; row < cells.size(); ++row) {
        result += "|";
        for (const std::string& cell : cells[row]) result += " " + markdown_text(cell) + " |";
        result += "\n";
        if (row > 0) continue;
        for (std::size_t column = 0; column < cells[0].size(); ++column) result += column ? "---|" : "|---|";
        result += "\n";
    }
    return result + "\n";
}

std::string picture(const RunRecord& run, const std::string& file, const std::string& caption,
                    const fs::path& from) {
    if (!fs::is_regular_file(run.path(file))) return "";
    const fs::path to = fs::absolute(run.path(file))
                            .lexically_normal()
                            .lexically_relative(fs::absolute(from).lexically_normal());
    return "![" + markdown_text(caption) + "](" + address(to) + ")\n\n";
}

std::string section(const RunRecord& run, const fs::path& folder) {
    std::string part = "## " + markdown_text(run.name) + "\n\n";
    for (const std::string& paragraph : opening(run)) part += markdown_text(paragraph) + "\n\n";
    part += table(result_table(run)) + markdown_text(verdict(run)) + "\n\n";
    for (const ReportedFigure& f : reported_figures)
        part += picture(run, text(f.name, ".svg"), f.caption, folder);
    for (const std::string& name : run.examples(1))
        part += picture(run, "images/" + name + "_panel.png", name, folder);
    part += "Made by:\n\n";
    for (std::string command : commands(run)) {
        std::replace(command.begin(), command.end(), '\n', ' ');  // a line of its own would end the block
        part += "    " + printable(command) + "\n";
    }
    return part + "\n" + table(machine_table(run));
}

}  // namespace

std::string markdown_report(const std::vector<RunRecord>& runs, const std::string& path) {
    const fs::path folder =
        fs::path(path).parent_path().empty() ? fs::path(".") : fs::path(path).parent_path();
    std::string page = runs.size() == 1 ? "" : "## Runs side by side\n\n" + table(comparison_table(runs));
    for (const RunRecord& run : runs) page += section(run, folder);
    return page;
}

}  // namespace tvmap
