// For the length of a scope: the kernels on one instruction set and so many threads.
#pragma once
#include <string>

#include "kernels/base/simd.h"
#include "kernels/threads/threads.h"

struct RunOn {
    explicit RunOn(int threads, const std::string& instruction_set = "")
        : threads_before(tvmap::thread_count()) {
        tvmap::set_threads(threads);
        tvmap::cpu::use_instruction_set(instruction_set);
    }
    ~RunOn() {
        tvmap::cpu::use_instruction_set("");
        tvmap::set_threads(threads_before);
    }
    RunOn(const RunOn&) = delete;
    RunOn& operator=(const RunOn&) = delete;

    const int threads_before;
};
