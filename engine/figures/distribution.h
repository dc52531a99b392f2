// How values are distributed, as figures show it: bins of a histogram, and what a box plot is made of.
#pragma once
#include <vector>

namespace tvmap {

/// A bin counts the values from `from` on and below `to`.
struct Bin {
    double from = 0, to = 0;
    int count = 0;
};

/// A histogram of the finite values, of which 0 is an edge, so that each bin is of one sign. Its bins are as wide as
/// Freedman and Diaconis have them, twice the interquartile range over the cube root of the count (On the histogram as a
/// density estimator, 1981), rounded to the nearest 1, 2 or 5 times a power of ten, and as much wider as it takes for
/// no more than 60 of them. Empty without values.
std::vector<Bin> histogram(const std::vector<double>& values);

/// `count` bins of one width from `from` to `to`; values outside belong to the first and the last one, NaN to none.
std::vector<Bin> histogram(const std::vector<float>& values, double from, double to, int count);

/// What a box plot shows (Tukey, Exploratory Data Analysis, 1977): quartiles, and whiskers to the farthest values within
/// 1.5 times the interquartile range of the box.
struct Box {
    double low = 0, first_quartile = 0, median = 0, third_quartile = 0, high = 0;
    bool within(double value) const { return value >= low && value <= high; }
};

/// Of finite values, at least one.
Box box(std::vector<double> values);

/// The quantile of sorted values, at least one, by linear interpolation between them (type 7 of Hyndman and Fan, Sample
/// quantiles in statistical packages, 1996; NumPy's default).
double quantile(const std::vector<double>& sorted, double share);

}  // namespace tvmap
