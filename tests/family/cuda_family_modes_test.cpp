// The gradient modes of the family on CUDA: the CPU's bits.
#include <doctest/doctest.h>

#include "kernels/cuda_loader.h"
#include "tests/family/family_modes_case.h"
#include "tests/support/device_buffer.h"

using namespace family_case;

extern "C" const CudaLibrary* tvmap_cuda_library();

TEST_CASE("every mode of every member has the CPU's bits") {
    const auto cpu = make_backend("cpu"), cuda = tvmap_cuda_library()->open("fp32");
    for (const Member& m : members(141))
        for (const std::string name : {"masks", "checkpoint", "stored", "truncated:5", "implicit"}) {
            CAPTURE(m.name());
            CAPTURE(name);
            GradientMode mode = mode_of(name);
            mode.cap = 70;
            const int iterations = name == "checkpoint" ? 100 : 6;
            const Write write = name == "stored" ? Write::accumulate : Write::overwrite;
            const Gradient expected = run_mode(*cpu, m, iterations, mode, write),
                           got = run_mode(*cuda, m, iterations, mode, write);
            CHECK(compared_bits(got.x, expected.x));
            CHECK(compared_bits(got.d_lambda, expected.d_lambda));
            CHECK(compared_bits(got.d_b, expected.d_b));
            if (m.problem.own_start) CHECK(compared_bits(got.d_start, expected.d_start));
            CHECK(got.adjoint_steps == expected.adjoint_steps);
        }
}
