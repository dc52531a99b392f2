// Whether counts and sums are what chance gives: p-values, the probability of a deviation at least as large, in double.
#pragma once
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <vector>

namespace reference {

/// The probability that χ² of `freedom` degrees exceeds x: Q(freedom/2, x/2), by the series of P where it converges
/// fast and Legendre's continued fraction (by Lentz's method) elsewhere.
inline double chi_square_tail(double x, double freedom) {
    const double a = freedom / 2, y = x / 2;
    if (y <= 0) return 1;
    const double front = std::exp(a * std::log(y) - y - std::lgamma(a));
    if (y < a + 1) {
        double term = 1 / a, sum = term;
        for (double n = a + 1; term > 1e-17 * sum; n += 1) sum += term *= y / n;
        return 1 - front * sum;
    }
    double b = y + 1 - a, c = 1e300, d = 1 / b, fraction = d;
    for (int i = 1; i < 100000; ++i) {
        const double numerator = -i * (i - a);
        b += 2;
        d = 1 / (numerator * d + b);
        c = b + numerator / c;
        fraction *= d * c;
        if (std::abs(d * c - 1) < 1e-15) break;
    }
    return front * fraction;
}

/// The probability that a standard normal number lies further from 0 than z, on either side.
inline double normal_tails(double z) { return std::erfc(std::abs(z) / std::numbers::sqrt2); }

/// Counts of pairs of values.
class Counts {
  public:
    Counts(int rows, int columns) : columns_(columns), cells_(std::size_t(rows) * columns) {}

    void add(int row, int column) {
        cells_.at(std::size_t(row) * columns_ + column) += 1;
        ++total_;
    }

    /// Of the hypothesis that all pairs are equally probable.
    double p_value() const {
        const double expected = double(total_) / double(cells_.size());
        if (expected < 10) throw std::logic_error("too few counts for the chi-square distribution");
        double sum = 0;
        for (const double count : cells_) sum += (count - expected) * (count - expected) / expected;
        return chi_square_tail(sum, double(cells_.size() - 1));
    }

    /// Of the hypothesis that, whatever the first value, all second ones are equally probable.
    double p_value_by_row() const {
        double sum = 0;
        for (std::size_t row = 0; row < cells_.size(); row += std::size_t(columns_)) {
            double expected = 0;
            for (int c = 0; c < columns_; ++c) expected += cells_[row + std::size_t(c)] / columns_;
            if (expected < 10) throw std::logic_error("too few counts for the chi-square distribution");
            for (int c = 0; c < columns_; ++c)
                sum += std::pow(cells_[row + std::size_t(c)] - expected, 2) / expected;
        }
        return chi_square_tail(sum, double(cells_.size()) * (columns_ - 1) / columns_);
    }

  private:
    int columns_;
    std::vector<double> cells_;
    long long total_ = 0;
};

/// Of the hypothesis that pairs of numbers, of mean 0 each, do not correlate: their correlation is normal then, with
/// a variance of one over their number.
class Correlation {
  public:
    void add(double a, double b) {
        ab_ += a * b, aa_ += a * a, bb_ += b * b;
        ++count_;
    }
    double p_value() const {
        if (count_ < 1000) throw std::logic_error("too few pairs for the normal distribution");
        return normal_tails(ab_ / std::sqrt(aa_ * bb_) * std::sqrt(double(count_)));
    }

  private:
    double ab_ = 0, aa_ = 0, bb_ = 0;
    long long count_ = 0;
};

}  // namespace reference
