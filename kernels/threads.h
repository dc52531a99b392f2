// The number of CPU threads, shared by our kernels and oneDNN (both run on OpenMP).
#pragma once

namespace tvmap {

/// Threads for everything that the calling thread starts from now on; 0: one per core that the process may
/// use.
void set_threads(int threads);

/// Threads that a parallel region of the calling thread gets.
int thread_count();

/// The number of the calling thread in its parallel region, 0 outside.
int thread_index();

}  // namespace tvmap
