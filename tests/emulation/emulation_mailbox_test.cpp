// Messages on the emulation: they arrive whatever the order, late as on a GPU, and each misuse that a GPU would
// answer with a hang or with wrong data is reported.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "kernels/gpu/gpu.h"
#include "kernels/gpu/gpu_mailbox.h"
#include "tests/support/device_buffer.h"
#include "tests/support/emulated_trial.h"

using namespace tvmap;

namespace {

const gpu::Launch ring = {
    .name = "mailbox_trial", .grid = 6, .block = 32, .cluster = 3, .shared_bytes = 33 * 8};

enum class Misuse {
    none,
    reads_at_once,
    opens_twice,
    not_open,
    overwritten,
    told_twice,
    too_many_bytes,
    phase_ahead,
    phase_behind,
    nobody_sends,
    receiver_returns,
    other_block,
    word_elsewhere
};

/// Blocks hand a row round their cluster, three steps on.
template <Misuse misuse>
__global__ void mailbox_trial(float* values) {
    float* row = gpu::shared_memory<float>();
    auto* mailbox = reinterpret_cast<gpu::Mailbox*>(row + 64);
    const unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t, bytes = 4 * blockDim.x;
    const unsigned rank = gpu::cluster_rank(), next = (rank + 1) % 3;
    if (t == 0 && misuse != Misuse::not_open) {
        gpu::open(mailbox);
        gpu::expect(mailbox, misuse == Misuse::too_many_bytes ? bytes - 2 : bytes);
        if (misuse == Misuse::opens_twice) gpu::open(mailbox);
        if (misuse == Misuse::told_twice) gpu::expect(mailbox, bytes);
        if (misuse == Misuse::overwritten) row[64] = 0;
    }
    const gpu::Destination to = gpu::destination(row + t, mailbox, next);
    row[t] = -1;
    gpu::cluster_barrier();
    float value = values[i];
    for (unsigned step = 0; step < 3; ++step) {
        if (misuse == Misuse::other_block) gpu::receive(to.mailbox, step, "");
        if (misuse == Misuse::word_elsewhere) gpu::send({row + t, to.mailbox}, value);
        if (misuse != Misuse::nobody_sends) gpu::send(to, value);
        if (misuse == Misuse::receiver_returns && rank == 1) return;
        if (misuse == Misuse::phase_ahead) gpu::receive(mailbox, step + 1, "");
        if (misuse == Misuse::phase_behind && step == 2) gpu::receive(mailbox, 0, "");
        if (misuse != Misuse::reads_at_once) gpu::receive(mailbox, step, "");
        value = row[t];
        if (t == 0 && misuse != Misuse::reads_at_once) gpu::expect(mailbox, bytes);
        gpu::cluster_barrier();  // all have read
    }
    if (misuse == Misuse::reads_at_once) gpu::receive(mailbox, 0, "");
    values[i] = value;
}

/// What a launch says, or "": with it, whether the rows came round.
template <Misuse misuse>
std::string trial(bool* round = nullptr) {
    std::vector<float> start(6 * 32);
    for (std::size_t i = 0; i < start.size(); ++i) start[i] = float(i);
    const DeviceBuffer<float> values(start);
    const std::string said =
        error([&] { gpu::launch(test_stream(), ring, mailbox_trial<misuse>, values.data()); });
    if (round != nullptr) *round = said.empty() && values.download() == start;
    return said;
}

/// Under how many orders of threads it says so.
template <Misuse misuse>
int says(const std::string& what) {
    return right([&] { return contains(trial<misuse>(), what); });
}

}  // namespace

TEST_CASE("messages arrive in any order of threads") {
    CHECK(right([] {
              bool round = false;
              CHECK(trial<Misuse::none>(&round) == "");
              return round;
          }) == every_seed);
}

TEST_CASE("who does not wait does not see them") {
    CHECK(right([] {
              bool round = false;
              trial<Misuse::reads_at_once>(&round);
              return !round;
          }) == every_seed);
}

TEST_CASE("misuse is reported, in whatever order threads run") {
    CHECK(says<Misuse::opens_twice>("open(): the mailbox is open already") == every_seed);
    CHECK(says<Misuse::not_open>("no mailbox was opened there") == every_seed);
    CHECK(says<Misuse::overwritten>("the mailbox was overwritten") == every_seed);
    CHECK(says<Misuse::told_twice>("phase 0 was told already how many bytes it gets") == every_seed);
    CHECK(says<Misuse::too_many_bytes>("phase 0 gets more bytes than it was told") == every_seed);
    CHECK(says<Misuse::phase_ahead>("waits for phase 1 of a mailbox that is in phase 0") == every_seed);
    CHECK(says<Misuse::phase_behind>("waits for phase 0 of a mailbox that is in phase 2") == every_seed);
    CHECK(says<Misuse::nobody_sends>("at receive() (emulation_mailbox_test.cpp:") == every_seed);
    CHECK(says<Misuse::receiver_returns>("which has returned") +
              says<Misuse::receiver_returns>("has returned while a message to it is under way") >=
          every_seed);
    CHECK(says<Misuse::other_block>("receive() of another block's mailbox") == every_seed);
    CHECK(says<Misuse::word_elsewhere>("send() of a word to one block") == every_seed);
}
