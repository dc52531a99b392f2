// What the libraries offer for a CUDA convolution, and what is made of it: names, the choice between several ways,
// refusals; the search for the libraries.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/base/error.h"
#include "kernels/base/library_search.h"
#include "kernels/convolution/untimed_algorithms.h"
#include "tests/convolution/cuda_convolution_case.h"
#ifdef TVMAP_EMULATED
#include "kernels/emulation/convolution_stand_in.h"
#endif

using namespace tvmap;
using namespace cuda_convolution_case;

TEST_CASE("CUDA convolution: names of precisions") {
    for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
        CHECK(cuda::parse_precision(cuda::precision_name(precision)) == precision);
    CHECK_THROWS_AS(cuda::parse_precision("fp16"), Error);
}

TEST_CASE("libraries: versions, and where they are searched for") {
    CHECK(cuda::vendor_libraries_missing() == "");
    CHECK(cuda::vendor_library_versions().find("cuDNN") != std::string::npos);

    const char* before = std::getenv("TVMAP_CUDA_LIBRARIES");
    const std::string kept = before ? before : "";
    setenv("TVMAP_CUDA_LIBRARIES", "/no/such/folder:/usr", 1);
    const std::vector<std::string> folders = library_folders();
    REQUIRE(!folders.empty());
    CHECK(folders.front() == "/usr");  // the first that exists
    CHECK(std::count(folders.begin(), folders.end(), "") == 1);
    std::string obstacle;
    CHECK(open_library({"libno_such_library.so.9", "libnor_this.so"}, false, &obstacle) == nullptr);
    for (const char* part : {"libno_such_library.so.9 or libnor_this.so", "/usr", "TVMAP_CUDA_LIBRARIES"})
        CHECK(obstacle.find(part) != std::string::npos);
    CHECK(obstacle.find('\n') == std::string::npos);
    setenv("TVMAP_CUDA_LIBRARIES", kept.c_str(), 1);

    void* const mathematics = open_library({"libm.so.6"}, false, &obstacle);
    REQUIRE(mathematics != nullptr);
    CHECK(library_function(mathematics, "cos") != nullptr);
    CHECK_THROWS_AS(library_function(mathematics, "no_such_function"), Error);
}

#ifdef TVMAP_EMULATED
namespace {
// The stand-in offers less, or more, for a while.
class Support {
  public:
    explicit Support(const emulation::ConvolutionSupport& support) {
        emulation::set_convolution_support(support);
    }
    ~Support() { emulation::set_convolution_support({}); }
};
}  // namespace

TEST_CASE("CUDA convolution: whatever the library offers") {
    // Sizes that no other test uses: choices are remembered.
    const Case c{2, 8, 16, 7, 10, 3, 0.01f, 3, 5};
    for (const Precision precision : {Precision::fp32, Precision::bf16})
        for (const bool fuses : {true, false})
            for (const bool adds : {true, false}) {
                CAPTURE(fuses);
                CAPTURE(adds);
                const Support support({.fuses = fuses, .adds = adds});
                const std::string add = precision == Precision::bf16 ? ""
                                        : adds                       ? ",data_add=loops"
                                                                     : ",data_add=none";
                const std::string algorithms = std::string("forward=loops") + (fuses ? "+fused" : "") +
                                               ",weights=loops,data=loops" + add;
                const auto convolution = make(problem_of(c), precision, algorithms);
                CHECK(convolution->algorithms() == algorithms);
                for (const Write write : {Write::overwrite, Write::accumulate})
                    CHECK(run(c, *convolution, write).largest() < tolerance(precision));
                if (!fuses)
                    CHECK_THROWS_AS(
                        make(problem_of(c), precision, "forward=loops+fused,weights=loops,data=loops"),
                        Error);
            }
}

TEST_CASE("CUDA convolution: the fastest of several ways, and the library's refusal") {
    const Case c{1, 16, 16, 9, 14, 3, 0.01f};
    {
        const Support support({.several = true});
        for (const char* forward : {"loops", "reversed", "loops+fused", "reversed+fused"}) {
            const std::string algorithms =
                std::string("forward=") + forward + ",weights=reversed,data=loops,data_add=reversed";
            const auto convolution = make(problem_of(c), Precision::fp32, algorithms);
            CHECK(convolution->algorithms() == algorithms);
            CHECK(run(c, *convolution, Write::accumulate).largest() < single);
        }
        const auto measured = make(problem_of(c), Precision::fp32);
        CHECK(run(c, *measured, Write::overwrite).largest() < single);
        const auto least = make(problem_of(c), Precision::fp32, least_memory),
                   most = make(problem_of(c), Precision::fp32, most_memory);
        CHECK(least->backward_workspace_bytes() <= measured->backward_workspace_bytes());
        CHECK(measured->backward_workspace_bytes() <= most->backward_workspace_bytes());
        // Measured once, then remembered.
        for (int k = 0; k < 3; ++k)
            CHECK(make(problem_of(c), Precision::fp32)->algorithms() == measured->algorithms());
    }
    const Support support({.plans = false});
    try {
        make(problem_of({1, 16, 16, 9, 15, 3, 0.01f}), Precision::tf32);
        FAIL("a convolution out of nothing");
    } catch (const Error& error) {
        for (const char* part : {"forward 3x3 tf32", "16>16 9x15", "planar", "stand-in"})
            CHECK(std::string(error.what()).find(part) != std::string::npos);
    }
}
#endif
