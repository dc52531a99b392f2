// Passes of a convolution on cuDNN's backend: a graph of operations is described, heuristics propose engines
// with the settings of their knobs for it, and an execution plan is made of one. An algorithm is written as
// its engine and knobs, "e34k2:10k27:1": the numbers mean the same for every process with this version of
// cuDNN.
#include <cudnn.h>

#include <charconv>
#include <chrono>
#include <map>
#include <optional>
#include <system_error>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution_passes.h"
#include "kernels/cuda/cudnn_graph.h"
#include "kernels/cuda/vendor_libraries.h"
#include "kernels/gpu/gpu_runtime.h"

namespace tvmap::cuda {
namespace {

using Descriptor = CudnnDescriptor;

constexpr std::size_t most_candidates = 16;
// Engines that are compiled at run time take their time: enough of them is enough.
constexpr double patience = 2.0;  // seconds
constexpr std::size_t least_candidates = 3;

std::vector<cudnnBackendNumericalNote_t> notes_of(const Descriptor& engine) {
    return engine.get_all<cudnnBackendNumericalNote_t>(
        CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
}

std::string words_of(const std::vector<cudnnBackendNumericalNote_t>& notes) {
    static const std::map<cudnnBackendNumericalNote_t, const char*> words{
        {CUDNN_NUMERICAL_NOTE_TENSOR_CORE, "tensor cores"},
        {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, "inputs converted"},
        {CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION, "sums reduced"},
        {CUDNN_NUMERICAL_NOTE_FFT, "FFT"},
        {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC, "not deterministic"},
        {CUDNN_NUMERICAL_NOTE_WINOGRAD, "Winograd"},
        {CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4, "Winograd 4x4"},
        {CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6, "Winograd 6x6"},
        {CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13, "Winograd 13x13"},
        {CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP, "NaN kept"}};
    std::string line;
    for (const cudnnBackendNumericalNote_t note : notes) {
        const auto found = words.find(note);
        line +=
            text(line.empty() ? "" : ", ", found != words.end() ? found->second : text("note ", int(note)));
    }
    return line;
}

// Whether an engine may keep to what was promised: the same bits each time, and no less precision than asked
// for. In TF32 operands are converted by definition; how far an engine is off is measured before it is taken
// (kernels/convolution/convolution_choice.cu). Winograd's small tiles are welcome in every precision, the largest would
// cost two digits.
bool keeps_promises(const Descriptor& engine, Precision precision) {
    for (const cudnnBackendNumericalNote_t note : notes_of(engine)) switch (note) {
            case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC:
            case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION:
            case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13:
                return false;
            case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS:
            case CUDNN_NUMERICAL_NOTE_TENSOR_CORE:
                if (precision == Precision::fp32) return false;
                break;
            default:
                break;
        }
    return true;
}

// "e34k2:10k27:1"
std::string algorithm_name(const Descriptor& configuration, const Descriptor& engine) {
    std::string name = text("e", engine.get<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64));
    for (const Descriptor& choice : configuration.get_descriptors(
             CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS))
        name += text(
            "k",
            int(choice.get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE)),
            ":", choice.get<std::int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64));
    return name;
}

class CudnnPass final : public Pass {
  public:
    CudnnPass(const PassProblem& problem, std::string algorithm, std::string notes, Descriptor plan)
        : problem_(problem),
          algorithm_(std::move(algorithm)),
          notes_(std::move(notes)),
          plan_(std::move(plan)),
          workspace_bytes_(std::size_t(
              plan_.get<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64))) {}

    std::string algorithm() const override { return algorithm_; }
    std::string notes() const override { return notes_; }
    std::size_t workspace_bytes() const override { return workspace_bytes_; }

    void run(gpu::Stream stream, const void* first, const void* second, const float* bias, void* result,
             void* workspace) override {
        const auto in = [](const void* p) {
            return const_cast<void*>(p);
        };  // cuDNN's interface knows no const
        std::vector<std::int64_t> tensors;
        switch (problem_.direction) {
            case Direction::forward:
                tensors = {x_tensor, weight_tensor, y_tensor};
                break;
            case Direction::data:
                tensors = {y_tensor, weight_tensor, x_tensor};
                break;
            case Direction::weights:
                tensors = {x_tensor, y_tensor, weight_tensor};
                break;
        }
        std::vector<void*> pointers{in(first), in(second), result};
        if (problem_.activates) {
            tensors.push_back(bias_tensor);
            pointers.push_back(in(bias));
        }
        Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
        pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, tensors);
        pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers.data(),
                 std::int64_t(pointers.size()));
        pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
        pack.finalize("pack of pointers");

        const std::lock_guard lock(handles_mutex());
        check(cudnn().set_stream(cudnn_handle(), static_cast<cudaStream_t>(stream.handle)), "stream");
        const cudnnStatus_t status = cudnn().execute(cudnn_handle(), plan_.get(), pack.get());
        if (status != CUDNN_STATUS_SUCCESS)
            fail("convolution (", problem_.key(), "), algorithm ", algorithm_, " on ", gpu::device().name,
                 ": cuDNN: ", message(status));
    }

  private:
    PassProblem problem_;
    std::string algorithm_, notes_;
    Descriptor plan_;
    std::size_t workspace_bytes_;
};

// Plans of this process, by device, problem and algorithm; they live as long as it does.
std::map<std::string, std::shared_ptr<Pass>>& plans() {
    static auto* const map = new std::map<std::string, std::shared_ptr<Pass>>;
    return *map;
}
std::mutex plans_mutex;

