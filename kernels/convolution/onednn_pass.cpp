// oneDNN's objects behind one direction of a convolution. Scratchpads are ours (in the workspace), and
// execution goes through the C interface: the C++ one builds a hash map for every call.
#include "kernels/convolution/onednn_pass.h"

#include <algorithm>

#include "kernels/base/bump_allocator.h"
#include "kernels/base/error.h"
#include "kernels/base/room.h"
#include "kernels/base/vendor_scope.h"

namespace tvmap::cpu::onednn {

using dnnl::memory;
using dims = memory::dims;
using tag = memory::format_tag;

namespace {

dnnl::engine& engine() {
    static dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
    return cpu;
}

void check(dnnl_status_t status, const char* what) {
    if (status != dnnl_success) fail("oneDNN: ", what, " failed with status ", int(status));
}

using type = memory::data_type;

memory::desc plain(const dims& sizes, tag format, type number = type::f32) { return {sizes, number, format}; }

type type_of(Element element) { return element == Element::bf16 ? type::bf16 : type::f32; }

memory::desc activations(const Features& f, int images, bool any, type number) {
    const tag format = any ? tag::any : f.block == 16 ? tag::nChw16c : f.block == 8 ? tag::nChw8c : tag::nchw;
    return plain({images, f.c, f.h, f.w}, format, number);
}

// What one direction is made of: the descriptors of its tensors as the primitive may choose them.
struct Descriptors {
    memory::desc x, weight, bias, y;
    dims strides{1, 1}, padding;
};

// The factors of products in bf16 are that, whatever their tensors are; results are what their tensors are, those for
// weights floats.
Descriptors descriptors(const ConvolutionProblem& problem, Direction direction, bool images, bool staged) {
    const int n = images ? 1 : problem.x.n, k = problem.kernel;
    const type factor = problem.in_bf16() ? type::bf16 : type::f32;
    return {
        activations(problem.x, n, staged, direction == Direction::data ? type_of(problem.x.element) : factor),
        plain({problem.y.c, problem.x.c, k, k}, tag::any,
              direction == Direction::weights ? type::f32 : factor),
        plain({problem.y.c}, tag::x),
        activations(problem.y, n, staged,
                    direction == Direction::forward ? type_of(problem.y.element) : factor),
        {1, 1},
        {k / 2, k / 2}};
}

dnnl::primitive_attr attributes() {
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attr;
}

dnnl::primitive_attr activating_attributes(float slope) {
    dnnl::post_ops post;
#if DNNL_VERSION_MAJOR >= 3
    post.append_eltwise(dnnl::algorithm::eltwise_relu, slope, 0.0f);
#else
    post.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, slope, 0.0f);
#endif
    dnnl::primitive_attr attr = attributes();
    attr.set_post_ops(post);
    return attr;
}

using Forward = dnnl::convolution_forward;
using Data = dnnl::convolution_backward_data;
using Weights = dnnl::convolution_backward_weights;

// Whether an implementation is never to be used: oneDNN 2.6's 1×1 kernel for AMX writes past its scratch memory (with a
// leaky ReLU, on 5×9 pixels, say).
bool is_faulty(const std::string& implementation) { return implementation == "jit_1x1:avx512_core_amx_bf16"; }

// Calls visit(descriptor, activates) for every implementation until it answers true.
template <class Descriptor, class Visit>
bool visit_each(Descriptor& descriptor, bool activates, const Visit& visit) {
    if (!descriptor.get(true)) return false;
    do {
        if (is_faulty(descriptor.impl_info_str())) continue;
        if (visit(descriptor, activates)) return true;
    } while (descriptor.next_impl());
    return false;
}

// The primitive descriptors of the three directions, empty where oneDNN has none. Version 3 has dropped the
// operation descriptors; in version 2 next_impl() goes back to them, so they must outlive the iteration.
template <class Visit>
bool visit_forward(const Descriptors& t, dnnl::algorithm kind, const dnnl::primitive_attr& attr,
                   bool activates, const Visit& visit) {
    constexpr auto training = dnnl::prop_kind::forward_training;
#if DNNL_VERSION_MAJOR >= 3
    Forward::primitive_desc descriptor(engine(), training, kind, t.x, t.weight, t.bias, t.y, t.strides,
                                       t.padding, t.padding, attr, true);
#else
    const Forward::desc operation(training, kind, t.x, t.weight, t.bias, t.y, t.strides, t.padding,
                                  t.padding);
    Forward::primitive_desc descriptor(operation, attr, engine(), true);
#endif
    return visit_each(descriptor, activates, visit);
}

// Data or Weights.
template <class Backward, class Visit>
bool visit_backward(const Descriptors& t, dnnl::algorithm kind, const Forward::primitive_desc& hint,
                    const Visit& visit) {
    const dnnl::primitive_attr attr = attributes();
#if DNNL_VERSION_MAJOR >= 3
    typename Backward::primitive_desc descriptor(engine(), kind, t.x, t.weight, t.y, t.strides, t.padding,
                                                 t.padding, hint, attr, true);
#else
    const typename Backward::desc operation(kind, t.x, t.weight, t.y, t.strides, t.padding, t.padding);
    typename Backward::primitive_desc descriptor(operation, attr, engine(), hint, true);
#endif
    return visit_each(descriptor, false, visit);
}

// Fused implementations come before unfused ones, direct before Winograd.
template <class Visit>
void visit_implementations(const ConvolutionProblem& problem, Direction direction, bool images, bool staged,
                           const Visit& visit) {
    const Descriptors t = descriptors(problem, direction, images, staged);
    for (const auto kind : {dnnl::algorithm::convolution_direct, dnnl::algorithm::convolution_winograd}) {
        if (kind == dnnl::algorithm::convolution_winograd && problem.kernel != 3) continue;
        if (direction == Direction::forward) {
            const bool fuses = problem.slope != 1.0f;
            if (fuses && visit_forward(t, kind, activating_attributes(problem.slope), true, visit)) return;
            // A result that is rounded when it is stored has to be the final one.
            if (fuses && problem.y.element == Element::bf16) continue;
            if (visit_forward(t, kind, attributes(), !fuses, visit)) return;
            continue;
        }
        // Backward descriptors want one of a forward pass.
        const Descriptors forward = descriptors(problem, Direction::forward, images, staged);
        Forward::primitive_desc hint;
        visit_forward(forward, kind, attributes(), false, [&](const Forward::primitive_desc& first, bool) {
            hint = first;
            return true;
        });
        if (!hint.get(true)) continue;
        if (direction == Direction::data ? visit_backward<Data>(t, kind, hint, visit)
                                         : visit_backward<Weights>(t, kind, hint, visit))
            return;
    }
}

// Implementations made of matrix products share kernels, some 4 MB, that oneDNN generates at the first
// product: here, so that memory which outlives a plan is there once it is made.
void generate_matrix_products() {
    static const bool done = [] {
        constexpr int n = 16;  // with a single row or column it would generate a part alone
        const std::vector<float> matrix(n * n);
        std::vector<float> product(n * n);
        check(dnnl_sgemm('N', 'N', n, n, n, 1, matrix.data(), n, matrix.data(), n, 0, product.data(), n),
              "a matrix product");
        return true;
    }();
    static_cast<void>(done);
}

std::string place(const ConvolutionProblem& problem, Direction direction) {
    return text("convolution (", problem.key(), "), ", name(direction));
}

}  // namespace

