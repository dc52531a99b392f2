#include "engine/evaluation/example_figures.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/files/decimal.h"
#include "engine/files/format.h"
#include "engine/files/printable.h"
#include "engine/solver/search.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr int cell = 240, highest_cell = 360, gap = 10, margin = 26, row_of_text = 17;  // pixels

/// A rectangle of the figure, in pixels from its upper left corner.
struct Place {
    double left, top, width, height;
};

/// Writes the plots of a figure of a fixed size.
class Canvas {
  public:
    Canvas(int width, int height) : width_(width), height_(height) {
        commands_ =
            "set multiplot\nunset key\nunset tics\nunset colorbox\nset border 15 lc rgb '#404040' lw 0.6\n" +
            palette_command();
    }

    double x(double pixels) const { return pixels / width_; }
    double y(double pixels) const { return 1 - pixels / height_; }

    /// Margins of the next plot.
    void place(const Place& p) {
        commands_ +=
            format("set lmargin at screen %.6f\nset rmargin at screen %.6f\n", x(p.left),
                   x(p.left + p.width)) +
            format("set tmargin at screen %.6f\nset bmargin at screen %.6f\n", y(p.top), y(p.top + p.height));
    }

    /// A line of text, its middle at a point; upright or turned by 90 degrees.
    void write(const std::string& line, double left, double top, const char* how = "center") {
        commands_ += format("set label %s at screen %.6f, screen %.6f %s noenhanced\n", quoted(line).c_str(),
                            x(left), y(top), how);
    }

    void add(const std::string& commands) { commands_ += commands; }

    /// A colour bar below plots, for the next one that has colours.
    void colour_bar(const Place& p) {
        commands_ += format(
            "set colorbox horizontal user origin screen %.6f, screen %.6f size screen %.6f, screen %.6f\n",
            x(p.left), y(p.top + p.height), x(p.width), p.height / height_);
    }

    /// Draws, and clears what belonged to this plot alone.
    void plot(const std::string& what) {
        commands_ += "plot " + what + "\nunset label\nunset object\nunset colorbox\n";
    }

    Figure figure(const std::string& name) const {
        return {name, width_, height_, commands_ + "unset multiplot\n"};
    }

  private:
    int width_, height_;
    std::string commands_;
};

/// The axes of an image, or of a part of it: pixel centres lie on whole numbers, row 0 on top. (A hair's breadth less, or
/// gnuplot's SVG also shows the pixels that the part ends at.)
std::string ranges(const ExampleScales& s, const Part& part) {
    constexpr double half = 0.499;
    return format("set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\n", part.left - half,
                  part.left + part.width - 1 + half, s.height - part.top - part.height - half,
                  s.height - part.top - 1 + half);
}

Part whole(const ExampleScales& s) { return {0, 0, s.height, s.width}; }

/// How large an image is in a figure.
struct Size {
    double width, height;
};
Size shown_size(const ExampleScales& s) {
    const double scale = std::min(double(cell) / s.width, double(highest_cell) / s.height);
    return {std::round(scale * s.width), std::round(scale * s.height)};
}

/// The image's place in a column that starts at `left` and is as wide as a cell.
Place centred(double left, double top, const Size& size) {
    return {left + (cell - size.width) / 2, top, size.width, size.height};
}

std::string path(const EvaluatedImage& image, const char* part) {
    return quoted("images/" + image.name + part);
}

std::string grey(const EvaluatedImage& image, const char* part) {
    return path(image, part) + " binary filetype=png with rgbimage";
}

/// A plane of an array.
std::string coloured(const EvaluatedImage& image, const char* part, const ExampleScales& s,
                     std::size_t header, int plane) {
    return path(image, part) + format(" binary skip=%zu array=(%d,%d) format='%%float' flipy with image",
                                      header + std::size_t(plane) * s.height * s.width * sizeof(float),
                                      s.width, s.height);
}

std::string map_plane(const EvaluatedImage& image, const ExampleScales& s, int map) {
    return coloured(image, "_lambda.npy", s, s.header, map);
}

