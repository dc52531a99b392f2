#include "engine/training/training_plan.h"

#include <algorithm>

#include "engine/model/unet.h"
#include "engine/optimiser/optimiser.h"
#include "engine/training/checkpoint_writer.h"
#include "engine/training/memory_limit.h"
#include "engine/training/process_memory.h"
#include "engine/training/trainer.h"
#include "engine/training/training_steps.h"
#include "engine/training/validation.h"
#include "kernels/base/error.h"
#include "kernels/threads/threads.h"

namespace tvmap {

std::size_t memory_in_use(const Backend& backend) {
    return backend.memory_in_use().value_or(resident_bytes());
}

namespace {

/// As many parts as there are threads or, of large batches, a few times as many, so that a thread that gets more of the
/// processor's time takes more of them. A part of less than four images would pay for it: what a step does with the
/// weights alone (Winograd's transforms) is done for each part.
int parts_of(int batch) {
    const int threads = thread_count();
    if (threads == 1) return 1;
    for (const int each : {4, 2})
        if (batch % (each * threads) == 0 && batch / (each * threads) >= 4) return each * threads;
    return batch % threads == 0 ? threads : 1;
}

}  // namespace

TrainingPlan::TrainingPlan(Backend& backend, const Config& config, Algorithms& algorithms,
                           ImageCounts images) {
    make(backend, config, algorithms, images, backend.separate_memory() ? 1 : parts_of(config.train.batch));
    if (parts() == 1 || memory.limit == 0 || memory.predicted() <= memory.limit) return;
    // What was generated for the parts stays in the process.
    const std::size_t before = in_use_before, left_behind = memory["primitives"].predicted;
    make(backend, config, algorithms, images, 1);
    in_use_before = before;
    memory["primitives"].predicted += left_behind;
}

void TrainingPlan::make(Backend& backend, const Config& config, Algorithms& algorithms, ImageCounts images,
                        int parts) {
    steps.clear();
    validation = nullptr;
    memory = {};
    release_free_memory();  // or what the process has kept and no longer needs would count as there before
    reset_peak_resident();
    in_use_before = memory_in_use(backend);
    const std::size_t peak_before = peak_resident_bytes();
    algorithms.borrow(config.train.memory_limit > 0);
    algorithms.forget_untimed();
    const int side = Batches::side(config);
    for (int part = 0; part < parts; ++part) {
        const ThreadsForNow threads(parts > 1 ? 1 : thread_count());
        RecordedModel model = record_training_model(backend, config, config.train.batch / parts, side, side);
        noisy = model.noisy;
        target = model.target;
        weights = model.weights;
        steps.push_back(std::make_unique<Plan>(std::move(model.graph), backend, algorithms, true));
    }
    Config validated = config;
    validated.evaluate.orientations = 1;
    validation =
        std::make_unique<Denoiser>(backend, algorithms, validated, config.data.size, config.data.size);
    release_free_memory();  // of the candidates that were timed and not taken
    const std::size_t in_use = memory_in_use(backend);

    arena_bytes = std::max(steps.front()->arena_bytes(), validation->arena_bytes());
    const Kept kept = Optimiser::kept(config);
    parameter_bytes = Parameters::bytes_for(steps.front()->graph().parameters(), true, parts, kept);
    for (const auto& step : steps)
        add_arena(memory, *step, step == steps.front() ? arena_bytes : step->arena_bytes());
    memory["parameters"].predicted = parameter_bytes;
    if (backend.separate_memory()) {
        // Learned steps of the solver are read by the host, which no recording can.
        recorded = config.solver.train_steps == TrainSteps::none;
        const std::size_t placed = arena_bytes + parameter_bytes, free = backend.memory_free();
        const std::size_t set = ResidentSteps::image_bytes(config, images.train);
        const std::size_t both = set + Validation::bytes(config, images.val, true);
        // What solver.operator or train.supervision make of a batch is made on the host.
        const bool plain = config.solver.observation.data() == DataTerm::identity &&
                           config.train.supervision == Supervision::clean;
        resident =
            recorded && plain && !config.data.own_sizes && placed < free && both <= (free - placed) / 2;
        memory["training_set"].predicted = resident ? set : 0;
        memory["schedule"].predicted = recorded ? ResidentSteps::schedule_bytes(config, images.train) : 0;
        memory.copy = CheckpointWriter::copy_bytes(backend, steps.front()->graph().parameters(), kept);
    } else {
        memory["batches"].predicted = sizeof(float) * Batches::floats(config);
    }
    memory["pictures"].predicted = Validation::bytes(config, images.val, resident);
    memory["primitives"].predicted = std::max(in_use, in_use_before) - in_use_before;
    std::size_t timing = algorithms.timing_bytes();
    if (const std::size_t peak = peak_resident_bytes(); !backend.separate_memory() && peak > peak_before)
        timing = std::max(timing, peak - in_use_before);
    const std::size_t planned = memory.predicted();
    memory["timing"].predicted = std::max(timing, planned) - planned;
    memory.limit = config.train.memory_limit;
}

PlanReport Trainer::plan(const Config& config) {
    const std::unique_ptr<Backend> backend = make_backend(config.device, config.network.precision);
    Algorithms algorithms = Algorithms::of_machine();
    const ImageCounts images{config.data.limit.train, config.data.limit.val};
    algorithms.plan_untimed(Algorithms::Untimed::least);
    // The primitives of a single image serve validation too, those of a batch do not: for the search, two
    // images stand for all.
    std::size_t primitives = 0;
    if (config.train.memory_limit > 0 && config.train.batch == 1 && images.train > 1) {
        Config pair = config;
        pair.train.batch = 2;
        primitives = TrainingPlan(*backend, pair, algorithms, images).memory["primitives"].predicted;
    }
    MemoryReport least = TrainingPlan(*backend, config, algorithms, images).memory;
    primitives = std::max(primitives, least["primitives"].predicted);
    least["primitives"].predicted = primitives;
    algorithms.plan_untimed(Algorithms::Untimed::most);
    const TrainingPlan plan(*backend, config, algorithms, images);
    PlanReport report{
        plan.steps.front()->graph().parameter_count(), plan.memory, algorithms.untimed_problems(), 0, "", {}};
    MemoryOwner& left_behind = report.memory["primitives"];
    left_behind.predicted = primitives;
    report.least = std::min(least.predicted(), report.memory.predicted());

    TextStream out;
    if (plan.parts() > 1)
        out << "a batch is taken in " << plan.parts() << " parts of " << config.train.batch / plan.parts()
            << ", each by one thread; the tensors of one of them:\n";
    out << plan.steps.front()->table() << "validation: " << plan.validation->arena_bytes()
        << " bytes in the same arena\nparameters: " << report.parameters << " in "
        << plan.steps.front()->graph().parameters().size() << " tensors\n"
        << report.memory.table() << "predicted peak: " << report.memory.predicted() << " bytes ("
        << double(report.memory.predicted()) / 1e6 << " MB) above what was in use before planning, on "
        << backend->description() << "\n";
    if (report.untimed > 0)
        out << "not yet timed: " << report.untimed
            << " convolutions; until the first training chooses their algorithms, "
            << "the peak is known to lie between " << report.least << " and " << report.memory.predicted()
            << " bytes, and the table shows the most\n";
    if (report.memory.limit > 0) {
        report.largest = largest_batch(*backend, config, algorithms, images, left_behind.predicted);
        out << "memory limit: " << report.memory.limit << " bytes; " << report.largest->describe() << "\n";
    }
    report.table = out.str();
    return report;
}

}  // namespace tvmap