const char* name(Direction direction) {
    return direction == Direction::forward ? "forward" : direction == Direction::data ? "data" : "weights";
}

std::string Algorithm::to_string() const {
    return implementation + (images ? "+images" : "") + (staged ? "+staged" : "");
}

Algorithm Algorithm::parse(const std::string& written) {
    Algorithm result;
    result.implementation = written.substr(0, written.find('+'));
    result.images = written.find("+images") != std::string::npos;
    result.staged = written.find("+staged") != std::string::npos;
    return result;
}

bool Algorithm::is_reference() const { return implementation.find("ref") != std::string::npos; }

std::vector<Algorithm> available(const ConvolutionProblem& problem, Direction direction, bool images,
                                 bool staged) {
    const VendorScope vendor;
    std::vector<Algorithm> found;
    try {
        visit_implementations(problem, direction, images, staged, [&](const auto& descriptor, bool) {
            const Algorithm candidate{descriptor.impl_info_str(), images, staged};
            const bool known = std::any_of(found.begin(), found.end(), [&](const Algorithm& a) {
                return a.implementation == candidate.implementation;
            });
            if (!known) found.push_back(candidate);
            return false;
        });
    } catch (const dnnl::error& error) {
        fail(place(problem, direction), ": oneDNN answers \"", error.what(), "\"");
    }
    return found;
}