// Null, and *obstacle, where cuDNN does not support the configuration after all or it wants too much memory.
std::shared_ptr<Pass> plan(const PassProblem& problem, const Descriptor& configuration,
                           const Descriptor& engine, const std::string& algorithm, std::string* obstacle) {
    const std::string device = described_device() ? "" : gpu::device().name;
    const std::string key = text(device, " ", problem.key(), " ", algorithm);
    const std::lock_guard lock(plans_mutex);
    if (const auto known = plans().find(key); known != plans().end()) return known->second;
    Descriptor made(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (described_device())
        made.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *described_device());
    else
        made.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, cudnn_handle());
    made.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
    if (const cudnnStatus_t status = made.try_finalize(); status != CUDNN_STATUS_SUCCESS) {
        *obstacle = text(algorithm, ": ", message(status));
        return nullptr;
    }
    auto pass = std::make_shared<CudnnPass>(problem, algorithm, words_of(notes_of(engine)), std::move(made));
    if (pass->workspace_bytes() > problem.most_workspace) {
        *obstacle = text(algorithm, " wants ", pass->workspace_bytes(), " bytes of workspace, at most ",
                         problem.most_workspace, " are given");
        return nullptr;
    }
    return plans()[key] = pass;
}

// The configurations that a mode of the heuristics proposes; none where it knows nothing.
std::vector<Descriptor> proposals(const Descriptor& graph, cudnnBackendHeurMode_t mode,
                                  std::string* obstacle) {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    if (described_device()) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *described_device());
    if (const cudnnStatus_t status = heuristics.try_finalize(); status != CUDNN_STATUS_SUCCESS) {
        *obstacle = message(status);
        return {};
    }
    return heuristics.get_descriptors(
        CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR,
        heuristics.count(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR));
}

Descriptor engine_of(const Descriptor& configuration) {
    auto engines =
        configuration.get_descriptors(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
    if (engines.empty()) fail("cuDNN: a configuration without an engine");
    return std::move(engines.front());
}

// The number that follows text[*at], the letter or colon in front of it; *at moves behind it.
bool read_number(const std::string& name, std::size_t* at, char mark, std::int64_t* number) {
    if (*at >= name.size() || name[*at] != mark) return false;
    const char* const begin = name.data() + *at + 1;
    const auto [end, error] = std::from_chars(begin, name.data() + name.size(), *number);
    *at += 1 + std::size_t(end - begin);
    return error == std::errc();
}

}  // namespace

std::vector<std::shared_ptr<Pass>> available_passes(const PassProblem& problem, std::string* obstacle) {
    using Clock = std::chrono::steady_clock;
    const auto start = Clock::now();
    std::vector<std::shared_ptr<Pass>> passes;
    const auto seen = [&](const std::string& algorithm) {
        for (const auto& pass : passes)
            if (pass->algorithm() == algorithm) return true;
        return false;
    };
    const auto enough = [&] {
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        return passes.size() >= most_candidates || (passes.size() >= least_candidates && seconds > patience);
    };
    *obstacle = "cuDNN offers nothing that is deterministic in this precision";
    std::optional<Descriptor> graph;
    try {
        graph = operation_graph(problem);
    } catch (const Error& error) {
        *obstacle = error.what();
        return passes;
    }
    for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
        for (const Descriptor& configuration : proposals(*graph, mode, obstacle)) {
            if (enough()) return passes;
            const Descriptor engine = engine_of(configuration);
            if (!keeps_promises(engine, problem.precision)) continue;
            const std::string algorithm = algorithm_name(configuration, engine);
            if (seen(algorithm)) continue;
            if (auto pass = plan(problem, configuration, engine, algorithm, obstacle)) passes.push_back(pass);
        }
    return passes;
}

std::shared_ptr<Pass> planned_pass(const PassProblem& problem, const std::string& algorithm,
                                   std::string* obstacle) {
    std::size_t at = 0;
    std::int64_t index = 0;
    if (!read_number(algorithm, &at, 'e', &index)) {
        *obstacle = text("\"", algorithm, "\" names no engine of cuDNN");
        return nullptr;
    }
    try {
        const Descriptor graph = operation_graph(problem);
        Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
        engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
        engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, index);
        if (described_device()) engine.set(CUDNN_ATTR_ENGINE_DEVICEPROP, *described_device());
        engine.finalize("engine");
        if (!keeps_promises(engine, problem.precision)) {
            *obstacle = text(algorithm, " is not deterministic in this precision");
            return nullptr;
        }
        std::vector<Descriptor> choices;
        std::vector<cudnnBackendDescriptor_t> handles;
        while (at < algorithm.size()) {
            std::int64_t knob = 0, value = 0;
            if (!read_number(algorithm, &at, 'k', &knob) || !read_number(algorithm, &at, ':', &value)) {
                *obstacle = text("\"", algorithm, "\" is no engine with knobs of cuDNN");
                return nullptr;
            }
            Descriptor& choice = choices.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
            choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, cudnnBackendKnobType_t(knob));
            choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
            choice.finalize("knob");
            handles.push_back(choice.get());
        }
        Descriptor configuration(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
        configuration.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
        if (!handles.empty())
            configuration.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                              handles.data(), std::int64_t(handles.size()));
        configuration.finalize("configuration of an engine");
        return plan(problem, configuration, engine, algorithm, obstacle);
    } catch (const Error& error) {
        *obstacle = error.what();
        return nullptr;
    }
}

}  // namespace tvmap::cuda
