// Reference for networks around the solver: a tape in double. Every call computes its value at once from
// plain NCHW arrays and notes how to hand its gradient back; backward() plays the notes in reverse, and
// gradients add up. Parameters are found by name, NAME.weight and NAME.bias. A tape may keep its features, and their
// gradients, in fewer digits. Includes nothing of the product.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "tests/reference/convolution.h"
#include "tests/reference/pdhg.h"

namespace reference {

using NamedDoubles = std::map<std::string, Doubles>;

class Tape {
  public:
    using Value = int;
    struct Node {
        int n, c, h, w;
        Doubles value, gradient;
        std::size_t at(int image, int channel, int i, int j) const {
            return ((std::size_t(image) * c + channel) * h + i) * w + j;
        }
    };

    /// How a number is rounded when it is stored.
    using Rounding = double (*)(double);

    /// `features`: of the results of convolutions, poolings and upsamplings whose channels are a multiple of 16, and of
    /// their gradients, each rounded once as a whole; null: nothing is.
    explicit Tape(const NamedDoubles& parameters, Rounding features = nullptr)
        : parameters_(parameters), features_(features) {
        for (const auto& [name, values] : parameters) gradients_[name].assign(values.size(), 0.0);
    }

    Tape(const Tape&) = delete;
    Tape& operator=(const Tape&) = delete;

    const Node& node(Value v) const { return nodes_[v]; }
    /// By parameter, zero for those that the loss does not depend on.
    const NamedDoubles& gradients() const { return gradients_; }
    /// How far the nearest leaky ReLU or maximum is from deciding otherwise: a computation whose rounding is
    /// smaller takes the same decisions.
    double margin() const { return margin_; }

    Value input(int n, int c, int h, int w, const Doubles& values) { return push(n, c, h, w, values); }

    Value convolution(Value x, const std::string& name, int channels, int kernel, double slope) {
        const Node in = nodes_[x];
        const ConvolutionShape shape{in.n, in.c, channels, in.h, in.w, kernel};
        const std::string weight = name + ".weight", bias = name + ".bias";
        const Value y =
            push(in.n, channels, in.h, in.w,
                 convolution_forward(shape, in.value, parameters_.at(weight), parameters_.at(bias), slope));
        store(nodes_[y], nodes_[y].value);
        if (slope != 1)
            for (double v : nodes_[y].value) keep_away(v > 0 ? v : v / slope);
        note([=, this] {
            const ConvolutionGradients g = convolution_backward(
                shape, nodes_[x].value, parameters_.at(weight), nodes_[y].value, nodes_[y].gradient, slope);
            hand_back(x, g.d_x);
            add_to(gradients_.at(weight), g.d_weight);
            add_to(gradients_.at(bias), g.d_bias);
        });
        return y;
    }

    Value max_pool(Value x) {
        const Node in = nodes_[x];
        const Value y = push(in.n, in.c, in.h / 2, in.w / 2, {});
        std::vector<std::size_t> from;
        for_each(nodes_[y], [&](int n, int c, int i, int j) {
            std::vector<std::size_t> window;
            for (int a = 0; a < 2; ++a)
                for (int b = 0; b < 2; ++b) window.push_back(in.at(n, c, 2 * i + a, 2 * j + b));
            std::stable_sort(window.begin(), window.end(),
                             [&](auto a, auto b) { return in.value[a] > in.value[b]; });
            keep_away(in.value[window[0]] - in.value[window[1]]);
            from.push_back(window[0]);
        });
        for (std::size_t k = 0; k < from.size(); ++k) nodes_[y].value[k] = in.value[from[k]];
        note([=, this] {
            Doubles d_x(nodes_[x].value.size());
            for (std::size_t k = 0; k < from.size(); ++k) d_x[from[k]] += nodes_[y].gradient[k];
            hand_back(x, d_x);
        });
        return y;
    }

    /// Mean of each 2×2 window; an odd last row or column is dropped.
    Value average_pool(Value x) {
        const Node in = nodes_[x];
        const Value y = push(in.n, in.c, in.h / 2, in.w / 2, {});
        const auto for_each_pixel = [in](const Node& out, const auto& visit) {
            for_each(out, [&](int n, int c, int i, int j) {
                for (int a = 0; a < 2; ++a)
                    for (int b = 0; b < 2; ++b) visit(out.at(n, c, i, j), in.at(n, c, 2 * i + a, 2 * j + b));
            });
        };
        for_each_pixel(nodes_[y], [&](auto to, auto from) { nodes_[y].value[to] += in.value[from] / 4; });
        note([=, this] {
            for_each_pixel(nodes_[y], [&](auto to, auto from) {
                nodes_[x].gradient[from] += nodes_[y].gradient[to] / 4;
            });
        });
        return y;
    }

