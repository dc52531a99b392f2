// The program. One line per subcommand.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "apps/program/command.h"

namespace tvmap {
void add_init(Program&);
void add_train(Program&);
void add_evaluate(Program&);
void add_report(Program&);
void add_denoise(Program&);
void add_solve(Program&);
void add_search(Program&);
void add_gradient(Program&);
void add_study(Program&);
void add_phantoms(Program&);
void add_bench(Program&);
void add_info(Program&);
void add_help(Program&);
void add_completion(Program&);
}  // namespace tvmap

namespace {

/// The number of a closed standard stream would go to the next file that is opened, and what is meant for the
/// stream into it.
void open_standard_streams() {
    for (int number = 0; number <= 2; ++number)
        if (::fcntl(number, F_GETFD) < 0 && errno == EBADF)
            ::open("/dev/null", number == 0 ? O_RDONLY : O_WRONLY);  // gets the least free number
}

/// Lets OpenMP's threads wait for one another for some 50 µs (on Intel's processors 200) before they give the processor
/// away: longer than they wait where nothing else runs, while GCC's usual limit, thirty times as much, lets whatever else
/// runs hold up every loop. It is read when the OpenMP library is loaded, before main(); so the program starts again, once.
void wait_briefly(char** argv) {
    for (const char* given :
         {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY",
          // The library has bound this thread to a processor by now, and the next would be left with it.
          "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"})
        if (std::getenv(given)) return;
    ::setenv("GOMP_SPINCOUNT", "5000", 1);
    char path[4096];  // the file's own: a process that is started by a link is called what the link is
    const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    ::execv(path, argv);  // (where it fails, all goes on as it is)
}

}  // namespace

int main(int argc, char** argv) {
    using namespace tvmap;
    wait_briefly(argv);
    open_standard_streams();
    Program program;
    for (auto add : {add_init, add_train, add_evaluate, add_report, add_denoise, add_solve, add_search,
                     add_gradient, add_study, add_phantoms, add_bench, add_info, add_help, add_completion})
        add(program);
    return program.main(argc, argv);
}