std::string quality_line(const Quality& quality) {
    const auto number = [](double value, int digits) {
        return std::isfinite(value) ? format("%.*f", digits, value) : "–";
    };
    return number(quality.psnr, 2) + " dB, SSIM " + number(quality.ssim, 3);
}

/// The end of a name that is too long for a cell.
std::string shortened(const std::string& name) {
    constexpr std::size_t most = 32;
    if (name.size() <= most) return printable(name);
    std::size_t from = name.size() - most;
    while (from < name.size() && (name[from] & 0xc0) == 0x80) ++from;  // a character's start
    return "…" + printable(name.substr(from));
}

/// gnuplot's list of ticks: each its number, at `place` of it. All are powers of ten, or none.
std::string tick_list(const std::vector<double>& ticks, double (*place)(double)) {
    const bool powers = !ticks.empty() && ticks.front() > 0 && ticks.front() < 1e-3 &&
                        std::all_of(ticks.begin(), ticks.end(), [](double tick) {
                            const double exponent = std::log10(tick);
                            return std::abs(exponent - std::round(exponent)) < 1e-9;
                        });
    std::string list;
    for (const double tick : ticks)
        list += (list.empty() ? "'" : ", '") +
                (powers ? format("1e%d", int(std::lround(std::log10(tick)))) : rounded_decimal(tick, 2)) +
                format("' %.9g", place(tick));
    return "(" + list + ")";
}

double itself(double value) { return value; }

std::string colour_range(const Span& span, bool logarithmic) {
    return format("%s logscale cb\nset cbrange [%.9g:%.9g]\n", logarithmic ? "set" : "unset", span.from,
                  span.to) +
           "set cbtics " + tick_list(logarithmic ? logarithmic_ticks(span) : linear_ticks(span), itself) +
           " nomirror scale 0.4 offset 0,0.5\n";
}

/// Of the picture that is shown: the best scalar by PSNR, whose SSIM may not be the best.
Quality shown_scalar(const EvaluatedImage& image) {
    const auto best = best_of(image.curve, &Quality::psnr);
    return best ? image.curve[*best] : image.scalar;
}

const char* map_name(int maps, int map) {
    return maps == 1 ? "Λ" : map == 0 ? "Λ, vertical" : "Λ, horizontal";
}

}  // namespace

Figure panel_figure(const EvaluatedImage& image, const ExampleScales& s) {
    const Size size = shown_size(s);
    const double first = 2 * row_of_text + 8, second = first + size.height + gap,
                 third = second + size.height + row_of_text + 8, bars = third + size.height + 8;
    Canvas canvas(margin + 4 * (cell + gap) + margin / 2, int(bars) + 34);
    const auto left = [](int column) { return double(margin + column * (cell + gap)); };
    const auto middle = [&](int column) { return left(column) + cell / 2.0; };

    const char* parts[] = {"_clean.png", "_noisy.png", "_scalar.png", "_map.png"};
    const std::string titles[] = {"clean", "noisy, σ = " + rounded_decimal(image.sigma, 3),
                                  "best scalar λ = " + rounded_decimal(image.scalar_at.psnr, 3),
                                  s.maps > 0 ? "learned map Λ" : "network"},
                      lines[] = {shortened(image.name), quality_line(image.noisy),
                                 quality_line(shown_scalar(image)), quality_line(image.map)};
    for (int column = 0; column < 4; ++column) {
        canvas.place(centred(left(column), first, size));
        canvas.write(titles[column], middle(column), 0.5 * row_of_text + 4);
        canvas.write(lines[column], middle(column), 1.5 * row_of_text + 4);
        // The frame of what is magnified: white on dark parts, black on bright ones.
        for (const auto& [number, style] : {std::pair(1, "'#000000' lw 2.2"), std::pair(2, "'#ffffff' lw 1")})
            canvas.add(
                format("set object %d rectangle from %g,%g to %g,%g front fillstyle empty border lc rgb %s\n",
                       number, s.detail.left - 0.5, s.height - s.detail.top - s.detail.height - 0.5,
                       s.detail.left + s.detail.width - 0.5, s.height - s.detail.top - 0.5, style));
        canvas.add(ranges(s, whole(s)));
        canvas.plot(grey(image, parts[column]));

        canvas.place(centred(left(column), second, size));
        if (column == 0)
            canvas.write(format("detail, %.3g times larger", double(s.width) / s.detail.width), margin / 2.0,
                         second + size.height / 2, "center rotate by 90");
        canvas.add(ranges(s, s.detail));
        canvas.plot(grey(image, parts[column]));
    }

    const std::string errors[] = {"|noisy − clean|", "|scalar − clean|",
                                  s.maps > 0 ? "|map − clean|" : "|network − clean|"};
    const auto bar = [&](int column, int columns) {
        // With room for half a number at each end.
        canvas.colour_bar({left(column) + gap, bars, double(columns * (cell + gap) - 3 * gap), 9});
    };
    const int first_error = std::max(s.maps, 1);  // without a map, nothing stands below the clean image
    for (int column = s.maps > 0 ? 0 : 1; column < 4; ++column) {
        const bool is_map = column < s.maps;
        canvas.place(centred(left(column), third, size));
        canvas.write(
            is_map ? text(map_name(s.maps, column), s.maps == 1 ? "" : " differences") : errors[column - 1],
            middle(column), third - 0.5 * row_of_text - 4);
        canvas.add(ranges(s, whole(s)) + colour_range(is_map ? s.lambda : s.error, is_map));
        if (is_map && column == 0) bar(0, s.maps);
        if (column == first_error) bar(column, 4 - column);
        canvas.plot(is_map ? map_plane(image, s, column)
                           : coloured(image, "_error.npy", s, s.error_header, column - first_error));
    }
    return canvas.figure("images/" + image.name + "_panel");
}

