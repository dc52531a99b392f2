// Boost.Context's fibers, with the address sanitizer told of every change of stacks.
#include "kernels/emulation/worker.h"

#include <boost/context/protected_fixedsize_stack.hpp>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace tvmap::emulation {
namespace {

constexpr std::size_t stack_bytes = 128 << 10;  // only what is touched takes memory

boost::context::protected_fixedsize_stack& stacks() {
    static boost::context::protected_fixedsize_stack stacks(stack_bytes);
    return stacks;
}

std::vector<Worker*>& idle() {
    static auto& workers = *new std::vector<Worker*>;
    return workers;
}

#if defined(__SANITIZE_ADDRESS__)
void before_switch(void** fake_stack, const void* to, std::size_t bytes) {
    __sanitizer_start_switch_fiber(fake_stack, to, bytes);
}
void after_switch(void* fake_stack, const void** from, std::size_t* bytes) {
    __sanitizer_finish_switch_fiber(fake_stack, from, bytes);
}
#else
void before_switch(void**, const void*, std::size_t) {}
void after_switch(void*, const void**, std::size_t*) {}
#endif

}  // namespace

Worker::Worker()
    : stack_(stacks().allocate()),
      other_side_(std::allocator_arg, boost::context::preallocated(stack_.sp, stack_.size, stack_), stacks(),
                  [this](boost::context::fiber&& caller) {
                      other_side_ = std::move(caller);
                      after_switch(nullptr, &caller_stack_, &caller_stack_bytes_);
                      serve();
                      return std::move(other_side_);
                  }) {}

void Worker::serve() {
    for (;;) {
        work_(*this);
        idle().push_back(this);
        leave();
    }
}

void Worker::start(Work work) {
    if (idle().empty()) idle().push_back(new Worker);
    Worker& worker = *idle().back();
    idle().pop_back();
    worker.work_ = work;
    worker.resume();
}

void Worker::resume() {
    void* fake_stack = nullptr;
    before_switch(&fake_stack, static_cast<char*>(stack_.sp) - stack_bytes, stack_bytes);
    other_side_ = std::move(other_side_).resume();
    after_switch(fake_stack, nullptr, nullptr);
}

void Worker::leave() {
    before_switch(&fake_stack_, caller_stack_, caller_stack_bytes_);
    other_side_ = std::move(other_side_).resume();
    after_switch(fake_stack_, &caller_stack_, &caller_stack_bytes_);
}

#if defined(__SANITIZE_ADDRESS__)
void allow_access(void* memory, std::size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(memory, bytes); }
void forbid_access(void* memory, std::size_t bytes) { ASAN_POISON_MEMORY_REGION(memory, bytes); }
#else
void allow_access(void*, std::size_t) {}
void forbid_access(void*, std::size_t) {}
#endif

}  // namespace tvmap::emulation
