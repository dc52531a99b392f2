// NumPy's arrays. One that is accepted holds as many values as its shape says, all of them finite.
#include "engine/files/npy.h"

#include <cmath>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tvmap;
    const fuzz::InputFile file(data, size);
    fuzz::may_refuse([&] {
        const NpyArray array = read_npy(file.path());
        std::size_t values = 1;
        for (const std::int64_t extent : array.shape) values *= std::size_t(extent);
        fuzz::demand(array.values.size() == values, "as many values as the shape says");
        for (const float value : array.values) fuzz::demand(std::isfinite(value), "finite values");
    });
    return 0;
}
