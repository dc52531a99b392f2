// A curve in the height of a line of text.
#pragma once
#include <string>
#include <vector>

namespace tvmap {

/// Values from left to right as bars of eight heights, the lowest value as the lowest and the highest as the highest.
/// More than `columns` values share columns, each of which shows the mean of its own. "" for fewer than two.
std::string text_curve(const std::vector<double>& values, int columns = 24);

}  // namespace tvmap
