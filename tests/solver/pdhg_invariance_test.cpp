// The total-variation solver against itself: other threads, batches, instruction sets, states, boundaries.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <string>

#include "kernels/base/error.h"
#include "kernels/solver/pdhg.h"
#include "tests/solver/pdhg_case.h"
#include "tests/support/run_on.h"

using namespace pdhg_case;

TEST_CASE("no iterations") {
    const PdhgProblem s = problem_of(3, 5, MapKind::shared, 2);
    const Data data = make_data(s, 4);
    const Result result = solve(s, 0, data);
    CHECK(same_bits(result.x, data.z));
    CHECK(same_bits(result.d_z, data.d_x));
    for (const float v : result.d_lambda) CHECK(v == 0.0f);
}

TEST_CASE("the same bits for any threads, batch grouping and instruction set") {
    struct Shape {
        int height, width, solves;
    };
    for (const Shape shape :
         {Shape{64, 48, 1}, {41, 33, 1}, {37, 20, 3}, {19, 70, 7}, {3, 5, 1}, {1, 9, 2}}) {
        for (const MapKind map : {MapKind::scalar, MapKind::shared, MapKind::separate}) {
            CAPTURE(shape.height);
            CAPTURE(shape.solves);
            CAPTURE(int(map));
            PdhgProblem s = problem_of(shape.height, shape.width, map, shape.solves);
            s.boundary = shape.solves == 3 ? Boundary::neumann : Boundary::periodic;
            const Data data = make_data(s, 11);
            const int iterations = 29;
            const Result alone = [&] {
                const RunOn on(1);
                return solve(s, iterations, data);
            }();
            const auto check_same = [&](const Result& other) {
                CHECK(other.intact);
                CHECK(same_bits(alone.x, other.x));
                CHECK(same_bits(alone.masks, other.masks));
                CHECK(same_bits(alone.d_lambda, other.d_lambda));
                CHECK(same_bits(alone.d_z, other.d_z));
            };
            for (const int threads : {2, 3, 4, 5, 9}) {
                CAPTURE(threads);
                const RunOn on(threads);
                check_same(solve(s, iterations, data));
            }
            for (const std::string& instruction_set : cpu::instruction_sets()) {
                CAPTURE(instruction_set);
                const RunOn on(2, instruction_set);
                check_same(solve(s, iterations, data));
            }
            for (int n = 0; n < s.solves; ++n) {  // each solve by itself
                PdhgProblem one = s;
                one.solves = 1;
                const auto z = data.z.begin() + n * s.pixels();
                const auto lambda = data.lambda.begin() + n * s.map_size();
                const Floats x =
                    denoise(one, iterations, {z, z + s.pixels()}, {lambda, lambda + s.map_size()});
                CHECK(std::memcmp(x.data(), alone.x.data() + n * s.pixels(), x.size() * sizeof(float)) == 0);
            }
        }
    }
}

TEST_CASE("many maps for one image") {
    PdhgProblem s = problem_of(12, 21, MapKind::scalar, 7);
    s.solves_per_image = 3;  // images 0, 1, 2; the last has one solve
    const Data data = make_data(s, 21);
    CHECK(data.z.size() == std::size_t(3 * s.pixels()));
    const Floats x = denoise(s, 30, data.z, data.lambda);
    PdhgProblem one = problem_of(12, 21, MapKind::scalar);
    for (int n = 0; n < s.solves; ++n) {
        const auto z = data.z.begin() + n / 3 * s.pixels();
        const Floats alone = denoise(one, 30, {z, z + s.pixels()}, {data.lambda[std::size_t(n)]});
        CHECK(std::memcmp(alone.data(), x.data() + n * s.pixels(), alone.size() * sizeof(float)) == 0);
    }
}

TEST_CASE("masks are optional, d_lambda and d_z too, and gradients accumulate") {
    const PdhgProblem s = problem_of(13, 18, MapKind::separate, 2);
    const Data data = make_data(s, 31);
    const Result full = solve(s, 20, data);
    CHECK(same_bits(denoise(s, 20, data.z, data.lambda), full.x));
    Guarded workspace(cpu::pdhg_workspace_bytes(s));
    Floats d_lambda(full.d_lambda.size(), 2.0f), d_z(full.d_z.size(), 3.0f);
    cpu::pdhg_adjoint(s, 20, {.masks = full.masks.data(), .d_x = data.d_x.data()},
                      {.d_lambda = d_lambda.data(), .write = Write::accumulate}, workspace);
    cpu::pdhg_adjoint(s, 20, {.masks = full.masks.data(), .d_x = data.d_x.data()},
                      {.d_z = d_z.data(), .write = Write::accumulate}, workspace);
    for (std::size_t i = 0; i < d_lambda.size(); ++i) CHECK(d_lambda[i] == 2.0f + full.d_lambda[i]);
    for (std::size_t i = 0; i < d_z.size(); ++i) CHECK(d_z[i] == 3.0f + full.d_z[i]);
    CHECK(workspace.intact());
}

