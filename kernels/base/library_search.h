// CUDA's libraries (cuDNN, cuBLAS, NVRTC) are opened at run time, wherever the machine has them.
#pragma once
#include <string>
#include <vector>

namespace tvmap {

/// The folders that are searched, in order: those in the environment variable TVMAP_CUDA_LIBRARIES (separated
/// by colons); "", the loader's own path; the CUDA toolkit; the packages that PyTorch brings along
/// (site-packages/nvidia/*/lib) in the active virtual environment, beside the python3 on PATH, below /opt,
/// /usr and the home folder. Only folders that exist.
std::vector<std::string> library_folders();

/// The first of these file names ("libcudnn.so.9") that can be opened, in the first folder; it stays open.
/// `global`: its symbols serve the libraries opened later. Null where there is none; then *obstacle says, in
/// one line, what was looked for where, and what to do.
void* open_library(const std::vector<std::string>& names, bool global, std::string* obstacle);

/// A function of an open library. Throws Error naming it where there is none.
void* library_function(void* library, const char* name);

}  // namespace tvmap
