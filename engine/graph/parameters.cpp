#include "engine/graph/parameters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/base/error.h"
#include "kernels/base/shapes.h"
#include "kernels/optimiser/average.h"
#include "kernels/training/random.h"

namespace tvmap {

namespace {

/// So many that each of the arrays starts at 64 bytes.
std::int64_t padded_count(std::int64_t count) { return (count + 15) / 16 * 16; }

std::int64_t count_of(const std::vector<Parameter>& list) {
    std::int64_t count = 0;
    for (const Parameter& p : list) count += p.size;
    return count;
}

}  // namespace

std::size_t Parameters::bytes_for(const std::vector<Parameter>& list, bool training, int parts, Kept kept) {
    const std::size_t arrays = training ? 3 + std::size_t(parts) + kept.average + kept.sum : 1;
    return sizeof(float) * padded_count(count_of(list)) * arrays;
}

std::size_t Parameters::state_bytes_for(const std::vector<Parameter>& list, Kept kept) {
    return sizeof(float) * (kept.average ? 4 : 3) * padded_count(count_of(list));
}

Parameters::Parameters(Backend& backend, const std::vector<Parameter>& list, bool training, int parts,
                       Kept kept)
    : backend_(backend),
      list_(list),
      count_(count_of(list)),
      padded_(padded_count(count_)),
      parts_(parts),
      kept_(training ? kept : Kept{}),
      bytes_(bytes_for(list, training, parts, kept)),
      found_(backend, training && backend.separate_memory() ? 1 : 0),
      weights_(static_cast<float*>(backend.allocate(bytes_))) {
    if (training) {
        m_ = weights_ + padded_;
        v_ = m_ + padded_;
        float* next = v_ + padded_;
        const auto take = [&](bool wanted) { return wanted ? std::exchange(next, next + padded_) : nullptr; };
        average_ = take(kept.average);  // the end of the state
        sum_ = take(kept.sum);
        gradients_ = next;
    }
    if (average_) averaged_.reset(new Parameters(backend, list, average_));
}

Parameters::Parameters(Backend& backend, const std::vector<Parameter>& list, float* weights)
    : backend_(backend),
      list_(list),
      count_(count_of(list)),
      padded_(padded_count(count_)),
      found_(backend, 0),
      weights_(weights),
      owned_(false) {}

Parameters::~Parameters() {
    if (owned_) backend_.release(weights_, bytes_);
}

void Parameters::initialise(std::uint64_t seed) {
    std::vector<float> host(count_);
    for (std::size_t i = 0; i < list_.size(); ++i) {
        const Parameter& p = list_[i];
        const float bound = p.start.gain / std::sqrt(float(p.fan_in));
        for (std::int64_t k = 0; k < p.size; ++k) {
            const float u = uniform(seed, Purpose::initial_weight, 0, std::uint32_t(i), std::uint32_t(k));
            host[p.offset + k] = p.start.value.value_or(bound * (2.0f * u - 1.0f));
        }
    }
    set_host_weights(host);
    if (average_) backend_.copy(average_, weights_, count_);
}

void Parameters::adam_step(const Adam& adam) {
    backend_.adam_step(adam, count_, weights_, gradients_, m_, v_);
}

void Parameters::adam_step(const Schedule& schedule) {
    backend_.adam_step(schedule, count_, weights_, gradients_, m_, v_);
}

/// work(from, count) for pieces of an array, which members take as they get time.
template <class Work>
void Parameters::share_out(Team& team, const Work& work) {
    const int pieces = 4 * team.members();
    const std::int64_t piece = padded_count((padded_ + pieces - 1) / pieces);
    team.run(pieces, [&](int k) {
        const std::int64_t from = std::min(k * piece, count_);
        work(from, std::min(piece, count_ - from));
    });
}

void Parameters::adam_step(const Adam& adam, Team& team) {
    share_out(team, [&](std::int64_t from, std::int64_t count) {
        cpu::average(count, parts_, padded_, gradients_ + from);
        backend_.adam_step(adam, count, weights_ + from, gradients_ + from, m_ + from, v_ + from);
    });
}

void Parameters::average_parts(Team& team) {
    share_out(team, [&](std::int64_t from, std::int64_t count) {
        cpu::average(count, parts_, padded_, gradients_ + from);
    });
}

std::vector<float> Parameters::download(const float* from) const {
    std::vector<float> host(count_);
    backend_.download(host.data(), from, sizeof(float) * count_);
    return host;
}

void Parameters::set_host_weights(const std::vector<float>& values) {
    if (std::int64_t(values.size()) != count_)
        fail("parameters: ", values.size(), " values for ", count_, " weights");
    backend_.upload(weights_, values.data(), sizeof(float) * count_);
}

namespace {

std::vector<float> load_array(const SafeTensors& file, const std::vector<Parameter>& list, std::int64_t count,
                              const std::string& prefix, float least, const std::string& path) {
    std::vector<float> values(count);
    for (const Parameter& p : list) {
        const auto entry = file.tensors.find(prefix + p.name);
        if (entry == file.tensors.end())
            fail(path, ": no tensor '", prefix, p.name,
                 "': this is a checkpoint of another network (see network.channels)");
        std::vector<std::int64_t> shape = entry->second.shape;
        if (shape.size() == 5 && shape.back() == 1) shape.pop_back();
        if (shape != p.shape)
            fail(path, ": '", prefix, p.name, "' is ", shape_text(entry->second.shape),
                 ", the network needs ", shape_text(p.shape),
                 ": this is a checkpoint of another network (see network.channels)");
        for (float value : entry->second.values)
            if (!std::isfinite(value))
                fail(path, ": '", prefix, p.name, "' contains a value that is not finite");
            else if (value < least)
                fail(path, ": '", prefix, p.name, "' contains ", value, ", and can have nothing below ",
                     least);
        std::copy(entry->second.values.begin(), entry->second.values.end(), values.begin() + p.offset);
    }
    return values;
}

}  // namespace

/// What the stored names of each array of a state begin with.
std::vector<std::string> Parameters::prefixes() const {
    if (kept_.average) return {"optimiser.w.", "optimiser.m.", "optimiser.v.", ""};
    return {"", "optimiser.m.", "optimiser.v."};
}

std::int64_t Parameters::state_floats() const {
    return std::int64_t(state_bytes_for(list_, kept_) / sizeof(float));
}

void Parameters::download_state(float* host) const {
    backend_.download(host, weights_, sizeof(float) * state_floats());
}

std::map<std::string, TensorView> Parameters::stored(const float* state) const {
    std::map<std::string, TensorView> tensors;
    for (const std::string& prefix : prefixes()) {
        for (const Parameter& p : list_)
            tensors[prefix + p.name] = {p.shape, state + p.offset, std::size_t(p.size)};
        state += padded_count(count_);
    }
    return tensors;
}

bool Parameters::device_is_finite() const {
    std::uint32_t found = 0;
    backend_.clear(found_.data(), found_.bytes());
    backend_.find_not_finite(weights_, state_floats(), found_.data());
    found_.download(&found, 1);
    return found == 0;
}

std::string Parameters::not_finite() const {
    const float* state = host_state();
    std::vector<float> copy;
    if (!state) {
        if (device_is_finite()) return "";
        copy.resize(state_floats());
        download_state(copy.data());
        state = copy.data();
    }
    for (const std::string& prefix : prefixes()) {
        for (const Parameter& p : list_)
            for (std::int64_t k = 0; k < p.size; ++k)
                if (!std::isfinite(state[p.offset + k])) return prefix + p.name;
        state += padded_count(count_);
    }
    return "";
}

void Parameters::load(const SafeTensors& file, bool moments, const std::string& path) {
    constexpr float lowest = std::numeric_limits<float>::lowest();
    for (const auto& [name, tensor] : file.tensors) {
        bool known = name.rfind("optimiser.", 0) == 0;
        for (const Parameter& p : list_) known = known || p.name == name;
        if (!known)
            fail(path, ": tensor '", name,
                 "' has no place here: this is a checkpoint of another network (see network.channels)");
    }
    const bool both = moments && average_;
    const std::vector<float> weights =
        load_array(file, list_, count_, both ? "optimiser.w." : "", lowest, path);
    const std::vector<float> average =
        both ? load_array(file, list_, count_, "", lowest, path) : std::vector<float>();
    if (moments) {
        const std::vector<float> m = load_array(file, list_, count_, "optimiser.m.", lowest, path);
        const std::vector<float> v = load_array(file, list_, count_, "optimiser.v.", 0, path);
        backend_.upload(m_, m.data(), sizeof(float) * count_);
        backend_.upload(v_, v.data(), sizeof(float) * count_);
    }
    if (both) backend_.upload(average_, average.data(), sizeof(float) * count_);
    set_host_weights(weights);
}

}  // namespace tvmap
