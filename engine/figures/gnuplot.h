// Figures, drawn by gnuplot from data files that stay beside them.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace tvmap {

// Lines and filled areas, told apart by lightness and dashes too: a figure must survive black-and-white print.
inline constexpr const char* noisy_line = "lw 2 dt 3 lc rgb '#707070'";
inline constexpr const char* scalar_line = "lw 2 dt 1 lc rgb '#c46a00'";
inline constexpr const char* map_line = "lw 2.5 dt 1 lc rgb '#1b2f6b'";
/// Axes on the left and below, a faint grid, no legend: what is drawn is named where it is.
inline constexpr const char* plot_axes =
    "set border 3 lc rgb '#404040'\nset tics nomirror out\nset grid lc rgb '#dcdcdc' lt 1\nunset key\n";
inline constexpr const char* noisy_area = "fill solid border lc rgb '#404040' fc rgb '#ffffff'";
inline constexpr const char* scalar_area = "fc rgb '#f0b060'";
inline constexpr const char* map_area = "fc rgb '#5a76c4'";

/// Runs gnuplot on a script in `folder` (the script names its input and output files relative to it). False,
/// and no harm done, where gnuplot is not installed. Throws Error with gnuplot's first line of complaint if
/// the script fails.
bool run_gnuplot(const std::string& script, const std::string& folder);

/// Any text as one of gnuplot's strings: what is no letter or digit stands as its octal code, so that no name of a
/// file can end the string or begin a command.
std::string quoted(const std::string& content);

/// A figure: its name (its files', without their endings, relative to the folder that it is drawn in), its size in
/// pixels of 1/96 inch, and gnuplot's commands, which read files of that folder. (Texts are UTF-8, and commas separate
/// columns, from the start.)
struct Figure {
    std::string name;
    int width = 0, height = 0;
    std::string commands;
};

/// A figure with the files that its commands read, by name.
struct Drawing {
    Figure figure;
    std::vector<std::pair<std::string, std::string>> data;
};

/// Removes the files of a figure that is not drawn any more.
void remove_figure(const std::string& folder, const std::string& name);

/// Draws NAME.svg, NAME.png (twice as fine) and NAME.pdf of each figure in `folder`, each whole or not at all: what stood
/// there before goes first. Never throws Error: the numbers that figures show stand without them. Returns one line
/// that names files that are missing and the reason for the first of them, "" if there are none.
std::string draw_figures(const std::string& folder, const std::vector<Figure>& figures);

}  // namespace tvmap
