// tvmap report: what was done and what came out, as one page.
#include <filesystem>
#include <memory>
#include <vector>

#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "engine/files/file.h"
#include "engine/files/outputs.h"
#include "engine/queue/queue.h"
#include "engine/report/report.h"

namespace tvmap {
namespace {

struct Options {
    std::vector<std::string> runs;
    std::string out;
    bool markdown = false;
    int pictures = 4;
};

int run(Options options, const CommonOptions& common) {
    if (options.out.empty() && options.runs.size() > 1)
        throw UsageError("several runs make one page; name its file with --out");
    if (options.out.empty())
        options.out = options.runs[0] + "/report/" + (options.markdown ? "index.md" : "index.html");
    std::vector<RunRecord> records;
    for (const std::string& folder : options.runs)
        for (const std::string& run : evaluated_folders(folder).value_or(std::vector{folder}))
            records.push_back(read_run(run));
    const std::string page =
        options.markdown ? markdown_report(records, options.out) : html_report(records, options.pictures);
    prepare_outputs({{options.out, page.size()}});
    write_file(options.out, page);
    print_result(
        common,
        Json{{"command", "report"}, {"runs", options.runs}, {"out", options.out}, {"bytes", page.size()}},
        text("report: ", options.out, " (", number(double(page.size()) / 1e6, 2), " MB)\n"));
    return success;
}

}  // namespace

void add_report(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add("report", "a page on one run, or on several side by side",
                                    "tvmap report runs/quickstart runs/other --out comparison.html",
                                    [options](const CommonOptions& common) { return run(*options, common); });
    command
        .add_option("run", options->runs,
                    "run folders that were evaluated, folders of evaluations, or of a sweep or folds")
        ->type_name(value::folder)
        ->required();
    command.add_option("--out", options->out, "the page (default: RUN/report/index.html)")
        ->type_name(value::file);
    command.add_flag("--markdown", options->markdown,
                     "in short as Markdown, with links to the figures (RUN/report/index.md)");
    add_number(command, "--pictures", options->pictures,
               "images of each run of which the page shows pictures", 0);
}

}  // namespace tvmap
