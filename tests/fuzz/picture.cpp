// Pictures of every kind that is read. One that is accepted is whole: as many values as its size says, in [0, 1] or
// real numbers, within the limit of memory.
#include "engine/pictures/image.h"

#include <cmath>

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tvmap;
    const fuzz::InputFile file(data, size);
    fuzz::may_refuse([&] {
        const Picture picture = read_picture(file.path(), std::uint64_t(4) << 20);
        fuzz::demand(picture.height > 0 && picture.width > 0, "a size");
        fuzz::demand(picture.channels == 1 || picture.channels == 3, "grey or colour");
        fuzz::demand(picture.values.size() == std::size_t(picture.height) * std::size_t(picture.width) *
                                                  std::size_t(picture.channels),
                     "as many values as the size says");
        for (const float value : picture.values)
            fuzz::demand(picture.real ? std::isfinite(value) : value >= 0 && value <= 1, "values in [0, 1]");
    });
    return 0;
}
