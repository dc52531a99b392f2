// Convolutions of tensors of bf16 against the definition in double on the numbers as they are stored: every algorithm of
// this machine, those that round the factors of products on factors rounded alike. Winograd and the first and last
// layer's kernels multiply floats and run on every machine, products of tiles too, where there are none by plain
// loops; oneDNN's algorithms need a processor that multiplies bf16, and without one bf16 is refused.
#include <doctest/doctest.h>

#include <memory>
#include <set>
#include <string>

#include "kernels/amx/tile_convolution.h"
#include "kernels/backend.h"
#include "kernels/base/error.h"
#include "kernels/convolution/convolution.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "tests/convolution/convolution_case.h"
#include "tests/support/refusal.h"
#include "tests/support/run_on.h"

using namespace convolution_case;

namespace {

Doubles rounded(Doubles values) {
    for (double& v : values) v = reference::nearest_bfloat16(v);
    return values;
}
Doubles rounded_if(bool rounds, const Doubles& values) { return rounds ? rounded(values) : values; }

Doubles plus(Doubles a, const Doubles& b) {
    for (std::size_t k = 0; k < a.size(); ++k) a[k] += b[k];
    return a;
}

/// How a direction is computed: the part of "forward=…,weights=…,data=…", or the one word that stands for all.
std::string algorithm_of(const std::string& algorithms, const std::string& direction) {
    const std::size_t key = algorithms.find(direction + "=");
    if (key == std::string::npos) return algorithms;
    const std::size_t from = key + direction.size() + 1;
    return algorithms.substr(from, std::min(algorithms.find(',', from), algorithms.size()) - from);
}
bool multiplies_floats(const std::string& algorithm) {
    return algorithm == "winograd4" || algorithm == "pointwise" || algorithm == "single_input";
}

/// As convolution_case::run, with each number rounded where it is stored, and factors where the algorithm rounds them.
Errors run_in_bf16(const Case& c, Convolution& convolution, Write write) {
    const std::string all = convolution.algorithms();
    const auto narrows = [&](const char* direction) {
        return !multiplies_floats(algorithm_of(all, direction));
    };
    Buffers b(c, convolution);
    const bool narrow_x = b.problem.x.element == Element::bf16,
               narrow_y = b.problem.y.element == Element::bf16;
    const Doubles x = b.x.get(), weight = b.weight.get(), bias = b.bias.get(), d_y = b.d_y.get();
    if (write == Write::accumulate) b.fill(b.d_x, 5), b.fill(b.d_weight, 6), b.fill(b.d_bias, 7);
    const bool adds = write == Write::accumulate;
    const Doubles old_d_x = b.d_x.get(), old_d_weight = b.d_weight.get(), old_d_bias = b.d_bias.get();

    Errors errors;
    b.forward(convolution);
    const Doubles y = b.y.get();
    const Doubles expected_y = reference::convolution_forward(
        b.shape, rounded_if(narrows("forward"), x), rounded_if(narrows("forward"), weight), bias, c.slope);
    errors.y = relative_error(y, rounded_if(narrow_y, expected_y));

    b.backward(convolution, write);
    Doubles d_a = d_y;
    for (std::size_t k = 0; k < d_a.size(); ++k)
        if (y[k] <= 0) d_a[k] *= c.slope;
    const reference::ConvolutionGradients weights = reference::convolution_backward(
        b.shape, rounded_if(narrows("weights"), x), weight, y, rounded_if(narrows("weights"), d_a), 1.0);
    const Doubles d_bias = reference::convolution_backward(b.shape, x, weight, y, d_a, 1.0).d_bias;
    // d_a is stored between the two passes.
    const Doubles d_x = reference::convolution_backward(b.shape, x, rounded_if(narrows("data"), weight), y,
                                                        rounded_if(narrow_y || narrows("data"), d_a), 1.0)
                            .d_x;
    errors.d_weight =
        relative_error(b.d_weight.get(), adds ? plus(weights.d_weight, old_d_weight) : weights.d_weight);
    errors.d_bias = relative_error(b.d_bias.get(), adds ? plus(d_bias, old_d_bias) : d_bias);
    // oneDNN adds what it has rounded.
    const bool rounds_first = narrows("data") && algorithm_of(all, "data") != "amx_tiles";
    const Doubles result = rounded_if(narrow_x && rounds_first, d_x);
    if (c.needs_d_x)
        errors.d_x = relative_error(b.d_x.get(), rounded_if(narrow_x, adds ? plus(result, old_d_x) : result));

    CHECK(b.intact());
    CHECK(b.x.get() == x);
    CHECK(b.y.get() == y);
    CHECK(b.weight.get() == weight);
    CHECK(b.bias.get() == bias);
    return errors;
}

// Sums are off by 1e-6 of the tensor's size, Winograd's by 5e-6 (convolution_case.h). A result that near to the middle
// between two neighbours of bf16, 2^-8 apart, may become the other one: one in 400, which makes √(1/400)·2^-8 of the
// tensor's size. (Factors left unrounded, or rounded where they are not, make 1.6e-3.)
constexpr double stored = 2e-4;

void check_errors(const Case& c, Convolution& convolution) {
    CAPTURE(describe(c));
    CAPTURE(convolution.algorithms());
    for (const Write write : {Write::overwrite, Write::accumulate}) {
        const Errors errors = run_in_bf16(c, convolution, write);
        CHECK(errors.y < stored);
        CHECK(errors.d_x < stored);
        CHECK(errors.d_weight < winograd);
        CHECK(errors.d_bias < direct);
    }
}

Case in_bf16(Case c) {
    c.element = Element::bf16;
    return c;
}

bool has_bf16() { return !cpu::bf16_instructions().empty(); }

}  // namespace

