// A phantom adds and removes attenuation as a body does, in display units (air 0, bone near 1), at positions
// (x, y) in [−1, 1]², x to the right, y down, before a small rotation, shift and zoom:
//     tissue − lungs·(1 − heart) + mediastinum, heart, spine, ribs, clavicles + vessels and texture
// then a tone curve and a collimator. Borders have their own softness, never finer than a pixel.
#include "engine/data/phantoms.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <numbers>

#include "engine/data/smooth_noise.h"
#include "engine/files/file.h"
#include "engine/pictures/image.h"
#include "kernels/base/error.h"
#include "kernels/training/random.h"

namespace tvmap {
namespace {

using std::numbers::pi;

/// Numbers for one phantom, each used once, in a fixed order.
class Draws {
  public:
    Draws(std::uint64_t seed, std::uint32_t index) : seed_(seed), index_(index) {}
    double operator()(double from, double to) {
        return from + (to - from) * uniform(seed_, Purpose::phantom, 0, index_, next_++);
    }
    bool chance(double probability) { return (*this)(0, 1) < probability; }

  private:
    std::uint64_t seed_;
    std::uint32_t index_;
    std::uint32_t next_ = 0;
};

/// From 0 (distance ≤ −soft) to 1 (distance ≥ soft), smoothly.
double rise(double distance, double soft) {
    const double t = std::clamp(0.5 + 0.5 * distance / soft, 0.0, 1.0);
    return t * t * (3 - 2 * t);
}

double square(double x) { return x * x; }

/// Signed distance to an ellipse's border, exact enough near it: positive inside.
double inside_ellipse(double x, double y, double radius_x, double radius_y) {
    const double r = std::hypot(x / radius_x, y / radius_y);
    const double slope = std::hypot(x / square(radius_x), y / square(radius_y));
    return slope > 0 ? (1 - r) * r / slope : std::min(radius_x, radius_y);
}

/// What a bone of half-width `half` at `distance` from its axis adds: a plateau with brighter, denser rims.
double bone(double distance, double half, double soft) {
    const double depth = half - std::abs(distance);
    return rise(depth, soft) * (0.62 + 0.38 * std::exp(-square((depth - 0.25 * half) / (0.35 * half))));
}

/// One side's lung, cage and diaphragm; x counts from the midline outward.
struct Side {
    double lung_inner, lung_outer, apex, dome, dome_centre, dome_curve;
    double soft_border, darkness;
};

struct Anatomy {
    double pixel;  // its side in units of (x, y)
    double angle, zoom, shift_x, shift_y;
    double air, tissue, abdomen, shoulder_y, waist, neck;
    Side sides[2];
    double mediastinum, heart_x, heart_y, heart_width, heart_height, heart_tilt, heart_density;
    double spine_half, spine_density, disc_pitch, disc_phase, trachea;
    int ribs;
    double rib_top, rib_pitch, rib_half, rib_density, rib_droop, rib_arch, front_slope, front_density;
    double clavicle_y, clavicle_slope, clavicle_bend, clavicle_half, clavicle_density;
    double lung_texture, bone_texture, tissue_texture, gas;
    double gas_x, gas_y, gas_radius;
    double gamma, exposure;
    double frame_angle, frame_left, frame_right, frame_top, frame_bottom, frame_level;
    bool marker, wire;
    double marker_x, marker_y, marker_size, wire_x, wire_y, wire_bend, wire_half;

