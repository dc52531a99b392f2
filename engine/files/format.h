// Numbers in columns.
#pragma once
#include <locale.h>
#include <clocale>
#include <cstdarg>
#include <cstdio>
#include <string>

namespace tvmap {

/// While it lives, C functions of this thread that depend on a locale follow "C", not what the program has
/// set.
class ClassicLocale {
  public:
    ClassicLocale() : before_(::uselocale(classic())) {}
    ~ClassicLocale() { ::uselocale(before_); }
    ClassicLocale(const ClassicLocale&) = delete;
    ClassicLocale& operator=(const ClassicLocale&) = delete;

  private:
    static locale_t classic() {
        static const locale_t made = ::newlocale(LC_ALL_MASK, "C", nullptr);
        return made;
    }
    locale_t before_;
};

/// printf into a string, with a decimal point in every locale.
[[gnu::format(printf, 1, 2)]] inline std::string format(const char* pattern, ...) {
    const ClassicLocale classic;
    va_list arguments, again;
    va_start(arguments, pattern);
    va_copy(again, arguments);
    std::string line(std::size_t(std::vsnprintf(nullptr, 0, pattern, arguments)), '\0');
    std::vsnprintf(line.data(), line.size() + 1, pattern, again);
    va_end(again);
    va_end(arguments);
    return line;
}

}  // namespace tvmap
