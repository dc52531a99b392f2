// How the error of a convolution's engine is measured, and that it decides which engine is taken.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>

#include "kernels/convolution/convolution.h"
#include "kernels/convolution/convolution_accuracy.h"
#include "kernels/convolution/convolution_choice.h"
#include "tests/reference/convolution.h"
#include "tests/support/device_buffer.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/convolution_stand_in.h"
#endif

using namespace tvmap;
using cuda::Direction;
using cuda::PassProblem;
using cuda::Precision;
using reference::ConvolutionShape;
using reference::Doubles;

namespace {

// 2 images of 6 → 5 channels, 7×9, y in a wider tensor. In bf16 both are dense.
PassProblem problem_of(Direction direction, Precision precision) {
    PassProblem problem;
    problem.direction = direction;
    problem.precision = precision;
    problem.x = dense_features(2, 6, 7, 9, 1);
    problem.y = dense_features(2, 5, 7, 9, 1);
    if (precision != Precision::bf16) problem.y.image_stride += 3 * 7 * 9;
    problem.slope = 0.2f;
    problem.most_workspace = 1 << 20;
    return problem;
}

// A tensor filled with made-up numbers, in the order n, c, i, j; place(…) as PassProblem says.
std::int64_t place(Precision precision, const Features& f, int n, int c, int i, int j) {
    return precision == Precision::bf16 ? ((std::int64_t(n) * f.h + i) * f.w + j) * f.c + c
                                        : n * f.image_stride + (std::int64_t(c) * f.h + i) * f.w + j;
}
Doubles filled(Precision precision, const Features& f, const cuda::MadeUpNumbers& numbers) {
    Doubles values;
    for (int n = 0; n < f.n; ++n)
        for (int c = 0; c < f.c; ++c)
            for (int i = 0; i < f.h; ++i)
                for (int j = 0; j < f.w; ++j) values.push_back(numbers[place(precision, f, n, c, i, j)]);
    return values;
}

}  // namespace

TEST_CASE("made-up numbers lie in memory as they are read, and use their mantissa") {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16}) {
        const cuda::MadeUpNumbers numbers(precision);
        const bool narrow = precision == Precision::bf16;
        const std::size_t count = numbers.bytes() / (narrow ? 2 : 4);
        int round = 0;
        for (std::size_t k = 0; k < count; ++k) {
            float value;
            if (narrow) {
                const std::uint32_t word = std::uint32_t(static_cast<const std::uint16_t*>(numbers.data())[k])
                                           << 16;
                std::memcpy(&value, &word, sizeof value);
            } else {
                value = static_cast<const float*>(numbers.data())[k];
            }
            if (double(value) != numbers[std::int64_t(k)]) FAIL("another number at ", k);
            if (std::fabs(value) > 1) FAIL("too large: ", value);
            round += std::ldexp(value, 10) == std::round(std::ldexp(value, 10));
        }
        if (!narrow) CHECK(round < int(count / 50));  // TF32 would change nearly all of them
    }
}

