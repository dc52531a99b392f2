// tvmap info: devices, versions, what was built in.
#include "apps/program/command.h"
#include "apps/program/machine.h"
#include "engine/model/provided_weights.h"

namespace tvmap {
namespace {

int run(const CommonOptions& common) {
    const Json facts = machine_facts(common);
    const auto fact = [&](const char* key) { return facts.at(key).get<std::string>(); };
    const std::string bf16 = fact("bf16");
    Json json{{"command", "info"}};
    json.update(facts);
    json["weights"] = Json::array();
    std::string weights;
    for (const ProvidedWeights& w : provided_weights()) {
        json["weights"].push_back({{"name", w.name}, {"path", w.path}, {"about", w.about}});
        weights += text(weights.empty() ? "" : "\n                 ", w.name, ": ", w.about);
    }
    print_result(
        common, json,
        text("tvmap            ", fact("version"), "\nprocessor        ", fact("processor"),
             "\ninstruction set  ", fact("instruction_set"), "\nthreads          ",
             facts.at("threads").get<int>(), " (", fact("threads_from"), ")\nmemory           ",
             number(facts.at("memory_gib").get<double>(), 4), " GiB\noneDNN           ", fact("onednn"),
             "\nbf16             ", bf16.empty() ? "not on this processor" : "by " + bf16,
             "\ncompiler         ", fact("compiler"), "\nTIFF             ", fact("tiff"),
             "\nDICOM            ", fact("dicom"), "\nCUDA backend     ", fact("cuda_backend"),
             "\nweights          ", weights.empty() ? "none come with this program" : weights, "\n"));
    return success;
}

}  // namespace

void add_info(Program& program) {
    program.add("info", "devices, versions, what was built in", "tvmap info --json", run);
}

}  // namespace tvmap
