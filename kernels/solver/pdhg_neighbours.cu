// The solver with one cluster of blocks per solve, as kernels/solver/pdhg_cluster.cu lays it out, in which no step
// makes the whole cluster meet. Each block has a strip of whole rows, round the image's border too. Per step
// it sends its last row's new q_vertical to the block below and its first row's new x̄ to the block above, into
// the places that dual() and primal() read, and the threads that read there wait for their neighbour's row
// (kernels/gpu/gpu_mailbox.h).
//
// One place for each row is enough, since two neighbours take turns. Let A be above B.
//     A's q of step k   is sent by threads that have read B's x̄ of step k − 1, and goes into what they compute
//     B's x̄ of step k   is sent by threads that have read A's q of step k, and goes into what they compute
// and either is read only once all of it has come. So when A sends q of step k, all of B's x̄ of step k − 1 has
// come, every thread of B that sent it had read q of step k − 1 in its own column before, and B's mailbox is in
// phase k; and likewise when B sends x̄ of step k. No row is overwritten that is still to be read, nobody waits
// for a phase but the one that goes on or the one before, and of a pair of blocks none is a whole step ahead.
//
// The last x̄ is not sent: nobody reads it. So whatever is sent is waited for, and no block ends while a message
// to it is under way. (A cluster barrier would not do: it does not wait for messages.)
#include "kernels/solver/pdhg_cluster.h"

namespace tvmap::pdhg {
namespace {

constexpr const char* name = "pdhg_neighbours_kernel";

template <class Step, int strip_rows>
__global__ void __launch_bounds__(most_cluster_threads, 1)
    pdhg_neighbours_kernel(Task t, SharedLayout<Step> layout, int cluster) {
    if (t.settled()) return;
    float* shared = gpu::shared_memory<float>();
    auto* from_above = reinterpret_cast<gpu::Mailbox*>(shared + layout.floats());
    auto* from_below = from_above + 1;
    const unsigned row_bytes = unsigned(sizeof(float)) * blockDim.x;  // idle lanes' words among them
    if (threadIdx.x == 0 && threadIdx.y == 0) {
        for (gpu::Mailbox* mailbox : {from_above, from_below}) {
            gpu::open(mailbox);
            gpu::expect(mailbox, row_bytes);
        }
    }
    const int rank = int(gpu::cluster_rank());
    const Region region = strip_of_rows(t, rank, cluster);
    Strip<Step, strip_rows> strip(t, region, layout, shared);
    const bool first = strip.first == 0, last = strip.ends(region);

    const int above = rank == 0 ? cluster - 1 : rank - 1, below = rank + 1 == cluster ? 0 : rank + 1;
    // Where the neighbours read the rows that this block provides. (Made anew for each message: to keep them takes
    // registers that there are not.)
    const int rows_above = rows_of(t.height, above, cluster);
    const auto to_above = [&] {
        return gpu::destination(strip.here + rows_above * strip.row_floats, from_below, unsigned(above));
    };
    const auto to_below = [&] {
        return gpu::destination(shared + layout.edge(0, strip.column), from_above, unsigned(below));
    };
    // The block's row of the step has come, for the threads that call this; one of them goes on to the next.
    const auto receive = [&](gpu::Mailbox* mailbox, int step) {
        gpu::receive(mailbox, unsigned(step), "pdhg_neighbours_kernel");
        if (threadIdx.x == 0) gpu::expect(mailbox, row_bytes);
    };

    strip.load(t, region);
    if constexpr (Step::adjoint) {
        if (t.iterations > 0) strip.fetch_word(t, t.iterations - 1);
    }
    gpu::cluster_barrier();
    for (int k = 0; k < t.iterations; ++k) {
        if (last && k > 0) receive(from_below, k - 1);
        if (strip.count > 0) strip.dual(t);  // an idle strip would look at the row from below
        if (last) gpu::send(to_below(), *strip.next_edge());
        __syncthreads();
        if constexpr (Step::adjoint) {
            if (k + 1 < t.iterations) strip.fetch_word(t, t.iterations - 2 - k);
        } else if constexpr (Step::masks) {
            strip.store_word_of(t, k);
        }
        if (first) receive(from_above, k);
        strip.primal(t);
        if (first && k + 1 < t.iterations) gpu::send(to_above(), *strip.here);
        __syncthreads();
    }
    strip.finish(t, region);
}

// Calls body(kernel) with the one for the plan's strips.
template <class Step, class Body>
auto with_kernel(const ClusterPlan& plan, const Body& body) {
    return plan.strip_rows == 2 ? body(pdhg_neighbours_kernel<Step, 2>)
                                : body(pdhg_neighbours_kernel<Step, 8>);
}

}  // namespace

int resident_neighbours(const ClusterPlan& plan, MapKind map) {
    return of_either_direction(map, [&](auto step) {
        return with_kernel<decltype(step)>(plan, [&](auto kernel) {
            return gpu::resident_blocks(plan.launch<decltype(step)>(name, 1), kernel) / plan.cluster;
        });
    });
}

void run_neighbours(gpu::Stream stream, const ClusterPlan& plan, const Task& task, Direction direction) {
    for_step(task, direction, [&](auto step) {
        using Step = decltype(step);
        with_kernel<Step>(plan, [&](auto kernel) {
            gpu::launch(stream, plan.launch<Step>(name, task.solves), kernel, task, plan.layout<Step>(),
                        plan.cluster);
        });
    });
}

}  // namespace tvmap::pdhg