    Anatomy(Draws& draw, int size) {
        pixel = 2.0 / size;
        angle = draw(-0.07, 0.07), zoom = draw(0.9, 1.12);
        shift_x = draw(-0.07, 0.07), shift_y = draw(-0.06, 0.08);
        air = draw(0.02, 0.1), tissue = draw(0.46, 0.56), abdomen = draw(0.1, 0.2);
        shoulder_y = draw(-0.86, -0.7), waist = draw(0.86, 1.0), neck = draw(0.22, 0.32);
        for (Side& side : sides) {
            side.lung_inner = draw(0.12, 0.17), side.lung_outer = draw(0.66, 0.76);
            side.apex = draw(-0.78, -0.68), side.dome = draw(0.36, 0.52);
            side.dome_centre = draw(0.32, 0.42), side.dome_curve = draw(0.5, 0.9);
            side.soft_border = draw(0.02, 0.035), side.darkness = draw(0.24, 0.36);
        }
        sides[1].dome += 0.04;  // the heart's side, which lies lower and is drawn on the right
        mediastinum = draw(0.06, 0.11);
        heart_x = draw(0.1, 0.17), heart_y = draw(0.14, 0.24), heart_tilt = draw(0.5, 0.9);
        heart_width = draw(0.25, 0.33), heart_height = draw(0.34, 0.42), heart_density = draw(0.04, 0.11);
        spine_half = draw(0.075, 0.1), spine_density = draw(0.08, 0.14);
        disc_pitch = draw(0.12, 0.15), disc_phase = draw(0, 1), trachea = draw(0.06, 0.12);
        ribs = 8 + int(draw(0, 3));
        rib_pitch = draw(0.135, 0.155), rib_top = draw(-0.8, -0.72), rib_half = draw(0.028, 0.04);
        rib_density = draw(0.11, 0.19), rib_droop = draw(0.16, 0.3), rib_arch = draw(0.03, 0.09);
        front_slope = draw(0.3, 0.5), front_density = draw(0.4, 0.7);
        clavicle_y = draw(-0.7, -0.6), clavicle_slope = draw(0.08, 0.26), clavicle_bend = draw(0.02, 0.05);
        clavicle_half = draw(0.026, 0.036), clavicle_density = draw(0.14, 0.24);
        lung_texture = draw(0.03, 0.07), bone_texture = draw(0.02, 0.05), tissue_texture = draw(0, 0.002);
        gas = draw(0.12, 0.3), gas_x = draw(0.25, 0.5), gas_y = draw(0.72, 0.88),
        gas_radius = draw(0.08, 0.16);
        gamma = draw(0.85, 1.1), exposure = draw(0.85, 1.0);
        const bool collimated = draw.chance(0.8);
        frame_angle = draw(-0.04, 0.04), frame_level = draw(0, 0.03);
        double* edges[] = {&frame_left, &frame_right, &frame_top, &frame_bottom};
        for (double* edge : edges) *edge = collimated ? draw(0.74, 1.0) : draw(2, 3);
        marker = draw.chance(0.7), wire = draw.chance(0.4);
        marker_x = draw(-0.72, -0.62), marker_y = draw(-0.7, -0.5), marker_size = draw(0.04, 0.06);
        wire_x = draw(-0.5, 0.5), wire_y = draw(-0.2, 0.3), wire_bend = draw(-0.8, 0.8);
        wire_half = draw(0.007, 0.012);
    }

    double soft(double width) const { return std::max(width, 0.75 * pixel); }
};

/// Blood vessels: a tree per lung, drawn once into a picture.
class Vessels {
  public:
    Vessels(Draws& draw, int size) : size_(size), values_(std::size_t(size) * size) {
        for (const int direction : {-1, 1})
            for (int trunk = 0; trunk < 7; ++trunk)
                grow(draw, direction * draw(0.13, 0.18), draw(-0.14, 0.06),
                     -1.25 + 0.42 * trunk + draw(-0.15, 0.15), direction, draw(0.014, 0.02), draw(0.2, 0.32),
                     0);
    }

    /// At a position in the anatomy's coordinates, between pixels.
    double operator()(double x, double y) const {
        const double across = std::clamp((x + 1) / 2 * size_ - 0.5, 0.0, size_ - 1.001);
        const double down = std::clamp((y + 1) / 2 * size_ - 0.5, 0.0, size_ - 1.001);
        const int j = int(across), i = int(down);
        const double u = across - j, v = down - i;
        const float* at = &values_[std::size_t(i) * size_ + j];
        return (1 - v) * ((1 - u) * at[0] + u * at[1]) + v * ((1 - u) * at[size_] + u * at[size_ + 1]);
    }

  private:
    void grow(Draws& draw, double x, double y, double heading, int direction, double half, double density,
              int depth) {
        const int steps = 3 + int(draw(0, 3));
        for (int step = 0; step < steps; ++step) {
            const double length = draw(0.03, 0.06);
            heading += draw(-0.25, 0.25);
            const double to_x = x + direction * length * std::cos(heading),
                         to_y = y + length * std::sin(heading);
            segment(x, y, to_x, to_y, half, density);
            x = to_x, y = to_y, half *= 0.93, density *= 0.96;
        }
        if (depth == 4 || half < 0.003) return;
        const double spread = draw(0.25, 0.6);
        grow(draw, x, y, heading + spread, direction, 0.75 * half, 0.85 * density, depth + 1);
        grow(draw, x, y, heading - spread, direction, 0.75 * half, 0.85 * density, depth + 1);
    }