std::optional<Pass> Pass::make(const ConvolutionProblem& problem, Direction direction,
                               const Algorithm& algorithm) {
    // Refused memory for the code that it generates, oneDNN ends the process.
    require_room(16 << 20, "the code of " + place(problem, direction));
    const VendorScope vendor;
    std::optional<Pass> result;
    const bool images = algorithm.images, staged = algorithm.staged;
    const auto build = [&](const auto& descriptor, bool activates) {
        if (descriptor.impl_info_str() != algorithm.implementation) return false;
        if (algorithm.implementation.find("gemm") != std::string::npos) generate_matrix_products();
        Pass pass;
        pass.algorithm_ = algorithm;
        pass.activates_ = activates;
        pass.repeats_ = images ? problem.x.n : 1;
        pass.stream_ = dnnl::stream(engine());
        pass.primitive_ = dnnl::primitive(descriptor.get());

        BumpAllocator workspace;
        const auto reserve = [&](std::size_t bytes) {
            const std::size_t at = workspace.reserve(bytes);
            pass.workspace_bytes_ = workspace.bytes();
            return at;
        };
        const auto unbound = [](const memory::desc& d) { return memory(d, engine(), nullptr); };

        // The scratchpad lies at the start of the workspace.
        const memory::desc scratch = descriptor.scratchpad_desc();
        reserve(scratch.get_size());
        pass.scratchpad_ = unbound(scratch);

        std::size_t reorder_bytes = 0;
        memory::desc reorder_scratch;
        const auto make_reorder = [&](const memory::desc& from, const memory::desc& to, bool adds) {
            dnnl::primitive_attr attr = attributes();
            if (adds) {
                dnnl::post_ops post;
                post.append_sum(1.0f);
                attr.set_post_ops(post);
            }
            const dnnl::reorder::primitive_desc reorder(engine(), from, engine(), to, attr);
            const memory::desc needs = reorder.scratchpad_desc();
            if (needs.get_size() > reorder_bytes) {
                reorder_bytes = needs.get_size();
                reorder_scratch = needs;
            }
            return dnnl::primitive(reorder.get());
        };
        const bool adds =
            direction == Direction::weights || (direction == Direction::data && problem.accumulates_d_x);
        const auto operand = [&](int argument, const memory::desc& outer, bool output) {
            const memory::desc inner = descriptor.query_md(dnnl::query::exec_arg_md, argument);
            Operand o;
            o.outer = unbound(outer);
            o.inner = unbound(inner);
            o.same = outer == inner;
            if (!o.same)
                o.copy = output ? make_reorder(inner, outer, false) : make_reorder(outer, inner, false);
            if (output && adds) o.add = make_reorder(inner, outer, true);
            if (!o.same || (output && adds)) o.staging = reserve(inner.get_size());
            pass.operands_.push_back(o);
            pass.arguments_.push_back({argument, o.inner.get()});
        };

        const int n = images ? 1 : problem.x.n, k = problem.kernel;
        const memory::desc x = activations(problem.x, n, false, type_of(problem.x.element)),
                           y = activations(problem.y, n, false, type_of(problem.y.element));
        const memory::desc weight = plain({problem.y.c, problem.x.c, k, k}, tag::oihw);
        switch (direction) {
            case Direction::forward:
                operand(DNNL_ARG_SRC, x, false);
                operand(DNNL_ARG_WEIGHTS, weight, false);
                operand(DNNL_ARG_BIAS, plain({problem.y.c}, tag::x), false);
                operand(DNNL_ARG_DST, y, true);
                break;
            case Direction::data:
                operand(DNNL_ARG_DIFF_DST, y, false);
                operand(DNNL_ARG_WEIGHTS, weight, false);
                operand(DNNL_ARG_DIFF_SRC, x, true);
                break;
            case Direction::weights:
                operand(DNNL_ARG_SRC, x, false);
                operand(DNNL_ARG_DIFF_DST, y, false);
                operand(DNNL_ARG_DIFF_WEIGHTS, weight, true);
                break;
        }
        pass.arguments_.push_back({DNNL_ARG_SCRATCHPAD, pass.scratchpad_.get()});
        pass.reorder_scratch_ = reserve(reorder_bytes);
        pass.reorder_scratchpad_ = unbound(reorder_scratch);
        result = std::move(pass);
        return true;
    };
    try {
        visit_implementations(problem, direction, images, staged, build);
    } catch (const dnnl::error& error) {
        fail(place(problem, direction), " by ", algorithm.to_string(), ": oneDNN answers \"", error.what(),
             "\"");
    }
    return result;
}

void Pass::reorder(const dnnl::primitive& primitive, const memory& from, const memory& to) {
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from.get()},
                                         {DNNL_ARG_TO, to.get()},
                                         {DNNL_ARG_SCRATCHPAD, reorder_scratchpad_.get()}};
    check(dnnl_primitive_execute(primitive.get(), stream_.get(), 3, arguments), "a reorder");
}

void Pass::run(std::span<const Pointer> pointers, Write write, std::byte* workspace) {
    const VendorScope vendor;
    const auto bind = [](const memory& to, void* data) {
        check(dnnl_memory_set_data_handle(to.get(), data), "binding memory");
    };
    bind(scratchpad_, workspace);
    bind(reorder_scratchpad_, workspace + reorder_scratch_);
    const std::size_t last = operands_.size() - 1;
    for (int image = 0; image < repeats_; ++image) {
        const auto at = [&](std::size_t k) {
            return static_cast<std::byte*>(pointers[k].data) + image * pointers[k].image_bytes;
        };
        for (std::size_t k = 0; k < last; ++k) {
            const Operand& o = operands_[k];
            if (image > 0 && pointers[k].image_bytes == 0) continue;  // bound and reordered already
            bind(o.inner, o.same ? static_cast<void*>(at(k)) : workspace + o.staging);
            if (o.same) continue;
            bind(o.outer, at(k));
            reorder(o.copy, o.outer, o.inner);
        }
        const Operand& result = operands_[last];
        const bool adds = write == Write::accumulate || (image > 0 && pointers[last].image_bytes == 0);
        const bool direct = result.same && !adds;
        bind(result.inner, direct ? static_cast<void*>(at(last)) : workspace + result.staging);
        check(dnnl_primitive_execute(primitive_.get(), stream_.get(), int(arguments_.size()),
                                     arguments_.data()),
              "a convolution");
        if (direct) continue;
        bind(result.outer, at(last));
        reorder(adds ? result.add : result.copy, result.inner, result.outer);
    }
}

}  // namespace tvmap::cpu::onednn