TEST_CASE("of the masks' memory no byte more is touched than they have") {
    // Where the masks end, memory ends: a single byte more is a crash.
    const std::size_t page = std::size_t(sysconf(_SC_PAGESIZE));
    for (const int width : {16, 64, 7}) {
        const PdhgProblem s = problem_of(8, width, MapKind::separate, 2);
        const std::size_t bytes = cpu::pdhg_mask_bytes(s, 3), mapped = (bytes + page - 1) / page * page;
        auto* memory = static_cast<std::uint8_t*>(
            mmap(nullptr, mapped + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        REQUIRE(memory != MAP_FAILED);
        REQUIRE(mprotect(memory + mapped, page, PROT_NONE) == 0);
        std::uint8_t* masks = memory + mapped - bytes;
        const Data data = make_data(s, 5);
        const Result expected = solve(s, 3, data);
        for (const std::string& set : cpu::instruction_sets()) {
            const RunOn on(1, set);
            Guarded workspace(cpu::pdhg_workspace_bytes(s));
            Floats x(expected.x.size()), d_lambda(expected.d_lambda.size());
            cpu::pdhg_forward(s, 3, {data.z.data(), data.lambda.data()}, {.x = x.data(), .masks = masks},
                              workspace);
            cpu::pdhg_adjoint(s, 3, {.masks = masks, .d_x = data.d_x.data()}, {.d_lambda = d_lambda.data()},
                              workspace);
            CHECK(same_bits(x, expected.x));
            CHECK(same_bits(d_lambda, expected.d_lambda));
        }
        munmap(memory, mapped + page);
    }
}

TEST_CASE("Neumann is periodic with the map zero across the border, bit for bit") {
    PdhgProblem s = problem_of(23, 35, MapKind::separate, 1);
    Data data = make_data(s, 41);
    s.boundary = Boundary::neumann;
    const Result neumann = solve(s, 60, data);
    for (int j = 0; j < s.width; ++j) data.lambda[std::size_t((s.height - 1) * s.width + j)] = 0;
    for (int i = 0; i < s.height; ++i) data.lambda[std::size_t(s.pixels() + i * s.width + s.width - 1)] = 0;
    s.boundary = Boundary::periodic;
    const Result periodic = solve(s, 60, data);
    CHECK(same_bits(neumann.x, periodic.x));
    CHECK(same_bits(neumann.d_z, periodic.d_z));
    for (std::size_t i = 0; i < data.lambda.size(); ++i) {
        CHECK(neumann.d_lambda[i] == (data.lambda[i] == 0 ? 0 : periodic.d_lambda[i]));
    }
}

TEST_CASE("a state in the middle changes nothing") {
    for (const Boundary boundary : {Boundary::periodic, Boundary::neumann}) {
        PdhgProblem s = problem_of(21, 30, MapKind::shared, 3);
        s.boundary = boundary;
        const Data data = make_data(s, 51);
        const std::size_t pixels = std::size_t(s.solves * s.pixels());
        Floats x(pixels, NAN), x_bar(pixels, NAN), p(pixels, NAN), q(2 * pixels, NAN);
        const PdhgState state{x.data(), x_bar.data(), p.data(), q.data()};
        const Floats straight = denoise(s, 256, data.z, data.lambda, &state, false);
        CHECK(same_bits(x, straight));
        const Floats end_bar = x_bar, end_p = p, end_q = q;
        const Floats middle = denoise(s, 100, data.z, data.lambda, &state, false);
        CHECK(!same_bits(middle, straight));
        CHECK(same_bits(denoise(s, 156, data.z, data.lambda, &state, true), straight));
        CHECK(same_bits(x_bar, end_bar));
        CHECK(same_bits(p, end_p));
        CHECK(same_bits(q, end_q));
    }
}

TEST_CASE("impossible problems are refused") {
    PdhgProblem s = problem_of(4, 4);
    const Data data = make_data(s, 81);
    s.tau = 0.5f;  // τσL² = 1.5
    CHECK_THROWS_AS(denoise(s, 1, data.z, data.lambda), Error);
    s = problem_of(4, 4);
    s.sigma = NAN;
    CHECK_THROWS_AS(denoise(s, 1, data.z, data.lambda), Error);
    s = problem_of(4, 4);
    CHECK_THROWS_AS(denoise(s, -1, data.z, data.lambda), Error);
    CHECK_THROWS_AS(denoise(s, 1, data.z, data.lambda, nullptr, true), Error);
}