    /// A round tube's shadow, √(1 − (d/half)²) softened, where it exceeds what is there. Thinner than a pixel
    /// it is a pixel wide and fainter.
    void segment(double x0, double y0, double x1, double y1, double half, double density) {
        const double pixel = 2.0 / size_, reach = std::max(half, 0.7 * pixel);
        const double peak = density * std::min(1.0, half / reach);
        const auto column = [&](double x) { return (x + 1) / pixel - 0.5; };
        const int left = std::max(0, int(std::floor(column(std::min(x0, x1) - 2 * reach))));
        const int right = std::min(size_ - 1, int(std::ceil(column(std::max(x0, x1) + 2 * reach))));
        const int top = std::max(0, int(std::floor(column(std::min(y0, y1) - 2 * reach))));
        const int bottom = std::min(size_ - 1, int(std::ceil(column(std::max(y0, y1) + 2 * reach))));
        const double dx = x1 - x0, dy = y1 - y0, length_squared = dx * dx + dy * dy;
        for (int i = top; i <= bottom; ++i)
            for (int j = left; j <= right; ++j) {
                const double x = (j + 0.5) * pixel - 1 - x0, y = (i + 0.5) * pixel - 1 - y0;
                const double t = std::clamp((x * dx + y * dy) / length_squared, 0.0, 1.0);
                const double d = (square(x - t * dx) + square(y - t * dy)) / square(reach);
                float& value = values_[std::size_t(i) * size_ + j];
                value = std::max(value, float(peak * std::exp(-d * d)));
            }
    }

