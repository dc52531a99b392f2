// The libraries stay open, and the handles alive, until the process ends: the order in which drivers and
// libraries are taken down at exit is nobody's to know.
#include "kernels/cuda/vendor_libraries.h"

#include <algorithm>

#include "kernels/base/error.h"
#include "kernels/base/library_search.h"
#include "kernels/convolution/convolution_passes.h"

namespace tvmap::cuda {
namespace {

struct Libraries {
    Cudnn cudnn;
    Cublas cublas;
    std::string missing;
};

template <class Function>
void find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(library_function(library, name));
}

// cuBLAS first, and the run-time compiler, so that cuDNN finds what it needs of them already open.
Libraries open_libraries() {
    Libraries all;
    std::string ignored;
    open_library({"libnvrtc.so.13", "libnvrtc.so.12"}, true, &ignored);
    open_library({"libcublasLt.so.13", "libcublasLt.so.12"}, true, &ignored);
    void* const blas = open_library({"libcublas.so.13", "libcublas.so.12"}, true, &all.missing);
    if (!blas) return all;
    void* const dnn = open_library({"libcudnn.so.9"}, true, &all.missing);
    if (!dnn) return all;
    try {
        find(blas, "cublasGetProperty", all.cublas.get_property);
        find(blas, "cublasGetStatusString", all.cublas.status_string);
        find(blas, "cublasCreate_v2", all.cublas.create);
        find(blas, "cublasSetStream_v2", all.cublas.set_stream);
        find(blas, "cublasSetWorkspace_v2", all.cublas.set_workspace);
        find(blas, "cublasSetMathMode", all.cublas.set_math_mode);
        find(blas, "cublasSetAtomicsMode", all.cublas.set_atomics_mode);
        find(blas, "cublasGemmStridedBatchedEx_64", all.cublas.gemm_strided_batched);
        find(dnn, "cudnnGetVersion", all.cudnn.get_version);
        find(dnn, "cudnnGetErrorString", all.cudnn.error_string);
        find(dnn, "cudnnGetLastErrorString", all.cudnn.last_error_string);
        find(dnn, "cudnnCreate", all.cudnn.create);
        find(dnn, "cudnnSetStream", all.cudnn.set_stream);
        find(dnn, "cudnnBackendCreateDescriptor", all.cudnn.create_descriptor);
        find(dnn, "cudnnBackendDestroyDescriptor", all.cudnn.destroy_descriptor);
        find(dnn, "cudnnBackendSetAttribute", all.cudnn.set_attribute);
        find(dnn, "cudnnBackendGetAttribute", all.cudnn.get_attribute);
        find(dnn, "cudnnBackendFinalize", all.cudnn.finalize);
        find(dnn, "cudnnBackendExecute", all.cudnn.execute);
    } catch (const Error& error) {
        all.missing = text("cuBLAS or cuDNN: ", error.what());
    }
    return all;
}

const Libraries& libraries() {
    static const Libraries* const all = new Libraries(open_libraries());
    return *all;
}

const Libraries& complete_libraries() {
    if (!libraries().missing.empty()) fail(libraries().missing);
    return libraries();
}

}  // namespace

const Cudnn& cudnn() { return complete_libraries().cudnn; }
const Cublas& cublas() { return complete_libraries().cublas; }

std::string message(cudnnStatus_t status) {
    char details[1024] = "";
    cudnn().last_error_string(details, sizeof details);
    std::replace(std::begin(details), std::end(details), '\n', ' ');
    return text(cudnn().error_string(status), *details ? ": " : "", details);
}

void check(cudnnStatus_t status, const std::string& what) {
    if (status != CUDNN_STATUS_SUCCESS) fail("cuDNN: ", what, ": ", message(status));
}

void check(cublasStatus_t status, const std::string& what) {
    if (status != CUBLAS_STATUS_SUCCESS) fail("cuBLAS: ", what, ": ", cublas().status_string(status));
}

cudnnHandle_t cudnn_handle() {
    static const cudnnHandle_t handle = [] {
        cudnnHandle_t made = nullptr;
        check(cudnn().create(&made), "cannot be started");
        return made;
    }();
    return handle;
}

cublasHandle_t cublas_handle() {
    static const cublasHandle_t handle = [] {
        cublasHandle_t made = nullptr;
        check(cublas().create(&made), "cannot be started");
        check(cublas().set_atomics_mode(made, CUBLAS_ATOMICS_NOT_ALLOWED), "atomics cannot be forbidden");
        return made;
    }();
    return handle;
}

std::mutex& handles_mutex() {
    static std::mutex mutex;
    return mutex;
}

std::string vendor_libraries_missing() { return libraries().missing; }

std::string vendor_library_versions() {
    if (!libraries().missing.empty()) return "";
    const std::size_t dnn = cudnn().get_version();
    int major = 0, minor = 0;
    check(cublas().get_property(MAJOR_VERSION, &major), "version");
    check(cublas().get_property(MINOR_VERSION, &minor), "version");
    return text("cuDNN ", dnn / 10000, ".", dnn / 100 % 100, ".", dnn % 100, ", cuBLAS ", major, ".", minor);
}

}  // namespace tvmap::cuda