    /// Elementwise; a may be b.
    Value multiply(Value a, Value b) {
        const Node left = nodes_[a], right = nodes_[b];
        Doubles product(left.value.size());
        for (std::size_t k = 0; k < product.size(); ++k) product[k] = left.value[k] * right.value[k];
        const Value y = push(left.n, left.c, left.h, left.w, std::move(product));
        note([=, this] {
            for (std::size_t k = 0; k < left.value.size(); ++k) {
                nodes_[a].gradient[k] += right.value[k] * nodes_[y].gradient[k];
                nodes_[b].gradient[k] += left.value[k] * nodes_[y].gradient[k];
            }
        });
        return y;
    }

    /// Bilinear, corners aligned: row i lies at i·(H−1)/(2H−1) of the H input rows.
    Value upsample(Value x) {
        const Node in = nodes_[x];
        const Value y = push(in.n, in.c, 2 * in.h, 2 * in.w, {});
        const auto for_each_weight = [in](const Node& out, const auto& visit) {
            for_each(out, [&](int n, int c, int i, int j) {
                const double s = double(i) * (in.h - 1) / (2 * in.h - 1);
                const double t = double(j) * (in.w - 1) / (2 * in.w - 1);
                for (int row = 0; row < in.h; ++row)
                    for (int column = 0; column < in.w; ++column) {
                        const double weight =
                            std::max(0.0, 1 - std::abs(s - row)) * std::max(0.0, 1 - std::abs(t - column));
                        if (weight > 0) visit(in.at(n, c, row, column), out.at(n, c, i, j), weight);
                    }
            });
        };
        for_each_weight(nodes_[y], [&](std::size_t from, std::size_t to, double weight) {
            nodes_[y].value[to] += weight * in.value[from];
        });
        store(nodes_[y], nodes_[y].value);
        note([=, this] {
            Doubles d_x(in.value.size());
            for_each_weight(nodes_[y], [&](std::size_t from, std::size_t to, double weight) {
                d_x[from] += weight * nodes_[y].gradient[to];
            });
            hand_back(x, d_x);
        });
        return y;
    }

    Value add(Value a, Value b) {
        const Node in = nodes_[a];
        const Value y = push(in.n, in.c, in.h, in.w, in.value);
        add_to(nodes_[y].value, nodes_[b].value);
        note([=, this] {
            add_to(nodes_[a].gradient, nodes_[y].gradient);
            add_to(nodes_[b].gradient, nodes_[y].gradient);
        });
        return y;
    }

    Value concatenate(const std::vector<Value>& values) {
        const Node first = nodes_[values[0]];
        int channels = 0;
        for (Value v : values) channels += nodes_[v].c;
        const Value y = push(first.n, channels, first.h, first.w, {});
        const auto for_each_element = [=, this](const auto& visit) {
            int start = 0;
            for (Value v : values) {
                const Node part = nodes_[v];
                for_each(part, [&](int n, int c, int i, int j) {
                    visit(v, part.at(n, c, i, j), nodes_[y].at(n, start + c, i, j));
                });
                start += part.c;
            }
        };
        for_each_element(
            [&](Value v, std::size_t from, std::size_t to) { nodes_[y].value[to] = nodes_[v].value[from]; });
        note([=, this] {
            std::map<Value, Doubles> parts;
            for_each_element([&](Value v, std::size_t from, std::size_t to) {
                parts[v].resize(nodes_[v].value.size());
                parts[v][from] += nodes_[y].gradient[to];
            });
            for (const auto& [v, gradient] : parts) hand_back(v, gradient);
        });
        return y;
    }

