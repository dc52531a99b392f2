// A problem of the solver on the GPU, run by a mapping and compared with the CPU bit for bit.
#pragma once
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/solver/pdhg.h"
#include "tests/solver/cuda_pdhg_mappings.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/device_buffer.h"

namespace pdhg_case {

using Bytes = std::vector<std::uint8_t>;
using Signs = std::vector<std::int8_t>;

/// All decisions, vertical then horizontal, step by step. The bits beyond the last column are arbitrary.
inline Signs decisions(const PdhgProblem& s, int iterations, const Bytes& masks) {
    const std::size_t pixels = std::size_t(s.pixels());
    Signs all(std::size_t(s.solves) * std::size_t(iterations) * 2 * pixels);
    std::int8_t* at = all.data();
    for (int n = 0; n < s.solves; ++n) {
        for (int k = 0; k < iterations; ++k, at += 2 * pixels) {
            cpu::pdhg_unpack_mask(s, iterations, masks.data(), n, k, at, at + pixels);
        }
    }
    return all;
}

inline std::size_t results(const PdhgProblem& s) { return std::size_t(s.solves * s.pixels()); }
inline std::size_t maps(const PdhgProblem& s) { return std::size_t(s.solves * s.map_size()); }

struct State {
    DeviceBuffer<float> x, x_bar, p, q;
    explicit State(std::size_t pixels)
        : x(std::int64_t(pixels)),
          x_bar(std::int64_t(pixels)),
          p(std::int64_t(pixels)),
          q(std::int64_t(2 * pixels)) {}
    PdhgState pointers() const { return {x.data(), x_bar.data(), p.data(), q.data()}; }
    bool intact() const { return x.intact() && x_bar.intact() && p.intact() && q.intact(); }
};

/// x_T; masks too where they are given.
inline Floats forward(const PdhgProblem& s, int iterations, const Data& data, const PdhgMapping* mapping,
                      Bytes* masks = nullptr, const State* state = nullptr, bool start_from_state = false) {
    const DeviceBuffer<float> z(data.z), lambda(data.lambda), x{std::int64_t(results(s))};
    const DeviceBuffer<std::uint8_t> bits{std::int64_t(cuda::pdhg_mask_bytes(s, iterations))};
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, mapping))};
    const PdhgState iterates = state != nullptr ? state->pointers() : PdhgState{};
    cuda::pdhg_forward(test_stream(), s, iterations, {z.data(), lambda.data()},
                       {.x = x.data(),
                        .masks = masks != nullptr ? bits.data() : nullptr,
                        .state = state != nullptr ? &iterates : nullptr,
                        .start_from_state = start_from_state},
                       {workspace.data(), workspace.size()}, mapping);
    const Floats result = x.download();
    if (masks != nullptr) *masks = bits.download();
    CHECK(x.intact());
    CHECK(bits.intact());
    CHECK(workspace.intact());
    CHECK((state == nullptr || state->intact()));
    CHECK(same_bits(z.download(), data.z));
    return result;
}

struct Gradient {
    Floats d_lambda, d_z;
};
/// Into buffers that hold `before`; null where not wanted.
inline Gradient adjoint(const PdhgProblem& s, int iterations, const Bytes& masks, const Floats& d_x,
                        const PdhgMapping* mapping, Write write = Write::overwrite, float before = NAN,
                        bool wants_lambda = true, bool wants_z = true) {
    const DeviceBuffer<std::uint8_t> bits(masks);
    const DeviceBuffer<float> from(d_x), d_lambda(Floats(maps(s), before)), d_z(Floats(results(s), before));
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, mapping))};
    cuda::pdhg_adjoint(test_stream(), s, iterations, {.masks = bits.data(), .d_x = from.data()},
                       {.d_lambda = wants_lambda ? d_lambda.data() : nullptr,
                        .d_z = wants_z ? d_z.data() : nullptr,
                        .write = write},
                       {workspace.data(), workspace.size()}, mapping);
    const Gradient result{d_lambda.download(), d_z.download()};
    CHECK(d_lambda.intact());
    CHECK(d_z.intact());
    CHECK(workspace.intact());
    CHECK(bits.download() == masks);
    return result;
}

/// Forward and adjoint, bit for bit those of the CPU.
inline void compare_with_cpu(const PdhgProblem& s, int iterations, const PdhgMapping* mapping,
                             const Data& data, const Result& expected) {
    CAPTURE(s.height);
    CAPTURE(s.width);
    CAPTURE(s.solves);
    CAPTURE(int(s.map));
    CAPTURE(int(s.boundary));
    CAPTURE(mapping != nullptr ? name_of(*mapping) : "chosen");
    Bytes masks;
    const Floats x = forward(s, iterations, data, mapping, &masks);
    CHECK(compared_bits(x, expected.x));
    if (iterations > 0) {
        CHECK(compared_bits(decisions(s, iterations, masks), decisions(s, iterations, expected.masks)));
    }
    const Gradient d = adjoint(s, iterations, masks, data.d_x, mapping);
    CHECK(compared_bits(d.d_lambda, expected.d_lambda));
    CHECK(compared_bits(d.d_z, expected.d_z));
}
inline void compare_with_cpu(const PdhgProblem& s, int iterations, const std::vector<PdhgMapping>& mappings) {
    const Data data = make_data(s, unsigned(s.height * 100 + s.width));
    const Result expected = solve(s, iterations, data);
    for (const PdhgMapping& mapping : available(mappings)) {
        compare_with_cpu(s, iterations, &mapping, data, expected);
    }
}

}  // namespace pdhg_case
