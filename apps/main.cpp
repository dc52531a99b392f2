// The program. One line per subcommand.
#include "apps/command.h"

namespace tvmap {
void add_train(Program&);
void add_evaluate(Program&);
void add_denoise(Program&);
void add_solve(Program&);
void add_search(Program&);
void add_gradient(Program&);
void add_study(Program&);
void add_phantoms(Program&);
void add_bench(Program&);
void add_info(Program&);
}  // namespace tvmap

int main(int argc, char** argv) {
    using namespace tvmap;
    Program program;
    for (auto add : {add_train, add_evaluate, add_denoise, add_solve, add_search, add_gradient, add_study,
                     add_phantoms, add_bench, add_info})
        add(program);
    return program.main(argc, argv);
}