TEST_CASE("exact entries are those of the convolution's definition") {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
        const cuda::MadeUpNumbers numbers(precision);
        for (const Direction direction : {Direction::forward, Direction::data, Direction::weights})
            for (const bool extra : {false, true}) {
                PassProblem problem = problem_of(direction, precision);
                if (extra && direction == Direction::weights) continue;
                problem.activates = extra && direction == Direction::forward;
                problem.adds = extra && direction == Direction::data;
                const Features &x = problem.x, &y = problem.y;
                const Features weights = dense_features(y.c, x.c, 3, 3, 1);
                const ConvolutionShape shape{x.n, x.c, y.c, x.h, x.w, 3};
                Doubles bias(std::size_t(y.c), 0.0);
                if (problem.activates)
                    for (int o = 0; o < y.c; ++o) bias[std::size_t(o)] = numbers[o];
                const Doubles xs = filled(precision, x, numbers), ys = filled(precision, y, numbers),
                              ws = filled(precision, weights, numbers);
                Doubles expected(direction == Direction::forward ? ys.size()
                                 : direction == Direction::data  ? xs.size()
                                                                 : ws.size());
                const Features* const of = direction == Direction::forward ? &y
                                           : direction == Direction::data  ? &x
                                                                           : &weights;
                if (direction == Direction::forward)
                    expected = reference::convolution_forward(shape, xs, ws, bias, extra ? 0.2f : 1.0f);
                else
                    reference::for_each_product(shape, [&](std::size_t i, std::size_t p, std::size_t o) {
                        if (direction == Direction::data) expected[i] += ws[p] * ys[o];
                        if (direction == Direction::weights) expected[p] += xs[i] * ys[o];
                    });
                if (problem.adds)
                    for (std::size_t k = 0; k < xs.size(); ++k) expected[k] += xs[k];
                // From where an entry lies back to its number in n, c, i, j.
                std::map<std::int64_t, double> at;
                std::size_t k = 0;
                for (int n = 0; n < of->n; ++n)
                    for (int c = 0; c < of->c; ++c)
                        for (int i = 0; i < of->h; ++i)
                            for (int j = 0; j < of->w; ++j)
                                at[place(precision, *of, n, c, i, j)] = expected[k++];
                const cuda::ExactEntries entries = cuda::exact_entries(problem, numbers);
                REQUIRE(entries.places.size() >= 16);
                for (std::size_t e = 0; e < entries.places.size(); ++e) {
                    REQUIRE(at.contains(entries.places[e]));
                    CHECK(entries.values[e] == doctest::Approx(at[entries.places[e]]).epsilon(1e-12));
                }
                CHECK(entries.relative_error(entries.values) == 0);
                Doubles off = entries.values;
                for (double& value : off) value *= 1.001;
                CHECK(entries.relative_error(off) == doctest::Approx(1e-3).epsilon(1e-6));
                off[0] = NAN;
                CHECK(!(entries.relative_error(off) < 1e30));
            }
    }
}

TEST_CASE("a chosen pass knows its error, and writes it down") {
    std::string obstacle;
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
        for (const Direction direction : {Direction::forward, Direction::data, Direction::weights}) {
            PassProblem problem = problem_of(direction, precision);
            problem.x = dense_features(2, 16, 7, 9, 1);  // channels that every engine takes
            problem.y = dense_features(2, 8, 7, 9, 1);
            CAPTURE(problem.key());
            const cuda::ChosenPass chosen = cuda::fastest_pass(test_stream(), problem, &obstacle);
            REQUIRE_MESSAGE(chosen, obstacle);
            CHECK(chosen.error > 0);
            CHECK(chosen.error <= cuda::most_error(precision));
            const std::string written = chosen.to_string();
            CHECK(written.find('~') != std::string::npos);
            const cuda::ChosenPass again = cuda::given_pass(problem, written, &obstacle);
            REQUIRE_MESSAGE(again, obstacle);
            CHECK(again.to_string() == written);
            CHECK(again.activates == chosen.activates);
#ifdef TVMAP_EMULATED
            if (precision == Precision::tf32) CHECK(chosen.error > 1e-5);
            if (precision == Precision::bf16) CHECK(chosen.error > 1e-4);
#endif
        }
}

#ifdef TVMAP_EMULATED
TEST_CASE("an engine that rounds more than its precision is refused, however fast") {
    for (const bool exact : {true, false}) {
        emulation::set_convolution_support({.coarse = true, .exact = exact});
        for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
            for (const Direction direction : {Direction::forward, Direction::data, Direction::weights}) {
                PassProblem problem = problem_of(direction, precision);
                problem.x = dense_features(1, 16, exact ? 5 : 6, 11, 1);  // choices are remembered
                problem.y = dense_features(1, 8, exact ? 5 : 6, 11, 1);
                CAPTURE(problem.key());
                std::string obstacle;
                const cuda::ChosenPass chosen = cuda::fastest_pass(test_stream(), problem, &obstacle);
                if (exact) {
                    REQUIRE_MESSAGE(chosen, obstacle);
                    CHECK(chosen.pass->algorithm() == "loops");
                } else {
                    CHECK(!chosen);
                    CHECK(obstacle.find("coarse") != std::string::npos);
                    CHECK(obstacle.find("off") != std::string::npos);
                }
            }
    }
    emulation::set_convolution_support({});
}
#endif
