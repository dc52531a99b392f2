// The program. One line per subcommand.
#include "apps/command.h"

namespace tvmap {
void add_solve(Program&);
void add_search(Program&);
void add_gradient(Program&);
void add_phantoms(Program&);
void add_bench(Program&);
void add_info(Program&);
}  // namespace tvmap

int main(int argc, char** argv) {
    tvmap::Program program;
    for (auto add : {tvmap::add_solve, tvmap::add_search, tvmap::add_gradient, tvmap::add_phantoms,
                     tvmap::add_bench, tvmap::add_info})
        add(program);
    return program.main(argc, argv);
}
