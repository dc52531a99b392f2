// From a recorded graph to something that can be replayed for ever: the backward pass is derived, the
// lifetime of every tensor is known, all of them are placed in one arena, and forward() and backward() run
// without allocating anything.
#pragma once
#include <string>
#include <vector>

#include "engine/graph/algorithms.h"
#include "engine/graph/graph.h"
#include "engine/graph/parameters.h"

namespace tvmap {

/// Memory that plans place their tensors in. Several plans can take turns in one arena, in one thread.
class Arena {
  public:
    Arena(Backend& backend, std::size_t bytes)
        : backend_(backend), bytes_(bytes), memory_(backend.allocate(bytes)) {}
    ~Arena() { backend_.release(memory_, bytes_); }
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;
    void* memory() const { return memory_; }
    std::size_t bytes() const { return bytes_; }

  private:
    Backend& backend_;
    std::size_t bytes_;
    void* memory_;
};

/// A graph whose tensors have their places and whose steps can be run. For one thread at a time.
class Plan {
  public:
    /// One piece of the arena. Steps count from 0: the forward pass of operation i is step i, its backward
    /// pass step 2F−1−i, F the number of operations.
    struct Block {
        std::string name, purpose;  ///< purpose: input, value, gradient, saved, workspace
        Features shape;             ///< of values and gradients
        std::size_t bytes = 0, offset = 0;
        int first = 0, last = 0;  ///< steps from the first write to the last use
    };

    /// Derives and places everything. With `training` the graph's last operation must be a loss.
    Plan(Graph graph, Backend& backend, Algorithms& algorithms, bool training);

    const Graph& graph() const { return graph_; }
    std::size_t arena_bytes() const { return arena_bytes_; }
    const std::vector<Block>& blocks() const { return blocks_; }
    /// The step in which most bytes are alive (the first of them).
    int peak_step() const;

    /// Fixes every pointer. The arena must have arena_bytes() and, like the parameters, outlive the plan's
    /// use. Gradients go to that part of the parameters'.
    void bind(const Arena& arena, const Parameters& parameters, int part = 0);

    /// Replays the passes. backward() follows forward() and leaves the gradients in the parameters.
    void forward();
    void backward();

    /// Where an input, or a value that the graph keeps, lies.
    View view(Value value) const;
    /// The gradient of an input that requires one, after backward(); zero where the loss does not depend on
    /// it.
    View gradient(Value value) const;
    /// The loss after forward(), and where it lies in the backend's memory.
    double loss() const;
    const double* loss_in_memory() const;

    /// A table of every tensor with bytes and lifetime, and the peak.
    std::string table() const;

  private:
    struct Step {
        int operation;
        std::vector<View> clear;  ///< parts of gradients that start from zero here
        std::vector<std::pair<void*, std::size_t>> clear_memory;  ///< those of parameters, in bytes
        Binding binding;
    };
    struct GradientState;

    int last_step() const;
    std::size_t alive(int step) const;  // bytes
    void derive_backward();
    void find_lifetimes();
    void place();
    View tensor_view(int tensor, const std::vector<int>& block_of, std::byte* base) const;

    Graph graph_;
    Backend& backend_;
    bool training_;
    std::size_t arena_bytes_ = 0;
    std::vector<Block> blocks_;
    std::vector<int> value_block_, gradient_block_;                // by root tensor, −1: none
    std::vector<int> saved_block_, forward_work_, backward_work_;  // by operation, −1: none

    struct BackwardStep {
        int operation;
        std::vector<Write> writes;                                // by input
        std::vector<std::pair<int, std::pair<int, int>>> clears;  // root, channels [from, to)
        Write parameter_write = Write::overwrite;
        std::vector<int>
            clear_parameters;  // that nothing was written to, where others of the step add to theirs
    };
    std::vector<BackwardStep> backward_;
    std::vector<int> unused_parameters_, unused_inputs_;  // no path to the loss: their gradient is zero

    std::vector<Step> forward_steps_, backward_steps_;
    std::vector<std::pair<void*, std::size_t>> clear_unused_;
    std::byte* base_ = nullptr;
};

}  // namespace tvmap
