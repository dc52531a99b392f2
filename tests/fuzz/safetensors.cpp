// Safetensors files. One that is accepted holds as many values as its shapes say, and writes and reads as itself.
#include "engine/files/safetensors.h"

#include <cstring>

#include "engine/model/checkpoint.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tvmap;
    const fuzz::InputFile file(data, size);
    fuzz::may_refuse([&] {
        const SafeTensors content = read_safetensors(file.path());
        for (const auto& [name, tensor] : content.tensors) {
            std::size_t values = 1;
            for (const std::int64_t extent : tensor.shape) values *= std::size_t(extent);
            fuzz::demand(tensor.values.size() == values, "as many values as the shape says");
        }
    });
    fuzz::may_refuse([&] { static_cast<void>(checkpoint_config(file.path()).to_yaml()); });
    return 0;
}
