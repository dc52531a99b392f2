// What the tests of the total-variation solver share: image-like data, and solving between sentinels.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/solver/pdhg.h"

namespace pdhg_case {

using namespace tvmap;

using Floats = std::vector<float>;

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// A buffer on a 64-byte boundary with 64 bytes of a known pattern on either side.
class Guarded {
  public:
    explicit Guarded(std::size_t bytes) : bytes_(bytes), memory_(bytes + 192, 0xA5) {}
    void* data() {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
        return memory_.data() + ((address + 127) / 64 * 64 - address);
    }
    operator PdhgWorkspace() { return {data(), bytes_}; }
    bool intact() {
        const auto* begin = static_cast<std::uint8_t*>(data());
        bool good = true;
        for (const auto* b = begin - 64; b < begin; ++b) good = good && *b == 0xA5;
        const auto* end = memory_.data() + memory_.size();
        for (const auto* b = begin + bytes_; b < end; ++b) good = good && *b == 0xA5;
        return good;
    }

  private:
    std::size_t bytes_;
    std::vector<std::uint8_t> memory_;
};

struct Data {
    Floats z, lambda, d_x;
};

// Image-like z in about [0, 1] (a smooth ground, blocks, noise), a map in [0.01, 0.15], any d_x.
inline Data make_data(const PdhgProblem& s, unsigned seed) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> level(0.01f, 0.15f);
    const int images = (s.solves + s.solves_per_image - 1) / s.solves_per_image;
    Data data;
    for (int n = 0; n < images; ++n) {
        for (int i = 0; i < s.height; ++i) {
            for (int j = 0; j < s.width; ++j) {
                const float block = (i / 9 + j / 7 + n) % 2 == 0 ? 0.3f : 0.6f;
                data.z.push_back(block + 0.1f * std::sin(0.2f * float(i + 2 * j)) + 0.05f * normal(engine));
            }
        }
    }
    for (std::int64_t i = 0; i < s.solves * s.map_size(); ++i) data.lambda.push_back(level(engine));
    for (std::int64_t i = 0; i < s.solves * s.pixels(); ++i) data.d_x.push_back(normal(engine));
    return data;
}

struct Result {
    Floats x, d_lambda, d_z;
    std::vector<std::uint8_t> masks;
    bool intact = true;
};

// Forward with masks and adjoint, each output between sentinels.
inline Result solve(const PdhgProblem& s, int iterations, const Data& data) {
    const std::size_t pixels = std::size_t(s.solves) * std::size_t(s.pixels());
    const std::size_t map = std::size_t(s.solves) * std::size_t(s.map_size());
    Guarded x(pixels * 4), d_lambda(map * 4), d_z(pixels * 4), masks(cpu::pdhg_mask_bytes(s, iterations)),
        workspace(cpu::pdhg_workspace_bytes(s));
    auto* bits = static_cast<std::uint8_t*>(masks.data());
    cpu::pdhg_forward(s, iterations, {data.z.data(), data.lambda.data()},
                      {.x = static_cast<float*>(x.data()), .masks = bits}, workspace);
    cpu::pdhg_adjoint(
        s, iterations, {.masks = bits, .d_x = data.d_x.data()},
        {.d_lambda = static_cast<float*>(d_lambda.data()), .d_z = static_cast<float*>(d_z.data())},
        workspace);
    const auto floats = [](Guarded& memory, std::size_t count) {
        const auto* begin = static_cast<const float*>(memory.data());
        return Floats(begin, begin + count);
    };
    Result result{floats(x, pixels), floats(d_lambda, map), floats(d_z, pixels), {}};
    result.masks.assign(bits, bits + cpu::pdhg_mask_bytes(s, iterations));
    result.intact = x.intact() && d_lambda.intact() && d_z.intact() && masks.intact() && workspace.intact();
    return result;
}

// x_T alone, without masks, optionally from and to a state.
inline Floats denoise(const PdhgProblem& s, int iterations, const Floats& z, const Floats& lambda,
                      const PdhgState* state = nullptr, bool start_from_state = false) {
    Floats x(std::size_t(s.solves * s.pixels()), NAN);
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    cpu::pdhg_forward(s, iterations, {z.data(), lambda.data()},
                      {.x = x.data(), .state = state, .start_from_state = start_from_state}, workspace);
    CHECK(workspace.intact());
    return x;
}

inline PdhgProblem problem_of(int height, int width, MapKind map = MapKind::shared, int solves = 1) {
    PdhgProblem s;
    s.height = height;
    s.width = width;
    s.map = map;
    s.solves = solves;
    return s;
}

}  // namespace pdhg_case
