// The number of CPU threads, shared by our kernels and oneDNN (both run on OpenMP).
#pragma once
#include <string>

namespace tvmap {

/// How many threads, and why so many.
struct ThreadChoice {
    int threads = 1;
    std::string origin;  ///< "--threads", "OMP_NUM_THREADS", "one per core", …
    int wanted = 1;      ///< more than `threads` where the system would not start them
};

/// `asked` if it is above 0, else the number in OMP_NUM_THREADS, else one per core that the process may run
/// on (its affinity), as far as the control groups' quota of processor time goes: a thread that is held back
/// would hold up all that wait for it. OMP_THREAD_LIMIT bounds all of them. `root`: see cpu_quota().
ThreadChoice choose_threads(int asked, const std::string& root = "");

/// Chooses, and starts the threads that everything on the calling thread works with from now on, or as many
/// as the system allows while it would still start one more. To be called once, by the program's first
/// thread.
ThreadChoice start_threads(int asked);

/// Threads for everything that the calling thread starts from now on; 0: as chosen without being asked.
void set_threads(int threads);

/// Another number of threads, as set_threads() sets it, as long as this lives.
class ThreadsForNow {
  public:
    explicit ThreadsForNow(int threads);
    ~ThreadsForNow();
    ThreadsForNow(const ThreadsForNow&) = delete;
    ThreadsForNow& operator=(const ThreadsForNow&) = delete;

  private:
    int before_;
};

/// Threads that a parallel region of the calling thread gets.
int thread_count();

/// The number of the calling thread in its loop (see LoopCrew), 0 outside.
int thread_index();

/// Whether other processes have lately taken processors from threads that share loops: work for which threads must wait
/// for one another will then take longer than on one thread.
bool beside_other_work();

}  // namespace tvmap
