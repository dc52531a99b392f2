// tvmap phantoms: synthetic radiograph-like images, for runs without data.
#include <algorithm>
#include <memory>
#include <vector>

#include "apps/program/command.h"
#include "apps/program/command_table.h"
#include "apps/program/interruption.h"
#include "apps/program/progress_line.h"
#include "engine/data/phantoms.h"
#include "engine/files/outputs.h"

namespace tvmap {
namespace {

struct Options {
    std::string out;
    int count = 0, size = 256;
    std::uint64_t seed = 42;
};

int run(const Options& options, const CommonOptions& common) {
    constexpr int group = 16;  // written between two looks at Ctrl-C
    std::vector<Output> outputs;
    for (int i = 0; i < options.count; ++i)
        outputs.push_back({options.out + "/" + phantom_name(std::uint32_t(i))});
    prepare_outputs(outputs);
    ProgressLine progress("phantoms", options.count, "images", common.quiet);
    interrupted();
    for (int first = 0; first < options.count; first += group) {
        if (interrupted())
            throw Interrupted(text("interrupted after ", first, " images; those stand in ", options.out));
        write_phantoms(options.out, std::min(group, options.count - first), options.size, options.seed,
                       std::uint32_t(first));
        progress.update(first);
    }
    print_result(
        common,
        Json{{"command", "phantoms"},
             {"out", options.out},
             {"count", options.count},
             {"size", options.size},
             {"seed", options.seed}},
        text(options.out, ": ", options.count, " images of ", options.size, "×", options.size, "\n"));
    return success;
}

}  // namespace

void add_phantoms(Program& program) {
    auto options = std::make_shared<Options>();
    CLI::App& command = program.add("phantoms", "write synthetic radiograph-like images",
                                    "tvmap phantoms --out runs/phantoms/train --count 48 --seed 1",
                                    [options](const CommonOptions& common) { return run(*options, common); });
    command.add_option("--out", options->out, "folder, made if need be")
        ->type_name(value::folder)
        ->required();
    add_number(command, "--count", options->count, "images", 1, 1000000)->required()->default_str("");
    add_number(command, "--seed", options->seed, "images are a function of seed, number and size");
    add_number(command, "--size", options->size, "side of each, in pixels", 8, 8192);
}

}  // namespace tvmap
