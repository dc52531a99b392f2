// cuBLAS and cuDNN, opened at run time: their functions, and one handle of each for the process.
#pragma once
#include <cublas_v2.h>
#include <cudnn.h>

#include <mutex>
#include <string>

namespace tvmap::cuda {

struct Cudnn {
    decltype(&cudnnGetVersion) get_version = nullptr;
    decltype(&cudnnGetErrorString) error_string = nullptr;
    decltype(&cudnnGetLastErrorString) last_error_string = nullptr;
    decltype(&cudnnCreate) create = nullptr;
    decltype(&cudnnSetStream) set_stream = nullptr;
    decltype(&cudnnBackendCreateDescriptor) create_descriptor = nullptr;
    decltype(&cudnnBackendDestroyDescriptor) destroy_descriptor = nullptr;
    decltype(&cudnnBackendSetAttribute) set_attribute = nullptr;
    decltype(&cudnnBackendGetAttribute) get_attribute = nullptr;
    decltype(&cudnnBackendFinalize) finalize = nullptr;
    decltype(&cudnnBackendExecute) execute = nullptr;
};

struct Cublas {
    decltype(&cublasGetProperty) get_property = nullptr;
    decltype(&cublasGetStatusString) status_string = nullptr;
    decltype(&cublasCreate_v2) create = nullptr;
    decltype(&cublasSetStream_v2) set_stream = nullptr;
    decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
    decltype(&cublasSetMathMode) set_math_mode = nullptr;
    decltype(&cublasSetAtomicsMode) set_atomics_mode = nullptr;
    decltype(&cublasGemmStridedBatchedEx_64) gemm_strided_batched = nullptr;
};

/// The libraries' functions. Throws Error with vendor_libraries_missing() where that has something to say.
const Cudnn& cudnn();
const Cublas& cublas();

/// Throws Error where status is no success: "cuDNN: WHAT: the library's message".
void check(cudnnStatus_t status, const std::string& what);
void check(cublasStatus_t status, const std::string& what);
/// What cuDNN has to say about a failure, in one line.
std::string message(cudnnStatus_t status);

/// The process's handles, made on the first call. A handle serves one stream at a time: held from the
/// setting of the stream to the end of the call.
cudnnHandle_t cudnn_handle();
cublasHandle_t cublas_handle();
std::mutex& handles_mutex();

}  // namespace tvmap::cuda
