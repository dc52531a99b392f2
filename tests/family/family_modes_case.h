// A member of the family in one gradient mode on any backend, every piece of memory of the promised size between sentinels.
#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/unrolled/unrolled_solver.h"
#include "kernels/device_array.h"
#include "tests/family/family_case.h"

namespace family_case {

inline GradientMode mode_of(const std::string& name) {
    const auto mode = gradient_mode(name);
    REQUIRE(mode.has_value());
    return *mode;
}

/// Memory of a backend with sentinels before and behind it, and in it at first.
class Watched {
  public:
    Watched(Backend& backend, std::size_t bytes) : memory_(backend, bytes + 2 * margin) {
        const Bytes sentinels(memory_.size(), sentinel);
        memory_.upload(sentinels.data(), sentinels.size());
    }
    Watched(Backend& backend, const Floats& values) : Watched(backend, 4 * values.size()) {
        memory_.upload(reinterpret_cast<const std::uint8_t*>(values.data()), 4 * values.size(), margin);
    }
    /// Null for nothing.
    template <class T = float>
    T* data() const {
        return memory_.size() > 2 * margin ? reinterpret_cast<T*>(memory_.data() + margin) : nullptr;
    }
    Floats floats() const {
        Floats values((memory_.size() - 2 * margin) / 4);
        memory_.download(reinterpret_cast<std::uint8_t*>(values.data()), 4 * values.size(), margin);
        return values;
    }
    bool intact() const {
        Bytes ends(2 * margin);
        memory_.download(ends.data(), margin);
        memory_.download(ends.data() + margin, margin, memory_.size() - margin);
        return std::all_of(ends.begin(), ends.end(), [](std::uint8_t b) { return b == sentinel; });
    }

  private:
    static constexpr std::size_t margin = 256;
    static constexpr std::uint8_t sentinel = 0xc5;  // floats of -6331.8
    DeviceArray<std::uint8_t> memory_;
};

struct Gradient {
    Floats x, d_lambda, d_b, d_start;
    int adjoint_steps = 0;
};

/// The gradients start from 0.5.
inline Gradient run_mode(Backend& backend, const Member& m, int iterations, const GradientMode& mode,
                         Write write = Write::overwrite) {
    const SolverProblem& s = m.problem;
    UnrolledSolver solver(backend, s, iterations, mode);
    const Watched b(backend, m.b), start(backend, m.start), lambda(backend, m.lambda), gram(backend, m.gram),
        d_x(backend, m.d_x), x(backend, 4 * m.d_x.size()), d_lambda(backend, Floats(m.lambda.size(), 0.5f)),
        d_b(backend, Floats(m.d_x.size(), 0.5f)),
        d_start(backend, Floats(s.own_start ? m.d_x.size() : 0, 0.5f)), saved(backend, solver.saved_bytes()),
        forward(backend, solver.forward_workspace_bytes()),
        backward(backend, solver.backward_workspace_bytes());
    const SolverInput input{b.data(), s.own_start ? start.data() : nullptr, lambda.data(), gram.data()};
    solver.forward(input, x.data(), saved.data<void>(), forward.data<void>());
    solver.backward(saved.data<void>(), input, d_x.data(),
                    {d_lambda.data(), d_b.data(), d_start.data(), write}, backward.data<void>());
    backend.synchronise();
    for (const Watched* memory :
         {&b, &start, &lambda, &gram, &d_x, &x, &d_lambda, &d_b, &d_start, &saved, &forward, &backward})
        CHECK(memory->intact());
    return {x.floats(), d_lambda.floats(), d_b.floats(), d_start.floats(), solver.adjoint_steps()};
}

}  // namespace family_case
