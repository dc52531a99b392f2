// The weights of a network, shared by the plans that use them, and, for training, their gradients, Adam's moments and,
// where it is asked for, the moving average of the weights.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/files/safetensors.h"
#include "engine/graph/graph.h"
#include "kernels/device_array.h"
#include "kernels/optimiser/adam.h"
#include "kernels/threads/team.h"

namespace tvmap {

/// What a training keeps besides weights, moments and gradients.
struct Kept {
    bool average = false;  ///< a moving average of the weights
    bool sum = false;      ///< of the gradients of several batches
};

/// A model's weights in the backend's memory, with gradients and moments. For one thread at a time.
class Parameters {
  public:
    /// Zero weights for a graph's parameters. `training`: also moments, and gradients, of so many parts of a batch
    /// (more than one where the backend works in the host's memory alone).
    Parameters(Backend& backend, const std::vector<Parameter>& list, bool training, int parts = 1,
               Kept kept = {});
    ~Parameters();
    Parameters(const Parameters&) = delete;
    Parameters& operator=(const Parameters&) = delete;

    /// Every weight and bias, and their average, as its start says; what is random is a pure function of (seed,
    /// parameter, element).
    void initialise(std::uint64_t seed);

    const float* weight(int parameter) const { return weights_ + list_[parameter].offset; }
    float* gradient(int parameter, int part = 0) const {
        return gradients_ + part * padded_ + list_[parameter].offset;
    }
    const std::vector<Parameter>& list() const { return list_; }
    std::int64_t count() const { return count_; }
    /// Memory held, for weights, gradients, both moments and what is kept; and what these parameters would hold.
    std::size_t bytes() const { return bytes_; }
    static std::size_t bytes_for(const std::vector<Parameter>& list, bool training, int parts = 1,
                                 Kept kept = {});
    const Kept& kept() const { return kept_; }

    /// What a training is for: the average of the weights where there is one, else the weights. Lives as long as this.
    const Parameters& result() const { return averaged_ ? *averaged_ : *this; }

    /// The arrays, `count` floats each, in the backend's memory; null where there is none.
    struct Arrays {
        std::int64_t count;
        float *weights, *gradient, *average, *sum;  ///< gradient: of part 0
    };
    Arrays arrays() const { return {count_, weights_, gradients_, average_, sum_}; }

    /// One optimiser step on everything.
    void adam_step(const Adam& adam);
    void adam_step(const Schedule& schedule);
    /// The same from the mean of the parts' gradients, which becomes that of part 0; shared out among the team.
    void adam_step(const Adam& adam, Team& team);
    /// The mean alone.
    void average_parts(Team& team);

    /// The state of a training, weights, both moments and the average, is one piece of memory: its size, where it
    /// lies if the backend works in the host's memory (else null), and a copy of it, in one download.
    std::int64_t state_floats() const;
    static std::size_t state_bytes_for(const std::vector<Parameter>& list, Kept kept = {});
    const float* host_state() const { return backend_.separate_memory() ? nullptr : weights_; }
    void download_state(float* host) const;
    /// What a checkpoint holds of a state on the host: the weights under their names, Adam's moments as
    /// optimiser.m.NAME and optimiser.v.NAME. Where an average is kept, that is what stands under the names, for it is what
    /// is used, and the weights that training goes on from are optimiser.w.NAME.
    std::map<std::string, TensorView> stored(const float* state) const;
    /// Takes them back. A weight may have a trailing dimension of 1 (the reference's five-dimensional ones).
    /// Throws Error naming the first tensor that is missing, left over, of another shape, or has a value that it
    /// cannot have; nothing is changed then. `path` is for messages.
    void load(const SafeTensors& file, bool moments, const std::string& path);

    /// The first array of weights or moments of a training that has a value which is not finite, by its stored name;
    /// "" if there is none.
    std::string not_finite() const;

    /// Copies of all weights or gradients on the host, in the order of the list.
    std::vector<float> host_weights() const { return download(weights_); }
    std::vector<float> host_gradients() const { return download(gradients_); }
    void set_host_weights(const std::vector<float>& values);

  private:
    /// Weights that lie in another's memory.
    Parameters(Backend& backend, const std::vector<Parameter>& list, float* weights);

    template <class Work>
    void share_out(Team& team, const Work& work);
    std::vector<std::string> prefixes() const;
    std::vector<float> download(const float* from) const;
    bool device_is_finite() const;

    Backend& backend_;
    std::vector<Parameter> list_;
    std::int64_t count_ = 0, padded_ = 0;  // padded_: of each of the arrays below
    int parts_ = 1;
    Kept kept_;
    std::size_t bytes_ = 0;             // 0: another's
    DeviceArray<std::uint32_t> found_;  // by find_not_finite, on a device
    // One after the other, the gradients of each part too, each from 64 bytes on; what lies between them is zero.
    float* weights_ = nullptr;
    bool owned_ = true;  // weights_, and what lies behind them
    float* m_ = nullptr;
    float* v_ = nullptr;
    float* average_ = nullptr;
    float* sum_ = nullptr;
    float* gradients_ = nullptr;
    std::unique_ptr<Parameters> averaged_;  // as weights of their own
};

}  // namespace tvmap
