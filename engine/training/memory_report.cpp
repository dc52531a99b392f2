#include "engine/training/memory_report.h"

#include <algorithm>
#include <iomanip>
#include <numeric>

#include "engine/training/process_memory.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

/// The owner of a tensor's bytes.
std::string owner(const Plan::Block& block) {
    return block.purpose == "gradient"                                ? "gradients"
           : block.purpose == "saved" || block.purpose == "workspace" ? block.purpose
                                                                      : "values";
}

/// The plan's tensors that are alive at its peak: they overlap nowhere.
std::vector<const Plan::Block*> at_peak(const Plan& plan) {
    const int peak = plan.peak_step();
    std::vector<const Plan::Block*> alive;
    for (const Plan::Block& block : plan.blocks())
        if (block.first <= peak && peak <= block.last) alive.push_back(&block);
    return alive;
}

}  // namespace

std::size_t MemoryReport::predicted() const {
    return std::accumulate(owners.begin(), owners.end(), std::size_t(0),
                           [](std::size_t sum, const MemoryOwner& o) { return sum + o.predicted; });
}

MemoryOwner& MemoryReport::operator[](const std::string& name) {
    const auto same = [&](const MemoryOwner& o) { return o.name == name; };
    const auto found = std::find_if(owners.begin(), owners.end(), same);
    return found != owners.end() ? *found : owners.emplace_back(MemoryOwner{name});
}

std::string MemoryReport::table() const {
    TextStream out;
    const auto line = [&](const std::string& name, std::size_t predicted_bytes, std::size_t measured_bytes) {
        out << std::left << std::setw(14) << name << std::right << std::setw(14) << predicted_bytes;
        if (measured) out << std::setw(14) << measured_bytes;
        out << "\n";
    };
    out << "memory             predicted" << (measured ? "      measured" : "") << "  (bytes)\n";
    for (const MemoryOwner& o : owners)
        if (o.predicted || o.measured) line(o.name, o.predicted, o.measured);
    line("peak", predicted(), measured);
    if (copy)
        out << "and of the host's memory, pinned, for the copy that checkpoints are written from: " << copy
            << "\n";
    return out.str();
}

void add_arena(MemoryReport& report, const Plan& plan, std::size_t arena_bytes) {
    std::size_t alive = 0;
    for (const char* name : {"values", "gradients", "saved", "workspace"}) report[name];
    for (const Plan::Block* block : at_peak(plan)) {
        report[owner(*block)].predicted += block->bytes;
        alive += block->bytes;
    }
    report["gaps"].predicted += plan.arena_bytes() - alive;
    report["validation"].predicted += arena_bytes - plan.arena_bytes();
}

void measure(MemoryReport& report, const Backend& backend, const std::vector<PlacedPlan>& plans,
             const Parameters& parameters, std::size_t total) {
    const auto touched = [&](const void* memory, std::size_t bytes) {
        return backend.separate_memory() ? bytes : resident_bytes(memory, bytes);
    };
    report.measured = total;
    for (MemoryOwner& o : report.owners) o.measured = 0;
    for (const auto& [plan, arena] : plans) {
        const auto in_arena = [&, memory = static_cast<const std::byte*>(arena->memory())](
                                  std::size_t offset, std::size_t bytes) {
            return touched(memory + offset, bytes);
        };
        std::size_t alive = 0;
        for (const Plan::Block* block : at_peak(*plan)) {
            const std::size_t bytes = in_arena(block->offset, block->bytes);
            report[owner(*block)].measured += bytes;
            alive += bytes;
        }
        const std::size_t placed = plan->arena_bytes();
        report["gaps"].measured += in_arena(0, placed) - alive;
        report["validation"].measured += in_arena(placed, arena->bytes() - placed);
    }
    report["parameters"].measured = touched(parameters.weight(0), parameters.bytes());
    // These are written from end to end when they are made.
    for (const char* name : {"batches", "pictures", "training_set", "schedule"})
        report[name].measured = report[name].predicted;
    std::size_t known = 0;
    for (const MemoryOwner& o : report.owners) known += o.measured;
    const std::size_t rest = std::max(total, known) - known;
    MemoryOwner &timing = report["timing"], &primitives = report["primitives"];
    timing.measured = std::min(timing.predicted, std::max(rest, primitives.predicted) - primitives.predicted);
    primitives.measured = rest - timing.measured;
}

}  // namespace tvmap
