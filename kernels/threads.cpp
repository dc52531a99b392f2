#include "kernels/threads.h"

#include <omp.h>

namespace tvmap {

void set_threads(int threads) {
    omp_set_dynamic(0);
    omp_set_num_threads(threads > 0 ? threads : omp_get_num_procs());
}

int thread_count() { return omp_get_max_threads(); }

int thread_index() { return omp_get_thread_num(); }

}  // namespace tvmap