    /// scale·log(1 + exp r), or up_bound/(1 + exp −r) where up_bound > 0, of the first `maps` channels.
    Value map_from_raw(Value raw, double scale, double up_bound, int maps) {
        const Node in = nodes_[raw];
        const Value y = push(in.n, maps, in.h, in.w, {});
        for_each(nodes_[y], [&](int n, int c, int i, int j) {
            const double r = in.value[in.at(n, c, i, j)];
            nodes_[y].value[nodes_[y].at(n, c, i, j)] =
                up_bound > 0 ? up_bound / (1 + std::exp(-r)) : scale * std::log1p(std::exp(r));
        });
        note([=, this] {
            for_each(nodes_[y], [&](int n, int c, int i, int j) {
                const double s = 1 / (1 + std::exp(-in.value[in.at(n, c, i, j)]));
                nodes_[raw].gradient[in.at(n, c, i, j)] +=
                    nodes_[y].gradient[nodes_[y].at(n, c, i, j)] *
                    (up_bound > 0 ? up_bound * s * (1 - s) : scale * s);
            });
        });
        return y;
    }

    /// x_T; a map of one plane serves both components. The solver's size is taken from z.
    Value denoise(Value z, Value lambda, Pdhg solver) {
        const Node image = nodes_[z];
        solver.height = image.h;
        solver.width = image.w;
        const std::size_t pixels = std::size_t(image.h) * image.w;
        const bool shared = nodes_[lambda].c == 1;
        const Value y = push(image.n, 1, image.h, image.w, {});
        std::vector<std::vector<Decisions>> decisions;
        for (int n = 0; n < image.n; ++n) {
            Plane both;
            for (int plane = 0; plane < 2; ++plane) {
                const auto from =
                    nodes_[lambda].value.begin() + std::size_t(shared ? n : 2 * n + plane) * pixels;
                both.insert(both.end(), from, from + pixels);
            }
            const auto from = image.value.begin() + n * pixels;
            PdhgRun run = pdhg_forward(solver, Plane(from, from + pixels), both);
            std::copy(run.x.begin(), run.x.end(), nodes_[y].value.begin() + n * pixels);
            decisions.push_back(std::move(run.e));
        }
        note([=, this] {
            for (int n = 0; n < image.n; ++n) {
                const auto from = nodes_[y].gradient.begin() + n * pixels;
                const PdhgGradient d = pdhg_adjoint(solver, decisions[n], Plane(from, from + pixels));
                for (std::size_t k = 0; k < pixels; ++k) {
                    nodes_[z].gradient[n * pixels + k] += d.z[k];
                    for (int plane = 0; plane < 2; ++plane)
                        nodes_[lambda].gradient[(shared ? n : 2 * n + plane) * pixels + k] +=
                            d.lambda[plane * pixels + k];
                }
            }
        });
        return y;
    }

    /// Each image times its factor.
    Value scaled(Value x, const Doubles& factors) {
        const Node in = nodes_[x];
        const Value y = push(in.n, in.c, in.h, in.w, in.value);
        const std::size_t size = in.value.size() / in.n;
        for (std::size_t k = 0; k < in.value.size(); ++k) nodes_[y].value[k] *= factors[k / size];
        note([=, this] {
            for (std::size_t k = 0; k < in.value.size(); ++k)
                nodes_[x].gradient[k] += factors[k / size] * nodes_[y].gradient[k];
        });
        return y;
    }

    /// z − the first channel of x.
    Value residual(Value z, Value x) {
        const Node image = nodes_[z], in = nodes_[x];
        const Value y = push(image.n, 1, image.h, image.w, image.value);
        for_each(image, [&](int n, int c, int i, int j) {
            nodes_[y].value[image.at(n, c, i, j)] -= in.value[in.at(n, 0, i, j)];
        });
        note([=, this] {
            for_each(image, [&](int n, int c, int i, int j) {
                const double gradient = nodes_[y].gradient[image.at(n, c, i, j)];
                nodes_[z].gradient[image.at(n, c, i, j)] += gradient;
                nodes_[x].gradient[in.at(n, 0, i, j)] -= gradient;
            });
        });
        return y;
    }