Figure maps_figure(const EvaluatedImage& image, const ExampleScales& s) {
    constexpr int top = row_of_text + 8, below = 58, axis = 48, plot = 330, pitch = cell + 3 * gap;
    const Size size = shown_size(s);
    const double row = top + size.height + below;
    Canvas canvas(margin / 2 + 2 * pitch + axis + plot + 2 * gap, int(s.maps * row));
    const std::string ticks =
        tick_list(logarithmic_ticks(s.all_lambda), [](double value) { return std::log10(value); });
    for (int map = 0; map < s.maps; ++map) {
        const double upper = map * row + top, title = upper - 0.5 * row_of_text - 4;
        for (int column = 0; column < 2; ++column) {
            const double left = margin / 2.0 + column * pitch;
            canvas.place(centred(left, upper, size));
            canvas.write(text(map_name(s.maps, map), column ? ", logarithmic scale" : ", linear scale"),
                         left + cell / 2.0, title);
            canvas.add(ranges(s, whole(s)) + colour_range(column ? s.lambda : Span{0, s.lambda.to}, column));
            canvas.colour_bar({left, upper + size.height + 6, cell, 9});
            canvas.plot(map_plane(image, s, map));
        }
        const double left = margin / 2.0 + 2 * pitch + axis;
        canvas.place({left, upper, plot, size.height});
        canvas.write(text("histogram of log ", map_name(s.maps, map)), left + plot / 2.0, title);
        canvas.add(text("set border 3\nset xtics ", ticks, " nomirror out\nset ytics auto nomirror out\n",
                        format("set xrange [%.9g:%.9g]\nset yrange [0:*]\n", std::log10(s.all_lambda.from),
                               std::log10(s.all_lambda.to)),
                        "set xlabel 'Λ' offset 0,0.4\nset ylabel 'pixels, %' offset 1,0\n"));
        canvas.plot(
            path(image, "_histogram.csv") +
            format(" skip 1 using (($1+$2)/2):(100.0*$%d/%.0f):($2-$1) with boxes fill solid border lc "
                   "rgb '#303030' lw 0.6 ",
                   3 + map, double(s.height) * s.width) +
            map_area);
        canvas.add("set border 15\nunset tics\nunset xlabel\nunset ylabel\n");
    }
    return canvas.figure("images/" + image.name + "_maps");
}

}  // namespace tvmap
