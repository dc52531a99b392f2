#include "kernels/cuda/cudnn_graph.h"

#include <cudnn.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/described_device.h"
#include "kernels/cuda/vendor_libraries.h"

namespace tvmap::cuda {
namespace {

using Descriptor = CudnnDescriptor;

std::optional<Descriptor> described;

// A four-dimensional tensor; cuDNN says N, C, H, W whatever the strides.
struct TensorLayout {
    std::vector<std::int64_t> sizes, strides;
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    std::int64_t alignment = 16;
};

Descriptor tensor(Tensor id, const TensorLayout& layout, bool is_virtual = false) {
    Descriptor d(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    d.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, std::int64_t(id));
    d.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, layout.type);
    d.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, layout.alignment);
    d.set(CUDNN_ATTR_TENSOR_DIMENSIONS, layout.sizes);
    d.set(CUDNN_ATTR_TENSOR_STRIDES, layout.strides);
    d.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, is_virtual);
    d.finalize("tensor");
    return d;
}

TensorLayout layout_of(const PassProblem& problem, const Features& f) {
    const std::int64_t h = f.h, w = f.w, c = f.c;
    if (problem.precision == Precision::bf16)
        return {{f.n, c, h, w}, {h * w * c, 1, w * c, c}, CUDNN_DATA_BFLOAT16, 16};
    return {{f.n, c, h, w},
            {f.n > 1 ? f.image_stride : f.image_size(), h * w, w, 1},
            CUDNN_DATA_FLOAT,
            problem.alignment};
}

TensorLayout weight_layout_of(const PassProblem& problem) {
    return layout_of({.precision = problem.precision, .x = {}, .y = {}, .alignment = 16},
                     dense_features(problem.y.c, problem.x.c, problem.kernel, problem.kernel, 1));
}

Descriptor convolution_descriptor(int kernel) {
    const std::vector<std::int64_t> ones{1, 1}, padding{kernel / 2, kernel / 2};
    Descriptor d(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    d.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, std::int64_t(2));
    d.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    d.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
    d.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, padding);
    d.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, padding);
    d.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, ones);
    d.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, ones);
    d.finalize("convolution");
    return d;
}

Descriptor pointwise_operation(cudnnPointwiseMode_t mode, const PassProblem& problem, const Descriptor& from,
                               const Descriptor* other, const Descriptor& to) {
    Descriptor pointwise(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    pointwise.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, mode);
    pointwise.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
    if (mode == CUDNN_POINTWISE_RELU_FWD) {
        const double lower = 0, upper = std::numeric_limits<float>::max(), slope = problem.slope;
        pointwise.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP, CUDNN_TYPE_DOUBLE, lower);
        pointwise.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, upper);
        pointwise.set(CUDNN_ATTR_POINTWISE_RELU_LOWER_CLIP_SLOPE, CUDNN_TYPE_DOUBLE, slope);
    }
    pointwise.finalize("pointwise function");
    Descriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, pointwise);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, from);
    if (other) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, *other);
    operation.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, to);
    operation.finalize("pointwise operation");
    return operation;
}

// The attributes of the three operations, alike but for their names.
struct OperationNames {
    cudnnBackendDescriptorType_t operation;
    cudnnBackendAttributeName_t convolution, x, weight, y, alpha, beta;
};

OperationNames names_of(Direction direction) {
    switch (direction) {
        case Direction::forward:
            return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
        case Direction::data:
            return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                    CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
        case Direction::weights:
            break;
    }
    return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
            CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
}

}  // namespace

Descriptor operation_graph(const PassProblem& problem) {
    const TensorLayout y_layout = layout_of(problem, problem.y);
    const Descriptor x = tensor(x_tensor, layout_of(problem, problem.x));
    const Descriptor weight = tensor(weight_tensor, weight_layout_of(problem));
    const Descriptor y = tensor(y_tensor, y_layout);
    TensorLayout between = y_layout;
    between.type = CUDNN_DATA_FLOAT;
    std::optional<Descriptor> sum, biased, bias;
    if (problem.activates) {
        const std::int64_t c = problem.y.c;
        sum = tensor(sum_tensor, between, true);
        biased = tensor(biased_tensor, between, true);
        bias = tensor(bias_tensor, {{1, c, 1, 1}, {c, 1, c, c}, CUDNN_DATA_FLOAT, 4});
    }

    const OperationNames names = names_of(problem.direction);
    const float alpha = 1.0f, beta = problem.adds ? 1.0f : 0.0f;
    Descriptor operation(names.operation);
    operation.set(names.convolution, convolution_descriptor(problem.kernel));
    operation.set(names.x, x);
    operation.set(names.weight, weight);
    operation.set(names.y, sum ? *sum : y);
    operation.set(names.alpha, CUDNN_TYPE_FLOAT, alpha);
    operation.set(names.beta, CUDNN_TYPE_FLOAT, beta);
    operation.finalize("convolution operation");

    std::vector<Descriptor> operations;
    operations.push_back(std::move(operation));
    if (problem.activates) {
        operations.push_back(pointwise_operation(CUDNN_POINTWISE_ADD, problem, *sum, &*bias, *biased));
        operations.push_back(pointwise_operation(CUDNN_POINTWISE_RELU_FWD, problem, *biased, nullptr, y));
    }
    std::vector<cudnnBackendDescriptor_t> handles;
    for (const Descriptor& o : operations) handles.push_back(o.get());
    Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (!described) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, cudnn_handle());
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, handles.data(),
              std::int64_t(handles.size()));
    graph.finalize("graph of operations");
    return graph;
}

const Descriptor* described_device() { return described ? &*described : nullptr; }

void plan_for_device(const std::string& description) {
    Descriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, description.data(),
               std::int64_t(description.size()));
    device.finalize("described device");
    described = std::move(device);
}

}  // namespace tvmap::cuda
