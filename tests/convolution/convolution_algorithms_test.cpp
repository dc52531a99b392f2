// Every way to compute a convolution that this machine has, each against the definition and against itself.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>

#include "kernels/base/error.h"
#include "kernels/convolution/convolution.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "tests/convolution/convolution_case.h"
#include "tests/support/run_on.h"

using namespace convolution_case;

TEST_CASE("convolution: every algorithm of this machine") {
    const Case shapes[] = {{2, 32, 48, 10, 7, 3, 0.01f},
                           {2, 32, 16, 6, 9, 3, 0.01f, false, true},
                           {2, 32, 16, 9, 7, 1, 0.01f},
                           {2, 5, 6, 9, 7, 3, 0.01f}};
    std::set<std::string> seen;
    double winograd_error = 0;
    for (const Case& c : shapes) {
        const ConvolutionProblem problem = problem_of(c);
        const std::string chosen = cpu::make_convolution(problem, "")->algorithms();
        for (const char* implementation :
             {"winograd4", "jit:avx512_core", "jit_wino_4x3:avx512_core", "brgconv:avx512_core",
              "jit_1x1:avx512_core", "brgconv_1x1:avx512_core", "jit:avx2", "jit_1x1:avx2", "brgconv:avx2",
              "jit:sse41", "x64:gemm:jit", "ref:any"})
            for (const char* way : {"", "+images", "+staged", "+images+staged"}) {
                // One direction at a time, the others as chosen.
                for (const char* direction : {"forward", "weights", "data"}) {
                    const std::string key = std::string(direction) + "=";
                    std::string algorithms = chosen;
                    const std::size_t from = algorithms.find(key) + key.size();
                    const std::size_t to = std::min(algorithms.find(',', from), algorithms.size());
                    algorithms.replace(from, to - from, std::string(implementation) + way);
                    std::unique_ptr<Convolution> convolution;
                    try {
                        convolution = cpu::make_convolution(problem, algorithms);
                    } catch (const Error&) {
                        continue;  // not on this machine, or not for this layout
                    }
                    CAPTURE(describe(c));
                    CAPTURE(algorithms);
                    CHECK(convolution->algorithms() == algorithms);
                    for (const Write write : {Write::overwrite, Write::accumulate}) {
                        const double error = run(c, *convolution, write).largest();
                        CHECK(error < tolerance(algorithms));
                        if (algorithms.find("wino") != std::string::npos)
                            winograd_error = std::max(winograd_error, error);
                    }
                    seen.insert(std::string(direction) + "=" + implementation);
                }
            }
    }
    std::string all;
    for (const std::string& name : seen) all += " " + name;
    MESSAGE("compared:" << all << "; Winograd's largest error " << winograd_error);
    CHECK(seen.size() >= 6);  // in each direction the plain loops and one more
}

TEST_CASE("convolution: Winograd's error over many channels") {
    const Case c{1, 128, 64, 24, 24, 3, 0.01f};
    std::unique_ptr<Convolution> convolution;
    try {
        const char* name = "jit_wino_4x3:avx512_core";
        convolution = cpu::make_convolution(
            problem_of(c), std::string("forward=") + name + ",weights=" + name + ",data=" + name);
    } catch (const Error&) {
        MESSAGE("SKIPPED: no Winograd on this machine");
        return;
    }
    const Errors errors = run(c, *convolution, Write::overwrite);
    MESSAGE("y " << errors.y << ", d_x " << errors.d_x << ", d_weight " << errors.d_weight);
    CHECK(errors.largest() < winograd);
}

TEST_CASE("convolution: the same algorithms give the same bits") {
    for (const Case& c : {Case{2, 32, 32, 24, 20, 3, 0.01f}, Case{2, 32, 2, 40, 40, 1, 1.0f}}) {
        CAPTURE(describe(c));
        const auto first = cpu::make_convolution(problem_of(c), "");
        const auto second = cpu::make_convolution(problem_of(c), first->algorithms());
        CHECK(second->algorithms() == first->algorithms());
        const Doubles results = results_of(c, *first);
        for (Convolution* again : {second.get(), first.get()}) CHECK(results_of(c, *again) == results);
    }
}

