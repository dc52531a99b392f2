// main() of programs whose kernels are checked for accesses that nothing orders. Fails where a test does, or
// where one is left that no test asked about.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "kernels/emulation/control.h"
#include "tests/happens_before/checker.h"

int main(int argc, char** argv) {
    tvmap::emulation::set_seed(1);
    const happens_before::Checker checker;
    const int result = doctest::Context(argc, argv).run();
    std::fputs(checker.races().c_str(), stdout);
    return result != 0 || !checker.races().empty();
}
