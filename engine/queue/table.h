// A table that is read by programs, as CSV, and by people, as Markdown.
#pragma once
#include <string>
#include <vector>

#include "engine/data/quality.h"
#include "engine/evaluation/statistics.h"

namespace tvmap {

/// Filled row by row, each with the same cells in the same order. A cell has a column's name in CSV, where numbers have six
/// digits, and a title for people, to whom a number without a value is a dash; without a title it is not shown to them.
class Table {
  public:
    struct Cell {
        std::string column, content;
        bool is_number = false;
        double number = 0;
    };

    void begin_row();
    void add_text(const std::string& column, const std::string& title, const std::string& content);
    void add_number(const std::string& column, const std::string& title, double value, int decimals,
                    bool sign = false);
    /// "mean ± deviation", in CSV also COLUMN_deviation.
    void add_statistic(const std::string& column, const std::string& title, const Statistic& statistic,
                       int decimals);
    /// "low … high", in CSV COLUMN_low and COLUMN_high.
    void add_interval(const std::string& column, const std::string& title, const Interval& interval,
                      int decimals);
    /// "0.0012", of a probability.
    void add_probability(const std::string& column, const std::string& title, double p);

    bool empty() const { return rows_.empty(); }
    const std::vector<std::vector<Cell>>& rows() const { return rows_; }

    std::string csv() const;
    /// Columns are as wide as their widest cell, so that it can be read as it is.
    std::string markdown() const;

  private:
    void add_cell(const std::string& column, double value);
    void show(const std::string& title, const std::string& content);

    std::vector<std::vector<Cell>> rows_;
    std::vector<std::string> titles_;              // of the first row
    std::vector<std::vector<std::string>> shown_;  // by row
};

}  // namespace tvmap
