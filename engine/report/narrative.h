// A report's sentences and numbers, the same in every format: plain text, to be escaped by whoever writes it.
#pragma once
#include <string>
#include <vector>

#include "engine/report/run_record.h"

namespace tvmap {

/// What was done and what came out, in plain English: paragraphs.
std::vector<std::string> opening(const RunRecord& run);

/// A table as cells; the first row is the header.
using Cells = std::vector<std::vector<std::string>>;

/// The table of `tvmap evaluate`: noisy, best scalar, map, gain and its interval by each measure.
Cells result_table(const RunRecord& run);
/// The line below it.
std::string verdict(const RunRecord& run);

/// Runs side by side, a column each: results, then how they were trained.
Cells comparison_table(const std::vector<RunRecord>& runs);

/// Hardware and versions, name and value.
Cells machine_table(const RunRecord& run);

/// The commands that make this again.
std::vector<std::string> commands(const RunRecord& run);

/// A number with so many decimals, in front of it perhaps a plus; a dash where it is none.
std::string fixed_number(double value, int decimals, bool sign = false);

/// "1,796,034"
std::string grouped(const std::string& digits);

}  // namespace tvmap
