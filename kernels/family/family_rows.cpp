// Compiled once for each instruction set: the steps are said pixel by pixel (kernels/family/family_step.h), and inside a
// row every neighbour is one offset away, so that the compiler makes vectors of the loop; rows and columns at a border ask
// where their neighbours are.
#include "kernels/family/family_rows.h"

#include <algorithm>

#include "kernels/base/simd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/family/family_rows.cpp"
#include <hwy/foreach_target.h>  // before highway.h

#include <hwy/highway.h>

#ifdef __clang__
#pragma clang diagnostic ignored \
    "-Wpass-failed"  // where it makes no vectors of a loop (at -O1, say), results are the same
#endif

HWY_BEFORE_NAMESPACE();
namespace tvmap::cpu::HWY_NAMESPACE {

using namespace tvmap::family;

/// What a pixel of a pass writes, of the row that begins there; null where it writes nothing such.
struct Written {
    float *first = nullptr, *second = nullptr;
    std::uint8_t* code = nullptr;
};

/// The values of a pixel that are changed and not only written.
class Kept {
  public:
    Kept(const Written& at, int column) : at_(at), column_(column) {
        first_ = at.first[column];
        if (at.second != nullptr) second_ = at.second[column];
        if (at.code != nullptr) code_ = at.code[column];
    }
    void restore() const {
        at_.first[column_] = first_;
        if (at_.second != nullptr) at_.second[column_] = second_;
        if (at_.code != nullptr) at_.code[column_] = code_;
    }