TEST_CASE("bf16 convolution: kernels that multiply floats, on any machine") {
    int compared = 0;
    Case first_layer{2, 1, 48, 18, 23, 3, 0.01f};
    first_layer.needs_d_x = false;
    std::vector<Case> all(std::begin(cases), std::end(cases));
    all.push_back(first_layer);
    for (Case c : all) {
        c = in_bf16(c);
        const ConvolutionProblem problem = problem_of(c);
        if (!problem.in_bf16()) continue;
        for (const char* algorithms :
             {"forward=winograd4,weights=winograd4,data=winograd4", "pointwise", "single_input"}) {
            std::unique_ptr<Convolution> convolution;
            try {
                convolution = cpu::make_convolution(problem, algorithms);
            } catch (const Error&) {
                continue;  // not for this layout
            }
            check_errors(c, *convolution);
            ++compared;
        }
    }
    if (cpu::channel_block(16) > 1) CHECK(compared >= 9);
}

constexpr char by_tiles[] = "forward=amx_tiles,weights=amx_tiles,data=amx_tiles";

// 16 channels fill half a group, 48 one and a half. Rows end within tiles, at their ends and one before; images smaller
// than the 8 pixels that are transposed together; many channels on few pixels, where tasks are groups of outputs; many
// rows, where the sums for weights are in pieces.
constexpr Case tile_cases[] = {
    {1, 16, 16, 9, 7, 3, 0.01f},
    {2, 48, 32, 8, 32, 3, 0.2f, true, true},
    {3, 32, 48, 5, 31, 3, 1.0f, false, true},
    {1, 32, 32, 21, 33, 3, 0.01f, true, false},
    {2, 16, 32, 1, 1, 3, 0.01f},
    {1, 32, 16, 1, 40, 3, 0.01f},
    {1, 32, 32, 19, 1, 3, 0.01f},
    {2, 256, 256, 6, 5, 3, 0.01f},
    {1, 32, 32, 128, 64, 3, 0.01f},
    {2, 48, 32, 7, 9, 1, 0.01f, true, true},
    {1, 32, 80, 5, 40, 1, 1.0f},
    {1, 64, 64, 80, 128, 1, 0.01f},
    // Pieces that begin and end anywhere in an image, the last one shorter; groups half full, slices.
    {3, 16, 48, 37, 65, 3, 0.01f, true, true},
    {3, 48, 80, 37, 65, 1, 0.01f, true, true},
    {3, 144, 272, 5, 7, 3, 0.01f, true, true},  // by outputs
};

ConvolutionProblem tile_problem(Case c) {
    c.element = Element::bf16;
    c.block = 16;
    return problem_of(c);
}

