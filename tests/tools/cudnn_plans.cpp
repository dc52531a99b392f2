// Prints what cuDNN's own planner offers for every pass of the network's 3x3 convolutions on an H200, which need not be
// here: the most promising engine with its knobs, what it says of its arithmetic, and its workspace. (It is planned
// in full, so that a pass for which no plan can be made is found without a GPU. How many ways there are is not said:
// fewer are planned where that takes long.)
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "kernels/convolution/convolution_passes.h"
#include "kernels/cuda/described_device.h"

using namespace tvmap;
using namespace tvmap::cuda;

namespace {

// As cuDNN 9 writes an H200.
constexpr char h200[] =
    R"({"cudaDeviceId": 0, "deviceName": "NVIDIA H200", "deviceVer": 900, "driverVer": 13000,
    "isTccDriver": 0, "l2CacheSize": 62914560, "maxCtasPerSM": 32, "maxRegistersPerSM": 65536,
    "maxSharedMemoryPerBlock": 49152, "maxSharedMemoryPerBlockOptin": 232448, "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048, "memClockRateKHz": 3201000, "multiProcessorCount": 132, "pciDeviceId": 9013,
    "maxBlockSize": [1024, 1024, 64], "maxGridSize": [2147483647, 65535, 65535], "regsPerBlock": 65536,
    "reservedSharedMemoryPerBlock": 1024, "smClockRateKHz": 1980000, "supportCoopLaunch": 1,
    "totalGlobalMem": 150110011392, "warpSize": 32})";

struct Layer {
    int in, out, size;  // channels, and the image's side
};
// The 3x3 convolutions of the network on an image of 256x256.
const std::vector<Layer> layers{{1, 32, 256},   {32, 32, 256},  {32, 64, 128},  {64, 64, 128},
                                {64, 128, 64},  {128, 128, 64}, {128, 256, 32}, {256, 256, 32},
                                {256, 128, 64}, {128, 64, 128}, {64, 32, 256}};

}  // namespace

int main() try {
    if (const std::string missing = vendor_libraries_missing(); !missing.empty()) {
        std::cout << "SKIPPED: " << missing << "\n";
        return 77;
    }
    plan_for_device(h200);
    std::cout << vendor_library_versions() << "\n";
    int without = 0;
    for (const int batch : {1, 16})
        for (const Precision precision : {Precision::fp32, Precision::tf32, Precision::bf16})
            for (const Layer& layer : layers) {
                if (precision == Precision::bf16 && layer.in % 8 != 0) continue;  // then it is TF32
                for (const Direction direction : {Direction::forward, Direction::data, Direction::weights}) {
                    if (direction == Direction::data && layer.in == 1) continue;  // of the image
                    PassProblem problem;
                    problem.direction = direction;
                    problem.precision = precision;
                    problem.x = dense_features(batch, layer.in, layer.size, layer.size, 1);
                    problem.y = dense_features(batch, layer.out, layer.size, layer.size, 1);
                    problem.most_workspace = std::size_t(batch) << 26;
                    std::string obstacle;
                    const auto passes = available_passes(problem, &obstacle);
                    without += passes.empty();
                    char place[96];
                    std::snprintf(place, sizeof place, "%s batch %d, %d>%d channels, %d, %s",
                                  precision_name(precision), batch, layer.in, layer.out, layer.size,
                                  name(direction));
                    if (passes.empty())
                        std::cout << place << ": none: " << obstacle << "\n";
                    else
                        std::cout << place << ": " << passes[0]->algorithm() << "; " << passes[0]->notes()
                                  << "; " << (passes[0]->workspace_bytes() >> 10) << " KiB\n";
                }
            }
    return without > 0;
} catch (const std::exception& error) {
    std::cerr << "cudnn_plans: " << error.what() << "\n";
    return 1;
}