  private:
    Written at_;
    int column_;
    float first_, second_ = 0;
    std::uint8_t code_ = 0;
};

/// pixel(inside, links, offset) for every pixel of a row; inside: std::true_type where all neighbours exist. No pixel of a
/// pass reads what another of it writes. columns: the ends that are not like the inside.
template <Columns columns, class Pixel>
[[gnu::flatten]] void for_row(const Task& t, int row, Written written, Pixel pixel) {
    const std::ptrdiff_t start = std::ptrdiff_t(row) * t.width;
    const int last = t.width - 1;
    const auto at = [&](int column) { return links(t.height, t.width, t.periodic, row, column); };
    if (row == 0 || row == t.height - 1 || last < 2) {
        for (int j = 0; j <= last; ++j) pixel(std::false_type(), at(j), start + j);
        return;
    }
    // The ends are first taken as if they lay inside, so that whole vectors are left, and then again as they are. In a row
    // between others what lies beyond an end is memory of the planes, but for what is below right of the last row but one.
    const int count = columns.last && row == t.height - 2 ? last : t.width;
    written = {written.first + start, advanced(written.second, start), advanced(written.code, start)};
    const Kept begin(written, 0), end(written, last);
    const Links within = at(1);
#pragma omp simd
    for (int j = 0; j < count; ++j) pixel(std::true_type(), within, start + j);
    if constexpr (columns.first) {
        begin.restore();
        pixel(std::false_type(), at(0), start);
    }
    if constexpr (columns.last) {
        end.restore();
        pixel(std::false_type(), at(last), start + last);
    }
}

/// body(std::integral_constant<int, …>()) for 0 … count − 1.
template <int count, class Body>
void for_each_of(const Body& body) {
    if constexpr (count > 0) {
        for_each_of<count - 1>(body);
        body(std::integral_constant<int, count - 1>());
    }
}

// A pass goes over the row once for each component or field. All at once would read and write up to twenty planes side by
// side, which, where a plane is a multiple of 4 KB, lie in the same eight places of the first cache.

template <Regulariser r, MapKind kind, bool masks, bool huber>
void dual_row_of(const Task& t, const Solve& s, int row) {
    const float a = t.a, scale = t.s;
    const Written of_image{s.r, nullptr, masks && huber ? s.masks : nullptr};
    for_row<Columns{}>(t, row, of_image, [=](auto, const Links&, std::ptrdiff_t here) {
        if constexpr (huber) {
            const int digit = huber_image_pixel<r>(a, scale, s, here);
            if constexpr (masks) s.masks[here] = std::uint8_t(digit);
        } else {
            dual_image_pixel(a, scale, s, here);
        }
    });
    for_each_of<components(r)>([&](auto component) {
        constexpr int c = decltype(component)::value;
        const Written written{s.q + c * s.plane, nullptr, masks ? s.masks : nullptr};
        for_row<difference_ends(r, c)>(
            t, row, written, [=](auto inside, const Links& at, std::ptrdiff_t here) {
                const int digit = dual_component<r, kind, c, decltype(inside)::value>(a, s, at, here);
                if constexpr (masks)
                    s.masks[here] = std::uint8_t(c == 0 && !huber ? digit : s.masks[here] + digit);
            });
    });
}

void dual_row(const Task& t, FamilyKind k, int solve, int row, int step) {
    const Solve s = solve_of(t, solve, step);
    for_regulariser(k.regulariser, [&](auto regulariser) {
        for_map(k.map, [&](auto map) {
            constexpr Regulariser r = regulariser.value;
            constexpr MapKind m = map.value;
            if (t.huber) {
                if constexpr (r != Regulariser::tgv)
                    k.masks ? dual_row_of<r, m, true, true>(t, s, row)
                            : dual_row_of<r, m, false, true>(t, s, row);
            } else {
                k.masks ? dual_row_of<r, m, true, false>(t, s, row)
                        : dual_row_of<r, m, false, false>(t, s, row);
            }
        });
    });
}

template <Regulariser r, MapKind kind, bool huber>
void adjoint_dual_row_of(const Task& t, const Solve& s, int row) {
    const float a = t.a, scale = t.s;
    for_row<Columns{}>(t, row, {s.r, s.sum_r}, [=](auto, const Links&, std::ptrdiff_t here) {
        if constexpr (huber)
            adjoint_huber_image_pixel(a, scale, s, here, digit<components(r)>(s.masks[here]));
        else
            adjoint_dual_image_pixel(a, scale, s, here);
    });
    for_each_of<components(r)>([&](auto component) {
        constexpr int c = decltype(component)::value;
        const Written written{s.q + c * s.plane, s.d_maps + map_number<r, kind>(c) * s.plane};
        for_row<difference_ends(r, c)>(
            t, row, written, [=](auto inside, const Links& at, std::ptrdiff_t here) {
                const int e = digit<c>(s.masks[here]);
                adjoint_component<r, kind, c, decltype(inside)::value>(a, s, at, here, e);
            });
    });
}

void adjoint_dual_row(const Task& t, FamilyKind k, int solve, int row, int step) {
    const Solve s = solve_of(t, solve, step);
    for_regulariser(k.regulariser, [&](auto regulariser) {
        const auto by_map = [&](auto huber) {
            constexpr Regulariser r = regulariser.value;
            constexpr bool by_huber = decltype(huber)::value;
            k.map == MapKind::separate ? adjoint_dual_row_of<r, MapKind::separate, by_huber>(t, s, row)
                                       : adjoint_dual_row_of<r, MapKind::shared, by_huber>(t, s, row);
        };
        if constexpr (regulariser.value != Regulariser::tgv)
            if (t.huber) return by_map(std::true_type());
        by_map(std::false_type());
    });
}

void primal_row(const Task& t, FamilyKind k, int solve, int row) {
    const Solve s = solve_of(t, solve, 0);
    const float *dual = t.adjoint ? s.n : s.r, b = t.b, theta = t.theta;
    for_regulariser(k.regulariser, [&](auto regulariser) {
        for_each_of<primal_planes(regulariser.value)>([&](auto field) {
            constexpr Regulariser r = regulariser.value;
            constexpr int f = decltype(field)::value;
            const Written written{s.u + f * s.plane};
            for_row<adjoint_ends(f)>(t, row, written, [=](auto inside, const Links& at, std::ptrdiff_t here) {
                primal_field<r, f, decltype(inside)::value>(b, theta, dual, s, at, here);
            });
        });
    });
}

/// Tap by tap over the whole row.
void blur_row(const DataOperator& n, const float* x, int row, float* out) {
    std::fill_n(out, n.width, 0.0f);
    for (int a = 0; a < n.rows; ++a) {
        const float* from = x + std::int64_t(wrapped(row + a - n.rows / 2, n.height)) * n.width;
        for (int b = 0; b < n.columns; ++b) {
            const float tap = n.values[a * n.columns + b];
            const int shift = wrapped(b - n.columns / 2, n.width), before = n.width - shift;
#pragma omp simd
            for (int j = 0; j < before; ++j) out[j] = out[j] + tap * from[j + shift];
#pragma omp simd
            for (int j = before; j < n.width; ++j) out[j] = out[j] + tap * from[j - before];
        }
    }
}

}  // namespace tvmap::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tvmap::cpu {

HWY_EXPORT(dual_row);
HWY_EXPORT(adjoint_dual_row);
HWY_EXPORT(primal_row);
HWY_EXPORT(blur_row);

void family_dual_row(const family::Task& t, FamilyKind kind, int solve, int row, int step) {
    HWY_DYNAMIC_DISPATCH(dual_row)(t, kind, solve, row, step);
}
void family_adjoint_dual_row(const family::Task& t, FamilyKind kind, int solve, int row, int step) {
    HWY_DYNAMIC_DISPATCH(adjoint_dual_row)(t, kind, solve, row, step);
}
void family_primal_row(const family::Task& t, FamilyKind kind, int solve, int row) {
    HWY_DYNAMIC_DISPATCH(primal_row)(t, kind, solve, row);
}
void family_blur_row(const family::DataOperator& n, const float* x, int row, float* out) {
    HWY_DYNAMIC_DISPATCH(blur_row)(n, x, row, out);
}

}  // namespace tvmap::cpu
#endif