    /// Mean over the images of the mean squared error, or of its logarithm.
    Value loss(Value x, Value target, bool logarithm) {
        const Node a = nodes_[x], b = nodes_[target];
        const std::size_t size = a.value.size() / a.n;
        Doubles mse(a.n);
        for (std::size_t k = 0; k < a.value.size(); ++k)
            mse[k / size] += (a.value[k] - b.value[k]) * (a.value[k] - b.value[k]) / double(size);
        double sum = 0;
        for (double m : mse) sum += (logarithm ? std::log(m) : m) / a.n;
        const Value y = push(1, 1, 1, 1, {sum});
        note([=, this] {
            for (std::size_t k = 0; k < a.value.size(); ++k)
                nodes_[x].gradient[k] += nodes_[y].gradient[0] * 2 * (a.value[k] - b.value[k]) /
                                         (double(size) * a.n * (logarithm ? mse[k / size] : 1));
        });
        return y;
    }

    /// Gradients of a scalar; once.
    void backward(Value loss) {
        nodes_[loss].gradient[0] = 1;
        for (auto step = notes_.rbegin(); step != notes_.rend(); ++step) (*step)();
    }

  private:
    Value push(int n, int c, int h, int w, Doubles values) {
        const std::size_t size = std::size_t(n) * c * h * w;
        values.resize(size);
        nodes_.push_back({n, c, h, w, std::move(values), Doubles(size)});
        return Value(nodes_.size()) - 1;
    }
    void store(const Node& node, Doubles& values) const {
        if (!features_ || node.c % 16 != 0) return;
        for (double& v : values) v = features_(v);
    }
    void hand_back(Value x, const Doubles& gradient) {
        add_to(nodes_[x].gradient, gradient);
        store(nodes_[x], nodes_[x].gradient);
    }
    void note(std::function<void()> step) { notes_.push_back(std::move(step)); }
    void keep_away(double distance) { margin_ = std::min(margin_, std::abs(distance)); }
    static void add_to(Doubles& sum, const Doubles& values) {
        for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += values[k];
    }
    template <class Visit>
    static void for_each(const Node& s, const Visit& visit) {
        for (int n = 0; n < s.n; ++n)
            for (int c = 0; c < s.c; ++c)
                for (int i = 0; i < s.h; ++i)
                    for (int j = 0; j < s.w; ++j) visit(n, c, i, j);
    }

    const NamedDoubles& parameters_;
    Rounding features_;
    NamedDoubles gradients_;
    std::vector<Node> nodes_;
    std::vector<std::function<void()>> notes_;
    double margin_ = std::numeric_limits<double>::infinity();
};

/// The reference's U-Net as PyTorch has it: upsampling first, then the 1×1 convolution.
inline Tape::Value unet(Tape& tape, Tape::Value image, const std::vector<int>& channels, int outputs,
                        double slope) {
    const auto double_convolution = [&](Tape::Value x, const std::string& name, int width) {
        x = tape.convolution(x, name + ".conv_block.0", width, 3, slope);
        return tape.convolution(x, name + ".conv_block.2", width, 3, slope);
    };
    const int levels = int(channels.size());
    std::vector<Tape::Value> features = {double_convolution(image, "c0x0", channels[0])};
    for (int i = 1; i < levels; ++i)
        features.push_back(double_convolution(tape.max_pool(features.back()),
                                              "encoder." + std::to_string(i - 1) + ".double_conv",
                                              channels[i]));
    Tape::Value x = features.back();
    for (int i = levels - 2; i >= 0; --i) {
        const std::string name = "decoder." + std::to_string(levels - 2 - i);
        x = tape.convolution(tape.upsample(x), name + ".upsampling.1", channels[i], 1, 1);
        x = double_convolution(tape.concatenate({features[i], x}), name + ".double_conv", channels[i]);
    }
    return tape.convolution(x, "c1x1", outputs, 1, 1);
}

/// One step of Adam on everything, t from 1.
struct Adam {
    double rate = 1e-4, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    NamedDoubles m = {}, v = {};
    int t = 0;

    void step(NamedDoubles& weights, const NamedDoubles& gradients) {
        ++t;
        for (auto& [name, w] : weights) {
            m[name].resize(w.size());
            v[name].resize(w.size());
            for (std::size_t k = 0; k < w.size(); ++k) {
                const double g = gradients.at(name)[k];
                m[name][k] = beta1 * m[name][k] + (1 - beta1) * g;
                v[name][k] = beta2 * v[name][k] + (1 - beta2) * g * g;
                const double mean = m[name][k] / (1 - std::pow(beta1, t));
                const double square = v[name][k] / (1 - std::pow(beta2, t));
                w[k] -= rate * mean / (std::sqrt(square) + eps);
            }
        }
    }
};

}  // namespace reference
