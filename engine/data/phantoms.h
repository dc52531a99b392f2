// Synthetic radiograph-like images for runs that need no data: a smooth body with soft organ borders, lungs,
// heart, ribs, vessels and fine texture in some places but not in others, so that one regularisation
// parameter cannot suit the whole image.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tvmap {

/// Phantom number `index` of a seed: size×size values in [0, 1], a pure function of its arguments.
std::vector<float> phantom(std::uint64_t seed, std::uint32_t index, int size);

/// What the file of phantom number `index` is called: phantom_00000.png, …
std::string phantom_name(std::uint32_t index);

/// Writes phantoms number `first` and on under their names to a folder that is made if need be.
void write_phantoms(const std::string& folder, int count, int size, std::uint64_t seed,
                    std::uint32_t first = 0);

}  // namespace tvmap
