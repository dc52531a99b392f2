// YAML configurations. One that is accepted says what it means: its own text gives it again.
#include "engine/config/config.h"

#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tvmap;
    fuzz::may_refuse([&] {
        const Config config = parse_config(std::string(reinterpret_cast<const char*>(data), size), "input");
        const std::string text = config.to_yaml();
        try {
            fuzz::demand(parse_config(text, "again").to_yaml() == text,
                         "the text of a configuration gives it again");
        } catch (const Error& error) {
            std::fprintf(stderr, "%s\n%s\n", error.what(), text.c_str());
            fuzz::demand(false, "the text of a configuration is accepted");
        }
    });
    return 0;
}
