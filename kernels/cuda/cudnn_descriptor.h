// cuDNN's backend descriptors: things with attributes, finalized before use, referring to each other.
#pragma once
#include <cudnn.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/vendor_libraries.h"

namespace tvmap::cuda {

class CudnnDescriptor {
  public:
    CudnnDescriptor() = default;
    explicit CudnnDescriptor(cudnnBackendDescriptorType_t type) {
        check(cudnn().create_descriptor(type, &handle_), "no descriptor");
    }
    CudnnDescriptor(CudnnDescriptor&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    CudnnDescriptor& operator=(CudnnDescriptor&& other) noexcept {
        std::swap(handle_, other.handle_);
        return *this;
    }
    ~CudnnDescriptor() {
        if (handle_) cudnn().destroy_descriptor(handle_);
    }

    cudnnBackendDescriptor_t get() const { return handle_; }

    template <class T>
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T* values,
                         std::int64_t count) {
        check(cudnn().set_attribute(handle_, name, type, count, values), "attribute " + std::to_string(name));
        return *this;
    }
    template <class T>
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
        return set(name, type, &value, 1);
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, std::int64_t value) {
        return set(name, CUDNN_TYPE_INT64, &value, 1);
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, const std::vector<std::int64_t>& values) {
        return set(name, CUDNN_TYPE_INT64, values.data(), std::int64_t(values.size()));
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& other) {
        return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, &other.handle_, 1);
    }

    CudnnDescriptor& finalize(const char* what) {
        check(cudnn().finalize(handle_), what);
        return *this;
    }
    /// Without throwing: not everything that can be described is supported.
    cudnnStatus_t try_finalize() { return cudnn().finalize(handle_); }

    template <class T>
    T get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
        T value{};
        std::int64_t count = 0;
        check(cudnn().get_attribute(handle_, name, type, 1, &count, &value),
              "attribute " + std::to_string(name));
        return value;
    }
    /// Values of an attribute that has any number of them, at most `most`.
    template <class T>
    std::vector<T> get_all(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           std::int64_t most) const {
        std::vector<T> values(std::size_t(most), T{});
        std::int64_t count = 0;
        check(cudnn().get_attribute(handle_, name, type, most, &count, values.data()),
              "attribute " + std::to_string(name));
        values.resize(std::size_t(std::min(count, most)));
        return values;
    }
    /// How many values an attribute has.
    std::int64_t count(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
        std::int64_t values = 0;
        check(cudnn().get_attribute(handle_, name, type, 0, &values, nullptr),
              "attribute " + std::to_string(name));
        return values;
    }
    /// The descriptors that an attribute holds, at most `most`: cuDNN fills in ones that are made beforehand.
    std::vector<CudnnDescriptor> get_descriptors(cudnnBackendAttributeName_t name,
                                                 cudnnBackendDescriptorType_t type, std::int64_t most) const {
        std::vector<CudnnDescriptor> all;
        std::vector<cudnnBackendDescriptor_t> handles;
        for (std::int64_t k = 0; k < most; ++k) handles.push_back(all.emplace_back(type).get());
        std::int64_t filled = 0;
        if (most > 0)
            check(cudnn().get_attribute(handle_, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, most, &filled,
                                        handles.data()),
                  "attribute " + std::to_string(name));
        all.resize(std::size_t(std::min(filled, most)));
        return all;
    }

  private:
    cudnnBackendDescriptor_t handle_ = nullptr;
};

}  // namespace tvmap::cuda
