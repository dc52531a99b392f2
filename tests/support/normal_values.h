// Values for tests.
#pragma once
#include <cstdint>
#include <random>
#include <vector>

/// Standard normal numbers that a float holds.
inline std::vector<double> random_values(std::int64_t count, int seed) {
    std::mt19937 generator(static_cast<unsigned>(seed));
    std::normal_distribution<float> normal;
    std::vector<double> values(count);
    for (double& v : values) v = normal(generator);
    return values;
}

inline std::vector<float> narrow(const std::vector<double>& values) { return {values.begin(), values.end()}; }