TEST_CASE("bf16 convolution: products of tiles, on any machine") {
    for (const std::string& set : cpu::instruction_sets()) {
        const RunOn on(2, set);
        for (Case c : tile_cases) {
            c = in_bf16(c);
            c.block = 16;
            CAPTURE(set);
            // The division of the work is the same for all sets, and plain loops are slow.
            const bool first = set == cpu::instruction_sets().front();
            if (!first && double(c.n * c.h * c.w) * c.inputs * c.outputs * c.kernel * c.kernel > 1e7)
                continue;
            check_errors(c, *cpu::make_convolution(problem_of(c), by_tiles));
        }
        MESSAGE(set, ": by ", std::string(cpu::amx::has_tiles() ? "the processor" : "plain loops"));
    }
}

TEST_CASE("bf16 convolution: the cases above divide the work in every way") {
    const RunOn on(2);
    int in_pieces = 0, by_outputs = 0, by_rows = 0, short_pieces = 0;
    for (const Case& c : tile_cases) {
        const cpu::TileConvolution tiles(tile_problem(c));
        in_pieces += tiles.pieces() > 1;
        short_pieces += tiles.pieces() > 1 && (c.n * (c.h + 1)) % tiles.pieces() != 0;
        by_outputs += tiles.forward_by_outputs();
        by_rows += !tiles.forward_by_outputs();
    }
    CHECK(in_pieces >= 4);
    CHECK(short_pieces >= 1);
    CHECK(by_outputs >= 2);
    CHECK(by_rows >= 4);
}

TEST_CASE("bf16 convolution: the processor's tiles and plain loops compute the same") {
    const RunOn on(2);
    if (!cpu::amx::has_tiles()) return;  // then there are plain loops alone, compared above
    for (const Case& c : {Case{3, 48, 32, 9, 17, 3, 0.01f, true, true}, Case{2, 32, 48, 12, 9, 1, 1.0f}}) {
        const ConvolutionProblem problem = tile_problem(c);
        Doubles results[2];
        for (const bool plain : {false, true}) {
            const cpu::TileConvolution tiles(problem, plain);
            FeatureBuffer x(problem.x), d_a(problem.y), y(problem.y), d_x(problem.x);
            const int weights = c.inputs * c.outputs * c.kernel * c.kernel;
            FeatureBuffer weight = FeatureBuffer::vector(weights), d_weight = FeatureBuffer::vector(weights),
                          bias = FeatureBuffer::vector(c.outputs);
            Buffers::fill(x, 1), Buffers::fill(d_a, 2), Buffers::fill(weight, 3, 0.1), Buffers::fill(bias, 4);
            FeatureBuffer workspace = FeatureBuffer::vector(
                std::int64_t(std::max({tiles.forward_workspace_bytes(), tiles.weights_workspace_bytes(),
                                       tiles.data_workspace_bytes()}) /
                             sizeof(float)));
            tiles.forward(x.data(), weight.data(), bias.data(), y.data(), workspace.data());
            tiles.weights(x.data(), d_a.view(), d_weight.data(), Write::overwrite, workspace.data());
            tiles.data(d_a.view(), weight.data(), d_x.data(), Write::overwrite, workspace.data());
            for (const FeatureBuffer* part : {&y, &d_weight, &d_x}) {
                CHECK(part->intact());
                const Doubles values = part->get();
                results[plain].insert(results[plain].end(), values.begin(), values.end());
            }
        }
        // The order of the sums alone; now and then a result is rounded to the other neighbour.
        CHECK(relative_error(results[0], results[1]) < stored);
    }
}

TEST_CASE("bf16 convolution: products of tiles, the same bits for any number of threads") {
    for (Case c : {Case{2, 256, 256, 6, 5, 3, 0.01f}, Case{3, 16, 48, 37, 65, 3, 0.01f}}) {
        c = in_bf16(c);
        c.block = 16;
        Doubles first;
        for (const int threads : {1, 2, 5}) {
            const RunOn on(threads);
            const Doubles results = results_of(c, *cpu::make_convolution(problem_of(c), by_tiles));
            if (first.empty()) first = results;
            CHECK(results == first);
        }
    }
}

