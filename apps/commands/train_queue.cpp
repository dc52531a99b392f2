#include "apps/commands/train_queue.h"

#include "apps/commands/evaluate.h"
#include "apps/program/interruption.h"
#include "apps/program/machine.h"
#include "apps/program/warning.h"
#include "engine/queue/queue.h"

namespace tvmap {
namespace {

Json to_json(const Table& table) {
    Json rows = Json::array();
    for (const std::vector<Table::Cell>& cells : table.rows()) {
        Json& row = rows.emplace_back(Json::object());
        for (const Table::Cell& cell : cells)
            row[cell.column] = cell.is_number ? Json(cell.number) : Json(cell.content);  // NaN becomes null
    }
    return rows;
}

Provenance made_by(const CommonOptions& common) {
    Provenance entries{{"command", common.command_line}, {"pictures", "0"}};
    const Json facts = machine_facts(common);
    for (const char* key : {"version", "processor"})
        if (facts.contains(key)) entries.emplace_back(key, facts[key].get<std::string>());
    return entries;
}

/// Trains and tests it, as far as that is not done. Returns the exit code.
int finish_run(Queue& queue, const QueuedRun& run, const TrainRun& train, const CommonOptions& common) {
    const std::string folder = queue.folder_of(run);
    if (!queue.trained(run)) {
        queue.prepare(run);
        Progress reached;
        if (!train(run.config, folder, common, reached)) return was_interrupted;
        queue.keep_trained(run, reached);
    }
    if (!queue.tested(run)) {
        queue.prepare(run);
        if (const int code = evaluate_run(folder, common); code != success) return code;
        queue.keep_tested(run);
    }
    return success;
}

}  // namespace

int train_queue(const Sweep& sweep, const std::string& folder, bool resume, const TrainRun& train,
                const CommonOptions& common) {
    Queue queue(sweep, folder, resume);
    queue.begin();
    CommonOptions of_run = common;  // one result is printed as JSON: that of the queue
    of_run.json = false;
    of_run.quiet = common.quiet || common.json;
    for (const QueuedRun& run : queue.runs()) {
        if (interrupted())
            throw Interrupted(text("interrupted before ", run.name, " of ", folder, "; go on with --resume"));
        if (const int code = finish_run(queue, run, train, of_run); code != success) return code;
    }
    print_warning("train", queue.finish(made_by(common)));
    for (const std::string& note : queue.notes()) print_warning("train", note);
    const Queue::Tables tables = queue.tables();
    print_result(common,
                 Json{{"command", "train"},
                      {"queue", folder},
                      {"pieces", to_json(tables.pieces)},
                      {"folds", to_json(tables.folds)}},
                 text("\n", tables.markdown, "\ntables: ", folder, "\n"));
    return success;
}

}  // namespace tvmap
