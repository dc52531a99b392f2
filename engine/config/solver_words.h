// What the settings of a solver are called, in YAML, on the command line, in files and in messages: once for all.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "engine/config/config.h"

namespace tvmap {

template <class T>
using Words = std::vector<std::pair<std::string, T>>;

inline const Words<Regulariser> regulariser_words{
    {"tv", Regulariser::tv}, {"tv8", Regulariser::tv8}, {"tgv", Regulariser::tgv}};
inline const Words<Sight> sight_words{{"identity", Sight::identity}, {"mask", Sight::mask},
                                      {"blur", Sight::blur},         {"downsample", Sight::downsample},
                                      {"impulses", Sight::impulses}, {"poisson", Sight::poisson}};
/// What a solver alone calls its data term: it does not know what weights come from.
inline const Words<DataTerm> data_words{{"identity", DataTerm::identity},
                                        {"mask", DataTerm::weights},
                                        {"blur", DataTerm::blur},
                                        {"downsample", DataTerm::super_resolution},
                                        {"impulses", DataTerm::huber}};
inline const Words<Boundary> boundary_words{{"periodic", Boundary::periodic}, {"neumann", Boundary::neumann}};

/// The word of a value that has one; else empty.
template <class T>
std::string word_of(const Words<T>& words, T value) {
    for (const auto& [word, its] : words)
        if (its == value) return word;
    return {};
}

}  // namespace tvmap
