// A replayed training step allocates nothing of ours; what oneDNN allocates for its own bookkeeping is the
// same in every step and does not pile up.
#include <doctest/doctest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "engine/model/unet.h"
#include "kernels/base/vendor_scope.h"
#include "kernels/threads/threads.h"
#include "kernels/training/metrics.h"
#include "tests/support/recording.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<long long> ours{0}, vendor{0}, elsewhere{0};
const std::thread::id main_thread = std::this_thread::get_id();

void* counted(std::size_t bytes, std::size_t alignment) {
    if (counting) ++(tvmap::in_vendor_call() ? vendor : ours);
    if (counting && std::this_thread::get_id() != main_thread) ++elsewhere;
    void* memory = nullptr;
    if (alignment <= alignof(std::max_align_t))
        memory = std::malloc(bytes);
    else if (posix_memalign(&memory, alignment, bytes) != 0)
        memory = nullptr;
    if (!memory) throw std::bad_alloc();
    return memory;
}

}  // namespace

// Not inlined: the compiler would take free() for the wrong partner of operator new.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return counted(bytes, 1); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return counted(bytes, std::size_t(alignment));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return counted(bytes, 1);  // out of memory ends the test
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    std::free(memory);
}

using namespace tvmap;
using namespace tvmap::tests;

namespace {

/// A tiny training run on fixed images.
class Steps {
  public:
    Steps(const Config& config, int n, int side)
        : model_(record_training_model(*backend_, config, n, side, side)),
          noisy_(model_.noisy),
          target_(model_.target),
          plan_(std::move(model_.graph), *backend_, algorithms_, true),
          parameters_(*backend_, plan_.graph().parameters(), true),
          arena_(*backend_, plan_.arena_bytes()) {
        plan_.bind(arena_, parameters_);
        parameters_.initialise(1);
        std::mt19937 generator(1);
        const Doubles images = random_values(generator, std::size_t(n) * side * side, 0, 1);
        set_input(plan_, noisy_, images);
        set_input(plan_, target_, Doubles(images.size(), 0.5));
    }
    void run() {
        plan_.forward();
        plan_.backward();
        parameters_.adam_step({1e-3, 0.9, 0.999, 1e-8, ++steps_});
        last_loss = plan_.loss();
    }
    double last_loss = 0;

  private:
    std::unique_ptr<Backend> backend_ = make_backend("cpu");
    Algorithms algorithms_;
    RecordedModel model_;
    Value noisy_, target_;
    Plan plan_;
    Parameters parameters_;
    Arena arena_;
    std::int64_t steps_ = 0;
};

Config tiny(std::vector<int> channels) {
    Config config;
    config.network.channels = std::move(channels);
    config.solver.iterations = 4;
    return config;
}

struct Count {
    long long ours, vendor;
};

Count count(Steps& steps) {
    ours = vendor = 0;
    counting = true;
    steps.run();
    counting = false;
    return {ours, vendor};
}

}  // namespace

TEST_CASE("the counter counts") {
    ours = 0;
    counting = true;
    // Volatile, or the compiler removes the pair.
    int* volatile one = new int(1);
    std::vector<double>* volatile two = new std::vector<double>(10);
    counting = false;
    delete one;
    delete two;
    CHECK(ours == 3);
    {
        const VendorScope scope;
        vendor = 0;
        counting = true;
        one = new int(1);
        counting = false;
        delete one;
    }
    CHECK(vendor == 1);
    CHECK(ours == 3);
}

TEST_CASE("a replayed step allocates nothing of ours") {
    Config config = tiny({16, 32});
    int n = 1;
    SUBCASE("in blocks") {}
    SUBCASE("in blocks, a batch, separate maps") {
        config.map.separate = true;
        n = 3;
    }
    SUBCASE("planar, a batch, log_mse") {
        config = tiny({5, 7, 6});
        config.train.loss = LossKind::log_mse;
        n = 2;
    }
    for (const int threads : {1, 2}) {
        CAPTURE(threads);
        set_threads(threads);
        Steps steps(config, n, 16);
        for (int warm_up = 0; warm_up < 3; ++warm_up) steps.run();
        for (int step = 0; step < 5; ++step) CHECK(count(steps).ours == 0);
    }
    set_threads(0);
}

TEST_CASE("oneDNN's own allocations are the same in each of 1,000 steps, and memory does not grow") {
    set_threads(1);
    Steps steps(tiny({16, 16}), 1, 8);
    for (int warm_up = 0; warm_up < 20; ++warm_up) steps.run();
    const Count first = count(steps);
    const std::size_t bytes = mallinfo2().uordblks;
    for (int step = 0; step < 1000; ++step) {
        const Count now = count(steps);
        if (now.ours != 0 || now.vendor != first.vendor) {
            CAPTURE(step);
            CHECK(now.ours == 0);
            CHECK(now.vendor == first.vendor);
            break;
        }
    }
    const std::size_t grown = mallinfo2().uordblks - bytes;
    CHECK(std::ptrdiff_t(grown) <= 0);  // not one object a step, nor one in all
    CHECK(std::isfinite(steps.last_loss));
    MESSAGE("oneDNN: " << first.vendor << " allocations a step");
    set_threads(0);
}

TEST_CASE("measuring allocates before its threads start: nothing can be thrown in them") {
    set_threads(2);
    constexpr int side = 128;
    const std::vector<float> image(side * side, 0.5f), truth(side * side, 0.25f);
    double quality = 0;
    elsewhere = 0;
    counting = true;
    for (int again = 0; again < 20; ++again)
        quality += cpu::ssim_gaussian(image.data(), truth.data(), side, side) +
                   cpu::ssim_uniform(image.data(), truth.data(), side, side);
    counting = false;
    CHECK(elsewhere == 0);
    CHECK(std::isfinite(quality));
    set_threads(0);
}
