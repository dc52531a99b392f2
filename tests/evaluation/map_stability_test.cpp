// The spread of maps over draws of the noise, against two passes in double.
#include "engine/evaluation/map_stability.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>

using tvmap::MapDraws;

TEST_CASE("the spread is that of two passes over all draws") {
    std::mt19937 engine(5);
    std::normal_distribution<float> normal;
    for (const float spread :
         {0.3f, 1e-4f}) {  // the small one is lost where squares of the values are summed in floats
        constexpr std::size_t pixels = 37;
        constexpr int count = 16;
        std::vector<std::vector<float>> maps;
        std::vector<double> psnr;
        MapDraws draws(pixels);
        for (int k = 0; k < count; ++k) {
            std::vector<float>& map = maps.emplace_back();
            for (std::size_t i = 0; i < pixels; ++i)
                map.push_back(1 + 0.1f * float(i) + spread * normal(engine));
            psnr.push_back(30 + normal(engine));
            draws.add(map.data(), psnr.back());
        }
        std::vector<double> relative;
        for (std::size_t i = 0; i < pixels; ++i) {
            double mean = 0, squares = 0;
            for (const auto& map : maps) mean += map[i] / double(count);
            for (const auto& map : maps) squares += (map[i] - mean) * (map[i] - mean);
            relative.push_back(std::sqrt(squares / (count - 1)) / mean);
        }
        std::sort(relative.begin(), relative.end());
        double mean_psnr = 0, squares = 0;
        for (const double value : psnr) mean_psnr += value / count;
        for (const double value : psnr) squares += (value - mean_psnr) * (value - mean_psnr);
        const tvmap::MapStability s = draws.stability();
        CHECK(s.spread == doctest::Approx(relative[pixels / 2]).epsilon(1e-9));
        CHECK(s.psnr_spread == doctest::Approx(std::sqrt(squares / (count - 1))).epsilon(1e-9));
    }
}

TEST_CASE("a map that does not depend on the noise has no spread, and one draw says nothing") {
    const float map[] = {0.5f, 0.25f, 4};
    MapDraws draws(3);
    CHECK(std::isnan(draws.stability().spread));
    draws.add(map, 30);
    CHECK(std::isnan(draws.stability().spread));
    CHECK(std::isnan(draws.stability().psnr_spread));
    draws.add(map, 31);
    CHECK(draws.stability().spread == 0);
    CHECK(draws.stability().psnr_spread == doctest::Approx(std::sqrt(0.5)));
}

TEST_CASE("pixels where the map is 0 in every draw say nothing") {
    MapDraws draws(5), of_zeros(2);
    for (const float value : {1.0f, 3.0f}) {
        const float map[] = {0, 0, value, 0, 0}, zeros[] = {0, 0};
        draws.add(map, 30);
        of_zeros.add(zeros, 30);
    }
    CHECK(draws.stability().spread == doctest::Approx(std::sqrt(2) / 2));
    CHECK(of_zeros.stability().spread == 0);
}