TEST_CASE("pointwise: every instruction set, and the same bits for any number of threads") {
    const Case c{2, 32, 2, 37, 41, 1, 0.1f};
    const ConvolutionProblem problem = problem_of(c);
    const auto convolution = cpu::make_convolution(problem, "");
    if (problem.x.block == 1) return;  // a machine without vectors leaves it to oneDNN
    REQUIRE(convolution->algorithms() == "pointwise");
    for (const std::string& instruction_set : cpu::instruction_sets()) {
        CAPTURE(instruction_set);
        Doubles first;
        for (const int threads : {1, 2, 3}) {
            const RunOn on(threads, instruction_set);
            CHECK(run(c, *convolution, Write::accumulate).largest() < direct);
            const Doubles results = results_of(c, *convolution);
            if (first.empty()) first = results;
            CHECK(results == first);
        }
    }
}

TEST_CASE("single input: every instruction set, and the same bits for any number of threads") {
    // Rows longer than what is summed in single precision; more rows than a piece; one row, one column; a slice.
    for (Case c : {Case{2, 1, 32, 37, 41, 3, 0.1f}, Case{1, 1, 16, 5, 300, 3, 0.01f, true, true},
                   Case{1, 1, 24, 1, 9, 3, 0.01f}, Case{3, 1, 48, 9, 1, 3, 1.0f, true, false}}) {
        c.needs_d_x = false;
        const ConvolutionProblem problem = problem_of(c);
        if (problem.y.block == 1) return;  // a machine without vectors leaves it to oneDNN
        CAPTURE(describe(c));
        for (const std::string& instruction_set : cpu::instruction_sets()) {
            CAPTURE(instruction_set);
            Doubles first;
            for (const int threads : {1, 2, 3}) {
                const RunOn on(threads, instruction_set);
                const auto convolution = cpu::make_convolution(problem, "");
                REQUIRE(convolution->algorithms() == "single_input");
                for (const Write write : {Write::overwrite, Write::accumulate})
                    CHECK(run(c, *convolution, write).largest() < direct);
                const Doubles results = results_of(c, *convolution);
                if (first.empty()) first = results;
                CHECK(results == first);
            }
        }
    }
    // With the gradient of x it is left to others.
    const ConvolutionProblem whole = problem_of({2, 1, 32, 37, 41, 3, 0.1f});
    CHECK(cpu::make_convolution(whole, "")->algorithms() != "single_input");
    CHECK_THROWS_AS(cpu::make_convolution(whole, "single_input"), Error);
}

TEST_CASE("convolution: untimed, the least and the most scratch memory bound what timing chooses") {
    for (const Case& c : {Case{2, 16, 16, 24, 24, 3, 0.01f}, Case{2, 5, 6, 9, 7, 3, 0.01f},
                          Case{2, 32, 16, 9, 7, 3, 0.01f, false, true}, Case{2, 8, 2, 9, 7, 1, 1.0f}}) {
        const ConvolutionProblem problem = problem_of(c);
        const auto least = cpu::make_convolution(problem, least_memory),
                   most = cpu::make_convolution(problem, most_memory),
                   timed = cpu::make_convolution(problem, "");
        CAPTURE(describe(c));
        CHECK(least->forward_workspace_bytes() <= timed->forward_workspace_bytes());
        CHECK(timed->forward_workspace_bytes() <= most->forward_workspace_bytes());
        CHECK(least->backward_workspace_bytes() <= timed->backward_workspace_bytes());
        CHECK(timed->backward_workspace_bytes() <= most->backward_workspace_bytes());
    }
    // Of what no machine has memory for, too.
    ConvolutionProblem huge = problem_of({2, 16, 16, 24, 24, 3, 0.01f});
    huge.x.n = huge.y.n = 1 << 20;
    huge.x.h = huge.x.w = huge.y.h = huge.y.w = 512;
    huge.x.image_stride = huge.x.image_size();
    huge.y.image_stride = huge.y.image_size();
    CHECK(cpu::make_convolution(huge, least_memory)->backward_workspace_bytes() <=
          cpu::make_convolution(huge, most_memory)->backward_workspace_bytes());
}