    int size_;
    std::vector<float> values_;
};

/// Bones of the chest wall on one side. s ≥ 0 is the distance from the midline.
double chest_wall(const Anatomy& a, const Side& side, double s, double y) {
    const double outer = (side.lung_outer + 0.05) * (1 - 0.45 * square(std::max(0.0, -0.05 - y)));
    if (s > outer + 0.05) return 0;
    const double start = 0.6 * a.spine_half;
    const double t = std::clamp((s - start) / (outer - start), 0.0, 1.0);
    // Behind, a rib leaves the spine, arches up and droops outward; in front it falls toward the midline.
    const double back = -a.rib_arch * std::sin(pi * std::min(1.0, 1.4 * t)) + a.rib_droop * t * t * t;
    const double back_slope =
        (t < 1 / 1.4 ? -a.rib_arch * 1.4 * pi * std::cos(1.4 * pi * t) : 0) + 3 * a.rib_droop * t * t;
    const double back_stretch = std::hypot(1, back_slope / (outer - start));
    const double front = a.rib_droop + a.front_slope * (1 - t) + 0.3 * square(1 - t);
    const double front_stretch = std::hypot(1, (a.front_slope + 0.6 * (1 - t)) / (outer - start));
    const double in_front = rise(t - 0.38, 0.1);
    const double edge = rise(outer - s, a.soft(0.02));
    // Seen edge-on at the side of the chest, a rib is denser.
    const double tangential = 1 + 0.9 * rise(t - 0.88, 0.1);

    double density = 0;
    for (int k = 0; k < a.ribs; ++k) {
        const double root = a.rib_top + k * a.rib_pitch;
        const double half = a.rib_half * (1 - 0.02 * std::abs(k - 4));
        const double behind = (y - root - back) / back_stretch;
        if (std::abs(behind) < 2 * half) density += tangential * bone(behind, half, a.soft(0.008));
        if (k < 7) {
            const double before = (y - root - front) / front_stretch;
            if (std::abs(before) < 2 * half)
                density += in_front * a.front_density * bone(before, 1.1 * half, a.soft(0.012));
        }
    }
    return a.rib_density * edge * density;
}

double clavicle(const Anatomy& a, double s, double y) {
    if (s < 0.05 || s > 0.8) return 0;
    const double axis = a.clavicle_y - a.clavicle_slope * (s - 0.1) + a.clavicle_bend * std::sin(9 * s);
    const double ends = rise(s - 0.09, 0.03) * rise(0.74 - s, 0.05);
    const double head = 1 + 0.5 * rise(0.2 - s, 0.1);
    return a.clavicle_density * ends * bone(y - axis, a.clavicle_half * head, a.soft(0.007));
}

struct Textures {
    const SmoothNoise &coarse, &middle, &fine, &grain;
};

/// Display value at (x, y) of the anatomy.
double attenuation(const Anatomy& a, const Textures& texture, const Vessels& vessels, double x, double y) {
    const Side& side = a.sides[x > 0];
    const double s = std::abs(x);
    const double right = rise(x, 0.12);  // the two halves of the diaphragm meet smoothly behind the heart
    const double across = x + 1.6, down = y + 1.6;  // textures begin at 0

    // Outline: neck, sloping shoulders, then the trunk's flank.
    const double shoulder =
        a.shoulder_y + 0.28 * square(std::max(0.0, s - a.neck)) - 0.25 * rise(a.neck - s, 0.15);
    const double flank = a.waist + 0.08 * std::cos(1.5 * y) + 0.5 * square(std::max(0.0, -0.35 - y));
    const double depth = std::min(y - shoulder + 0.1, flank - s);
    const double body = rise(depth, a.soft(0.012));
    if (body == 0) return a.air;
    const double thickness = 1 - 0.75 * std::exp(-std::max(0.0, depth) / 0.12);

    // Lung: a tall ellipse between the mediastinum and the chest wall, cut by the diaphragm.
    const double middle = 0.5 * (side.lung_inner + side.lung_outer), half = side.lung_outer - middle;
    const double centre_y = 0.5 * (side.apex + 0.75);
    const double narrowing = 1 - 0.3 * square(std::max(0.0, centre_y - y) / (centre_y - side.apex));
    const double oval = inside_ellipse((s - middle + 0.06 * (1 - narrowing)) / narrowing, y - centre_y,
                                       half * 1.12, 0.75 - centre_y);
    const auto dome_of = [&](const Side& d) { return d.dome + d.dome_curve * square(s - d.dome_centre); };
    const double dome = right * dome_of(a.sides[1]) + (1 - right) * dome_of(a.sides[0]) - y;
    const double clear_of_middle = s - side.lung_inner - 0.015 * std::sin(7 * y);
    double lung = rise(oval, a.soft(side.soft_border)) * rise(dome, a.soft(0.012)) *
                  rise(clear_of_middle, a.soft(0.025));

    const double hx = x - a.heart_x, hy = y - a.heart_y;
    const double c = std::cos(a.heart_tilt), n = std::sin(a.heart_tilt);
    const double heart =
        rise(inside_ellipse(c * hx + n * hy, c * hy - n * hx, a.heart_height, a.heart_width), a.soft(0.014)) *
        rise(dome + 0.12, 0.1);
    lung *= 1 - 0.9 * heart;

    const double below = rise(-dome, a.soft(0.014)) * rise(flank - 0.04 - s, 0.06);
    double value = (a.tissue + 0.03 * texture.coarse(across, down)) * thickness;
    value += body * a.abdomen * below * (1 - 0.2 * s);
    value -= side.darkness * lung * (0.85 + 0.15 * rise(0.3 - y, 0.8));
    value += a.heart_density * heart;
    value += a.mediastinum * rise(0.16 + 0.05 * y - s, a.soft(0.035)) * body;

    const double spine = rise(a.spine_half - s, a.soft(0.01));
    const double cycle = y / a.disc_pitch + a.disc_phase, phase = cycle - std::floor(cycle) - 0.5;
    const double plate = rise(0.085 - std::abs(std::abs(phase) - 0.36), 0.06);
    const double disc = rise(std::abs(phase) - 0.4, 0.05);
    value += body * a.spine_density * spine * (0.6 + 0.5 * plate - 0.45 * disc);
    value -= body * a.trachea * rise(0.055 - std::abs(x - 0.01), a.soft(0.02)) * rise(-0.22 - y, 0.08);

    const double ribs = chest_wall(a, side, s, y) * (1 - 0.7 * below) * (1 - 0.6 * heart);
    const double collar = clavicle(a, s, y);
    value += body * (ribs + collar);

    // Texture where there is some: lungs, marrow, gas; hardly any in muscle and fluid.
    const double fine = texture.fine(across, down), mid = texture.middle(across, down);
    value += lung * (vessels(x, y) + a.lung_texture * (0.7 * fine + 0.6 * mid));
    const double marrow = spine + std::min(1.0, (ribs / a.rib_density + collar / a.clavicle_density) * 0.5);
    value += body * marrow * a.bone_texture * fine;
    value += body * a.tissue_texture * texture.grain(across, down);
    const double bubble =
        inside_ellipse(x - a.gas_x, y - a.gas_y, 1.6 * a.gas_radius, a.gas_radius) + 0.03 * mid;
    value -= body * a.gas * rise(bubble, a.soft(0.012)) * below;

    if (a.wire) {
        const double axis = a.wire_y + a.wire_bend * (x - a.wire_x) + 0.35 * std::sin(3 * (x - a.wire_x));
        const double slope = std::hypot(1, a.wire_bend + 1.05 * std::cos(3 * (x - a.wire_x)));
        value += 0.2 * rise(a.wire_half - std::abs(y - axis) / slope, a.soft(0.004));
    }
    return body * value + (1 - body) * a.air;
}

}  // namespace

std::vector<float> phantom(std::uint64_t seed, std::uint32_t index, int size) {
    if (size < 8) fail("phantoms of ", size, "×", size, " are too small; choose a size of at least 8");
    Draws draw(seed, index);
    const Anatomy a(draw, size);
    const Vessels vessels(draw, size);
    const auto texture = [&](std::uint32_t layer, double wavelength) {
        return SmoothNoise(seed, index, layer, 3.2, std::max(wavelength, 2.5 * a.pixel));
    };
    const SmoothNoise coarse = texture(1, 0.9), middle = texture(2, 0.09), fine = texture(3, 0.035),
                      grain = texture(4, 0.02);
    const Textures textures{coarse, middle, fine, grain};

    const double c = std::cos(a.angle) / a.zoom, n = std::sin(a.angle) / a.zoom;
    std::vector<float> values(std::size_t(size) * size);
    for (int i = 0; i < size; ++i)
        for (int j = 0; j < size; ++j) {
            const double u = (j + 0.5) * a.pixel - 1, v = (i + 0.5) * a.pixel - 1;
            const double x = c * (u - a.shift_x) + n * (v - a.shift_y);
            const double y = c * (v - a.shift_y) - n * (u - a.shift_x);
            const double value = attenuation(a, textures, vessels, x, y);
            double shown = a.exposure * std::pow(std::clamp(value, 0.0, 1.2), a.gamma);
            // A letter's strokes, lead on the cassette, then the collimator in its own frame.
            const double mx = (u - a.marker_x) / a.marker_size, my = (v - a.marker_y) / a.marker_size;
            if (a.marker && std::abs(mx) < 1 && std::abs(my) < 1.4 && (mx < -0.55 || my > 0.95)) shown = 1;
            const double fu = u + a.frame_angle * v, fv = v - a.frame_angle * u;
            const double open = std::min(std::min(fu + a.frame_left, a.frame_right - fu),
                                         std::min(fv + a.frame_top, a.frame_bottom - fv));
            const double lit = rise(open, 0.75 * a.pixel);
            values[std::size_t(i) * size + j] =
                float(std::clamp(lit * shown + (1 - lit) * a.frame_level, 0.0, 1.0));
        }
    return values;
}

std::string phantom_name(std::uint32_t index) {
    std::string number = text(index);
    number.insert(0, 5 - std::min<std::size_t>(5, number.size()), '0');
    return "phantom_" + number + ".png";
}

void write_phantoms(const std::string& folder, int count, int size, std::uint64_t seed, std::uint32_t first) {
    if (count < 1) fail("cannot write ", count, " phantoms to ", folder, "; ask for at least 1");
    make_folder(folder);
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < count; ++i) {
        try {
            const std::uint32_t index = first + std::uint32_t(i);
            write_png(folder + "/" + phantom_name(index), {size, size, 1, 8, phantom(seed, index, size)});
        } catch (...) {
#pragma omp critical(tvmap_phantoms)
            if (!failure) failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
}

}  // namespace tvmap
