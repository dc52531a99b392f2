// How images are read: the same options for every command that takes arrays and pictures.
#pragma once
#include <cstdint>
#include <string>

#include "apps/program/command.h"
#include "engine/pictures/picture_limit.h"

namespace tvmap {

struct InputImages;

struct ImageOptions {
    double peak = 1;  ///< the value of white in arrays and float TIFFs: they are divided by it when read
    std::uint64_t picture_limit = usual_picture_limit;  ///< bytes; see PictureReader

    void add(CLI::App& command);
    /// --peak alone, where the limit is a setting of the configuration.
    void add_peak(CLI::App& command);
    /// --picture-limit alone, for pictures without a --peak.
    void add_limit(CLI::App& command);

    /// Warns of pages that are left out, and of an array whose values reach further beyond 0 … 1 than white reaches
    /// beyond black, times `beyond`:
    /// PSNR, SSIM and λ are then not what they seem. Says nothing of values where --peak was given.
    void warn(const std::string& command, const std::string& path, const InputImages& images,
              double beyond) const;

  private:
    CLI::Option* given_ = nullptr;
};

/// How far clean images may reach beyond 0 … 1, where resampling overshoots, and noisy ones.
inline constexpr double clean_beyond = 0.1, noisy_beyond = 1;

}  // namespace tvmap
