// The one exception of the project. Libraries throw it, only apps/ catches, prints one line and exits.
#pragma once
#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>

namespace tvmap {

/// A failure the user can act on. what() is one line: what went wrong, where, what to do instead.
class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Work that was asked to stop, and did. what() says what stands; all of it has been saved.
class Interrupted : public Error {
  public:
    using Error::Error;
};

/// A stream into a string whose numbers look the same whatever locale the program has set.
class TextStream : public std::ostringstream {
  public:
    TextStream() { imbue(std::locale::classic()); }
};

/// Joins its arguments, streamed one after the other, into one string.
template <class... Parts>
std::string text(const Parts&... parts) {
    TextStream out;
    (out << ... << parts);
    return out.str();
}

/// Throws Error(text(parts...)).
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
    throw Error(text(parts...));
}

}  // namespace tvmap
