// The total-variation solver on the GPU: every mapping gives the CPU's bits, and the reference's values.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "kernels/pdhg.h"
#include "tests/device_buffer.h"
#include "tests/pdhg_case.h"
#include "tests/reference/pdhg.h"

using namespace pdhg_case;
using cuda::PdhgMapping;
using Kind = PdhgMapping::Kind;

namespace {

using Bytes = std::vector<std::uint8_t>;
using Signs = std::vector<std::int8_t>;

const PdhgMapping global{};
PdhgMapping cluster_of(int blocks) { return {.kind = Kind::cluster, .cluster = blocks}; }
PdhgMapping tiles_of(int rows, int columns, int steps) {
    return {.kind = Kind::tiles, .tile_rows = rows, .tile_columns = columns, .steps = steps};
}
std::string name_of(const PdhgMapping& m) {
    switch (m.kind) {
        case Kind::tiles:
            return text("tiles of ", m.tile_rows, "x", m.tile_columns, ", k = ", m.steps);
        case Kind::cluster:
            return text("clusters of ", m.cluster);
        case Kind::global:
            return "global";
    }
    return {};
}

/// All decisions, vertical then horizontal, step by step. The bits beyond the last column are arbitrary.
Signs decisions(const PdhgProblem& s, int iterations, const Bytes& masks) {
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

std::size_t results(const PdhgProblem& s) { return std::size_t(s.solves * s.pixels()); }
std::size_t maps(const PdhgProblem& s) { return std::size_t(s.solves * s.map_size()); }

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
Floats forward(const PdhgProblem& s, int iterations, const Data& data, const PdhgMapping* mapping,
               Bytes* masks = nullptr, const State* state = nullptr, bool start_from_state = false) {
    const DeviceBuffer<float> z(data.z), lambda(data.lambda), x{std::int64_t(results(s))};
    const DeviceBuffer<std::uint8_t> bits{std::int64_t(cuda::pdhg_mask_bytes(s, iterations))};
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, mapping))};
    const PdhgState iterates = state != nullptr ? state->pointers() : PdhgState{};
    cuda::pdhg_forward(test_stream(), s, iterations, z.data(), lambda.data(), x.data(),
                       masks != nullptr ? bits.data() : nullptr, state != nullptr ? &iterates : nullptr,
                       start_from_state, workspace.data(), mapping);
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
Gradient adjoint(const PdhgProblem& s, int iterations, const Bytes& masks, const Floats& d_x,
                 const PdhgMapping* mapping, Write write = Write::overwrite, float before = NAN,
                 bool wants_lambda = true, bool wants_z = true) {
    const DeviceBuffer<std::uint8_t> bits(masks);
    const DeviceBuffer<float> from(d_x), d_lambda(Floats(maps(s), before)), d_z(Floats(results(s), before));
    const DeviceBuffer<std::uint8_t> workspace{std::int64_t(cuda::pdhg_workspace_bytes(s, mapping))};
    cuda::pdhg_adjoint(test_stream(), s, iterations, bits.data(), from.data(),
                       wants_lambda ? d_lambda.data() : nullptr, wants_z ? d_z.data() : nullptr, write,
                       workspace.data(), mapping);
    const Gradient result{d_lambda.download(), d_z.download()};
    CHECK(d_lambda.intact());
    CHECK(d_z.intact());
    CHECK(workspace.intact());
    CHECK(same_bits(bits.download(), masks));
    return result;
}

/// Forward and adjoint, bit for bit those of the CPU.
void compare_with_cpu(const PdhgProblem& s, int iterations, const PdhgMapping* mapping, const Data& data,
                      const Result& expected) {
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
void compare_with_cpu(const PdhgProblem& s, int iterations, const std::vector<PdhgMapping>& mappings) {
    const Data data = make_data(s, unsigned(s.height * 100 + s.width));
    const Result expected = solve(s, iterations, data);
    for (const PdhgMapping& mapping : mappings) compare_with_cpu(s, iterations, &mapping, data, expected);
}

}  // namespace

TEST_CASE("the CPU's bits from global memory: any size") {
    for (const auto& [height, width] : std::vector<std::pair<int, int>>{{1, 1}, {3, 5}, {17, 23}, {9, 64}}) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                PdhgProblem s = problem_of(height, width, map, 2);
                s.boundary = boundary;
                s.dual_start = boundary == Boundary::periodic ? DualStart::image : DualStart::zero;
                compare_with_cpu(s, 7, {global});
            }
        }
    }
}

TEST_CASE("the CPU's bits from clusters of any size") {
    // Panels of 32 columns full and not, strips of 2 and of 8 rows, full and not, blocks of unequal rows.
    for (const auto& [height, width] :
         std::vector<std::pair<int, int>>{{1, 1}, {3, 5}, {17, 23}, {21, 33}, {66, 32}}) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                PdhgProblem s = problem_of(height, width, map, height < 20 ? 2 : 1);
                s.boundary = boundary;
                s.dual_start = boundary == Boundary::neumann ? DualStart::image : DualStart::zero;
                std::vector<PdhgMapping> mappings;
                for (const int blocks : {1, 2, 8}) {
                    if (blocks <= height && blocks <= gpu::device().largest_cluster) {
                        mappings.push_back(cluster_of(blocks));
                    }
                }
                compare_with_cpu(s, 5, mappings);
            }
        }
    }
}

TEST_CASE("the CPU's bits from tiles of any size and any k") {
    struct Case {
        int height, width;
        PdhgMapping mapping;
    };
    for (const Case& c : {
             Case{32, 48, tiles_of(16, 16, 8)},  // six tiles, every halo whole neighbours
             Case{17, 24, tiles_of(8, 16, 4)},   // the last tiles 1 row and 8 columns: halos beyond the next
             Case{33, 40, tiles_of(11, 16, 1)},
             Case{8, 8, tiles_of(8, 16, 8)},    // one tile, its own neighbour all round
             Case{24, 16, tiles_of(5, 16, 3)},  // the last tile nearly as large as the others
             Case{20, 72, tiles_of(20, 32, 5)}, Case{80, 32, tiles_of(70, 32, 2)},  // strips of 8 rows
         }) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
                PdhgProblem s = problem_of(c.height, c.width, map, c.height == 17 ? 1 : 1);
                s.boundary = boundary;
                s.dual_start = boundary == Boundary::periodic ? DualStart::image : DualStart::zero;
                compare_with_cpu(s, c.mapping.steps * 2 + 1, {c.mapping});
            }
        }
    }
}
