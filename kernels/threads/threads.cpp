#include "kernels/threads/threads.h"

#include <omp.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <string_view>
#include <vector>

#include "kernels/threads/cpu_quota.h"
#include "kernels/threads/loop_crew.h"

namespace tvmap {
namespace {

/// The first number of OMP_NUM_THREADS, which may be a list, one for each level of nesting; 0: none.
int threads_in_environment() {
    const char* variable = std::getenv("OMP_NUM_THREADS");
    std::string_view list = variable ? variable : "";
    list.remove_prefix(std::min(list.find_first_not_of(" \t"), list.size()));
    int threads = 0;
    const auto [end, error] = std::from_chars(list.data(), list.data() + list.size(), threads);
    const bool ends = end == list.data() + list.size() || *end == ' ' || *end == ',';
    return error == std::errc() && ends && threads > 0 ? threads : 0;
}

void* wait_for_release(void* gate) {
    { const std::lock_guard passing(*static_cast<std::mutex*>(gate)); }
    // Rather than return: loads, while there is memory, what the C library loads when a thread first ends so, and
    // cannot do without.
    pthread_exit(nullptr);
}

/// How many threads, up to `count`, the system starts beside the calling one. OpenMP's library ends the
/// process where it is refused one, so we ask first.
int startable(int count) {
    std::mutex gate;
    std::vector<pthread_t> threads;
    threads.reserve(std::size_t(count));
    {
        const std::lock_guard closed(gate);
        pthread_t thread;
        while (int(threads.size()) < count && pthread_create(&thread, nullptr, wait_for_release, &gate) == 0)
            threads.push_back(thread);
    }
    for (const pthread_t thread : threads) pthread_join(thread, nullptr);
    return int(threads.size());
}

}  // namespace

ThreadChoice choose_threads(int asked, const std::string& root) {
    ThreadChoice choice{asked, "--threads"};
    if (choice.threads <= 0) choice = {threads_in_environment(), "OMP_NUM_THREADS"};
    if (choice.threads <= 0) {
        const int allowed = omp_get_num_procs();
        choice = {allowed, allowed < sysconf(_SC_NPROCESSORS_ONLN) ? "CPU affinity" : "one per core"};
        if (const double quota = cpu_quota(root); quota < allowed) {
            std::ostringstream origin;
            origin << "quota of " << quota << " CPUs";
            choice = {std::max(1, int(quota)), origin.str()};
        }
    }
    if (omp_get_thread_limit() < choice.threads) choice = {omp_get_thread_limit(), "OMP_THREAD_LIMIT"};
    choice.wanted = choice.threads;
    return choice;
}

ThreadChoice start_threads(int asked) {
    ThreadChoice choice = choose_threads(asked);
    // OpenMP's, as many for loops, and one more: batches, say, are prepared by a thread of their own.
    const int beside = startable(2 * (choice.threads - 1) + 1);
    if (beside < 2 * (choice.threads - 1) + 1) {
        choice.threads = std::max(1, (beside - 1) / 2 + 1);
        if (choice.threads < choice.wanted) choice.origin = "as many as the system starts";
    }
    set_threads(choice.threads);
    // While they can still be had; both keep them.
#pragma omp parallel
    {}
    LoopCrew::instance().enlist(choice.threads);
    return choice;
}

void set_threads(int threads) {
    omp_set_dynamic(0);
    omp_set_num_threads(threads > 0 ? threads : choose_threads(0).threads);
}

ThreadsForNow::ThreadsForNow(int threads) : before_(thread_count()) { set_threads(threads); }

ThreadsForNow::~ThreadsForNow() { set_threads(before_); }

int thread_count() { return omp_get_max_threads(); }

}  // namespace tvmap
