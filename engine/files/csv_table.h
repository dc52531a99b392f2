// A CSV file with a header, by the names of its columns.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "engine/files/csv.h"
#include "engine/files/file.h"
#include "kernels/base/error.h"

namespace tvmap {

class CsvTable {
  public:
    CsvTable() = default;

    /// Throws Error where the file cannot be read, holds no header, or a row is of another length.
    explicit CsvTable(const std::string& path) : path_(path), records_(parse_csv(read_file(path))) {
        if (records_.empty()) fail(path, ": the table is empty; evaluate again");
        for (const CsvRecord& record : records_)
            if (record.fields.size() != records_[0].fields.size())
                fail(path, ":", record.line, ": ", record.fields.size(), " fields where the header has ",
                     records_[0].fields.size(), "; evaluate again");
    }

    std::size_t rows() const { return records_.size() - 1; }

    bool has(std::string_view column) const {
        const std::vector<std::string>& names = records_[0].fields;
        return std::find(names.begin(), names.end(), column) != names.end();
    }

    /// The field of a row. Throws Error where there is no such column.
    const std::string& at(std::size_t row, std::string_view column) const {
        const std::vector<std::string>& names = records_[0].fields;
        const auto found = std::find(names.begin(), names.end(), column);
        if (found == names.end()) fail(path_, ": there is no column ", column, "; evaluate again");
        return records_[row + 1].fields[std::size_t(found - names.begin())];
    }

    /// The row whose first field this is. Throws Error where there is none.
    std::size_t row(std::string_view first) const {
        for (std::size_t r = 0; r < rows(); ++r)
            if (records_[r + 1].fields[0] == first) return r;
        fail(path_, ": there is no row ", first, "; evaluate again");
    }

  private:
    std::string path_;
    std::vector<CsvRecord> records_;
};

}  // namespace tvmap
