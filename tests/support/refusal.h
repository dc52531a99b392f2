// What a call says that is refused.
#pragma once
#include <doctest/doctest.h>

#include <string>

#include "kernels/base/error.h"

/// The message of the Error that the call throws, "accepted" if it throws none.
template <class Call>
std::string refusal(const Call& call) {
    try {
        call();
    } catch (const tvmap::Error& error) {
        return error.what();
    }
    return "accepted";
}

inline bool has(const std::string& message, const std::string& part) {
    INFO(message);
    return message.find(part) != std::string::npos;
}
