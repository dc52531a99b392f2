#include "engine/evaluation/example_figures.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "engine/files/decimal.h"
#include "engine/files/format.h"
#include "engine/files/printable.h"
#include "kernels/base/error.h"

namespace tvmap {
namespace {

constexpr int cell = 240, gap = 10, margin = 26, row_of_text = 17;  // pixels

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
std::string ranges(int side, const Square& part) {
    constexpr double half = 0.499;
    return format("set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\n", part.left - half,
                  part.left + part.size - 1 + half, side - part.top - part.size - half,
                  side - part.top - 1 + half);
}

std::string path(const EvaluatedImage& image, const char* part) {
    return quoted("images/" + image.name + part);
}

std::string grey(const EvaluatedImage& image, const char* part) {
    return path(image, part) + " binary filetype=png with rgbimage";
}

/// A plane of an array.
std::string coloured(const EvaluatedImage& image, const char* part, int side, std::size_t header, int plane) {
    return path(image, part) + format(" binary skip=%zu array=(%d,%d) format='%%float' flipy with image",
                                      header + std::size_t(plane) * side * side * sizeof(float), side, side);
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

/// gnuplot's list of ticks: each its number, at `place` of it.
std::string tick_list(const std::vector<double>& ticks, double (*place)(double)) {
    std::string list;
    for (const double tick : ticks)
        list += (list.empty() ? "'" : ", '") + rounded_decimal(tick, 2) + format("' %.9g", place(tick));
    return "(" + list + ")";
}

double itself(double value) { return value; }

std::string colour_range(const Span& span, bool logarithmic) {
    return format("%s logscale cb\nset cbrange [%.9g:%.9g]\n", logarithmic ? "set" : "unset", span.from,
                  span.to) +
           "set cbtics " + tick_list(logarithmic ? logarithmic_ticks(span) : linear_ticks(span), itself) +
           " nomirror scale 0.4 offset 0,0.5\n";
}

const char* map_name(int maps, int map) {
    return maps == 1 ? "Λ" : map == 0 ? "Λ, vertical" : "Λ, horizontal";
}

}  // namespace

Figure panel_figure(const EvaluatedImage& image, int side, int maps, const ExampleScales& s) {
    const int first = 2 * row_of_text + 8, second = first + cell + gap,
              third = second + cell + row_of_text + 8, bars = third + cell + 8;
    Canvas canvas(margin + 4 * (cell + gap), bars + 34);
    const auto left = [](int column) { return double(margin + column * (cell + gap)); };
    const Square whole{0, 0, side};

    const char* parts[] = {"_clean.png", "_noisy.png", "_scalar.png", "_map.png"};
    const std::string titles[] = {"clean", "noisy, σ = " + rounded_decimal(image.sigma, 3),
                                  "best scalar λ = " + rounded_decimal(image.scalar_at.psnr, 3),
                                  "learned map Λ"},
                      lines[] = {shortened(image.name), quality_line(image.noisy), quality_line(image.scalar),
                                 quality_line(image.map)};
    for (int column = 0; column < 4; ++column) {
        canvas.place({left(column), double(first), cell, cell});
        canvas.write(titles[column], left(column) + cell / 2.0, 0.5 * row_of_text + 4);
        canvas.write(lines[column], left(column) + cell / 2.0, 1.5 * row_of_text + 4);
        // The frame of what is magnified: white on dark parts, black on bright ones.
        for (const auto& [number, style] : {std::pair(1, "'#000000' lw 2.2"), std::pair(2, "'#ffffff' lw 1")})
            canvas.add(
                format("set object %d rectangle from %g,%g to %g,%g front fillstyle empty border lc rgb %s\n",
                       number, s.detail.left - 0.5, side - s.detail.top - s.detail.size - 0.5,
                       s.detail.left + s.detail.size - 0.5, side - s.detail.top - 0.5, style));
        canvas.add(ranges(side, whole));
        canvas.plot(grey(image, parts[column]));

        canvas.place({left(column), double(second), cell, cell});
        if (column == 0)
            canvas.write(format("detail, %.3g times larger", double(side) / s.detail.size), margin / 2.0,
                         second + cell / 2.0, "center rotate by 90");
        canvas.add(ranges(side, s.detail));
        canvas.plot(grey(image, parts[column]));
    }

    const char* errors[] = {"|noisy − clean|", "|scalar − clean|", "|map − clean|"};
    for (int column = 0; column < 4; ++column) {
        const bool is_map = column < maps;
        canvas.place({left(column), double(third), cell, cell});
        canvas.write(
            is_map ? text(map_name(maps, column), maps == 1 ? "" : " differences") : errors[column - 1],
            left(column) + cell / 2.0, third - 0.5 * row_of_text - 1);
        canvas.add(ranges(side, whole) + colour_range(is_map ? s.lambda : s.error, is_map));
        if (column == 0) canvas.colour_bar({left(0), double(bars), double(maps * (cell + gap) - gap), 9});
        if (column == maps)
            canvas.colour_bar({left(column), double(bars), double((4 - maps) * (cell + gap) - gap), 9});
        canvas.plot(is_map ? coloured(image, "_lambda.npy", side, s.header, column)
                           : coloured(image, "_error.npy", side, s.error_header, column - maps));
    }
    return canvas.figure("images/" + image.name + "_panel");
}

Figure map_figure(const EvaluatedImage& image, int side, int maps, const ExampleScales& s) {
    constexpr int top = row_of_text + 8, below = 58, row = top + cell + below, axis = 48, plot = 330;
    Canvas canvas(margin / 2 + 2 * (cell + 3 * gap) + axis + plot + 2 * gap, maps * row);
    const std::string ticks =
        tick_list(logarithmic_ticks(s.all_lambda), [](double value) { return std::log10(value); });
    for (int map = 0; map < maps; ++map) {
        const double upper = map * row + top;
        for (int column = 0; column < 2; ++column) {
            const Place place{margin / 2.0 + column * (cell + 3 * gap), upper, cell, cell};
            canvas.place(place);
            canvas.write(text(map_name(maps, map), column ? ", logarithmic scale" : ", linear scale"),
                         place.left + cell / 2.0, upper - 0.5 * row_of_text - 1);
            canvas.add(ranges(side, {0, 0, side}) +
                       colour_range(column ? s.lambda : Span{0, s.lambda.to}, column));
            canvas.colour_bar({place.left, upper + cell + 6, cell, 9});
            canvas.plot(coloured(image, "_lambda.npy", side, s.header, map));
        }
        const Place place{margin / 2.0 + 2 * (cell + 3 * gap) + axis, upper, plot, cell};
        canvas.place(place);
        canvas.write(text("histogram of log ", map_name(maps, map)), place.left + plot / 2.0,
                     upper - 0.5 * row_of_text - 1);
        canvas.add(text("set border 3\nset xtics ", ticks, " nomirror out\nset ytics auto nomirror out\n",
                        format("set xrange [%.9g:%.9g]\nset yrange [0:*]\n", std::log10(s.all_lambda.from),
                               std::log10(s.all_lambda.to)),
                        "set xlabel 'Λ' offset 0,0.4\nset ylabel 'pixels, %' offset 1,0\n"));
        canvas.plot(path(image, "_histogram.csv") +
                    format(" skip 1 using (($1+$2)/2):(100.0*$%d/%d):($2-$1) with boxes fill solid border lc "
                           "rgb '#303030' lw 0.6 ",
                           3 + map, side * side) +
                    map_area);
        canvas.add("set border 15\nunset tics\nunset xlabel\nunset ylabel\n");
    }
    return canvas.figure("images/" + image.name + "_maps");
}

}  // namespace tvmap