TEST_CASE("bf16 convolution: those chosen, and every algorithm of this machine") {
    if (!has_bf16()) {
        const std::string needs =
            "network.precision: bf16 on the CPU needs avx512_bf16 or amx_bf16; this machine has";
        CHECK(refusal([] { make_backend("cpu", "bf16"); }).find(needs) == 0);
        CHECK(refusal([] { cpu::require_bf16(); }).find(needs) == 0);
        return;
    }
    CHECK(make_backend("cpu", "bf16")->feature_element() == Element::bf16);
    std::set<std::string> seen;
    for (Case c : cases) {
        c = in_bf16(c);
        const ConvolutionProblem problem = problem_of(c);
        if (!problem.in_bf16()) continue;
        const auto convolution = cpu::make_convolution(problem, "");
        check_errors(c, *convolution);
        const std::string chosen = convolution->algorithms();
        for (const char* implementation :
             {"winograd4", "amx_tiles", "jit_bf16:avx512_core_bf16", "jit_bf16_1x1:avx512_core_bf16",
              "brgconv:avx512_core_bf16", "brgconv_1x1:avx512_core_bf16", "jit:avx512_core_amx_bf16",
              "brgconv:avx512_core_amx_bf16", "brgconv_1x1:avx512_core_amx_bf16"})
            for (const char* way : {"", "+images", "+staged", "+images+staged"})
                for (const char* direction : {"forward", "weights", "data"}) {
                    const std::string key = std::string(direction) + "=";
                    std::string algorithms = chosen;
                    if (algorithms.find(key) == std::string::npos) continue;
                    const std::size_t from = algorithms.find(key) + key.size();
                    algorithms.replace(from, algorithm_of(chosen, direction).size(),
                                       std::string(implementation) + way);
                    std::unique_ptr<Convolution> other;
                    try {
                        other = cpu::make_convolution(problem, algorithms);
                    } catch (const Error&) {
                        continue;  // not on this machine, or not for this layout
                    }
                    check_errors(c, *other);
                    seen.insert(key + implementation);
                }
    }
    std::string all;
    for (const std::string& name : seen) all += " " + name;
    MESSAGE("compared:" << all);
    for (const char* direction : {"forward", "weights", "data"})
        for (const char* implementation :
             {"=winograd4", "=jit_bf16:avx512_core_bf16", "=jit_bf16_1x1:avx512_core_bf16"})
            CHECK(seen.contains(std::string(direction) + implementation));
}

TEST_CASE("bf16 convolution: the same bits again, and by Winograd for any number of threads") {
    const Case c = in_bf16({2, 32, 48, 21, 18, 3, 0.01f, false, true});
    const ConvolutionProblem problem = problem_of(c);
    if (!problem.in_bf16()) {
        CHECK(cpu::channel_block(16) == 1);
        return;
    }
    Doubles first;
    for (const int threads : {1, 2, 3}) {
        const RunOn on(threads);
        const auto convolution =
            cpu::make_convolution(problem, "forward=winograd4,weights=winograd4,data=winograd4");
        const Doubles results = results_of(c, *convolution);
        if (first.empty()) first = results;
        CHECK(results == first);
    }
    if (!has_bf16()) return;
    const auto chosen = cpu::make_convolution(problem, "");
    const auto again = cpu::make_convolution(problem, chosen->algorithms());
    CHECK(results_of(c, *chosen) == results_of(c, *again));
}

TEST_CASE("bf16 convolution: its key, its memory, and what is refused") {
    const Case wide{2, 32, 32, 16, 16, 3, 0.01f}, narrow = in_bf16(wide);
    if (cpu::channel_block(32) > 1) {
        CHECK(problem_of(wide).key() != problem_of(narrow).key());
        CHECK_THROWS_AS(cpu::make_convolution(problem_of(narrow), "forward=jit:avx512_core"), Error);
    }
    if (has_bf16())
        for (const char* extreme : {least_memory, most_memory})
            CHECK(cpu::make_convolution(problem_of(narrow), extreme)->backward_workspace_bytes() > 0);
    // oneDNN's kernel that writes past its memory.
    CHECK_THROWS_AS(
        cpu::make_convolution(problem_of(in_bf16({2, 32, 64, 5, 9, 1, 0.01f})),
                              "forward=jit_1x1:avx512_core_amx_bf16+staged,weights=ref:any,data=ref:any"),
        Error);
    ConvolutionProblem planar = problem_of(wide);
    planar.x.block = 1;
    planar.x.element = Element::bf16;
    CHECK_THROWS_AS(cpu::make_convolution(planar, ""), Error);
    CHECK(refusal([] { make_backend("cpu", "tf32"); }).find("network.precision: tf32 needs device: cuda") ==
          0);
}
