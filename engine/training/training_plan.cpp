#include "engine/training/training_plan.h"

#include <algorithm>

#include "engine/model/unet.h"
#include "engine/training/checkpoint_writer.h"
#include "engine/training/process_memory.h"
#include "engine/training/training_steps.h"
#include "engine/training/validation.h"
#include "kernels/base/threads.h"

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
    validation = std::make_unique<Denoiser>(backend, algorithms, config, config.data.size, config.data.size);
    release_free_memory();  // of the candidates that were timed and not taken
    const std::size_t in_use = memory_in_use(backend);

    arena_bytes = std::max(steps.front()->arena_bytes(), validation->arena_bytes());
    parameter_bytes = Parameters::bytes_for(steps.front()->graph().parameters(), true, parts);
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
        const bool plain = config.solver.observation.data == DataTerm::identity &&
                           config.train.supervision == Supervision::clean;
        resident =
            recorded && plain && !config.data.own_sizes && placed < free && both <= (free - placed) / 2;
        memory["training_set"].predicted = resident ? set : 0;
        memory["schedule"].predicted = recorded ? ResidentSteps::schedule_bytes(config, images.train) : 0;
        memory.copy = CheckpointWriter::copy_bytes(backend, steps.front()->graph().parameters());
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

}  // namespace tvmap
