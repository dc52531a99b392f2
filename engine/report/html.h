// Pieces of an HTML page.
#pragma once
#include <string>

#include "engine/report/narrative.h"

namespace tvmap {

/// Any text as the content of an element or of an attribute in quotes: printable, with & < > " ' as entities.
std::string html_text(const std::string& content);

/// A table whose first row is the header and whose first column names the rows. All cells are texts.
std::string html_table(const Cells& cells, const std::string& css_class);

/// An image file (.svg or .png) as an <img> that holds it. "" where there is no such file, or one of more than 4 MiB.
std::string html_picture(const std::string& path, const std::string& alternative);

}  // namespace tvmap
