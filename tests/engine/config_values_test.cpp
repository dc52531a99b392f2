// Values of keys: what --set takes to the byte, what comes out of to_yaml as the same bytes, which numbers
// are decimal and fit, and which folder a relative one is.
#include <doctest/doctest.h>
#include <unistd.h>
#include <filesystem>
#include <limits>

#include "engine/config/config.h"
#include "kernels/base/error.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

Config set(const std::string& assignment) { return parse_config("", "experiment", {assignment}); }
Config from_yaml(const std::string& yaml) { return parse_config(yaml, "experiment"); }

/// The message, or "accepted".
template <class Read>
std::string refusal(const Read& read) {
    try {
        read();
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

void check_text(const std::string& value) {
    CAPTURE(value);
    const Config config = set("output.folder=" + value);
    CHECK((config.output.folder == value));
    CHECK((from_yaml(config.to_yaml()).output.folder == value));
}

/// A line break inside of an expected message would be one too many.
void check_refused(const std::string& value, const std::string& key, const std::string& part) {
    for (const std::string& message : {refusal([&] { set(key + "=" + value); }), refusal([&] {
                                           from_yaml(key.substr(0, key.find('.')) + ": {" +
                                                     key.substr(key.find('.') + 1) + ": " + value + "}");
                                       })}) {
        INFO(message);
        CHECK(message.find(key + ": got '" + value + "'; give " + part) != std::string::npos);
    }
}

}  // namespace

TEST_CASE(
    "a text behind --set is all that stands behind the first =, and comes out of to_yaml as the same bytes") {
    for (int byte = 1; byte < 256; ++byte)
        for (const std::string& value :
             {std::string(1, char(byte)), "a" + std::string(1, char(byte)), std::string(1, char(byte)) + "b",
              "a " + std::string(1, char(byte)) + " b"})
            check_text(value);
    for (const std::string value : {"d/study #1",
                                    "a: b",
                                    "a=b=c",
                                    "=",
                                    "[x]",
                                    "[a, b]",
                                    "[a",
                                    "{a: b}",
                                    "- a",
                                    "--a",
                                    "~",
                                    "null",
                                    "true",
                                    "'a'",
                                    "\"a\"",
                                    "it's",
                                    "\"",
                                    "*a",
                                    "&a",
                                    "!t",
                                    "!!binary YQ==",
                                    "%a",
                                    "a\\nb",
                                    "a\nb\n",
                                    " a ",
                                    "0x10",
                                    "---",
                                    "...",
                                    "? a",
                                    "a,b",
                                    "日本",
                                    "caf\xc3\xa9",
                                    "caf\xe9",
                                    "\xff\xfe\xfd",
                                    "\xed\xa0\x80",
                                    "\xf4\x90\x80\x80",
                                    "\xc0\xaf",
                                    "\xef\xbf\xbd",
                                    "\xef\xbb\xbf"
                                    "a",
                                    "\xc2\x85",
                                    "\xe2\x80\xa8"})
        check_text(value);
    CHECK(set("data.test=").data.test.empty());
    CHECK(set("output.name=[x]").output.name == "[x]");
    CHECK(set("output.name=a=b").output.name == "a=b");
}

TEST_CASE("to_yaml stays UTF-8 whatever the names are") {
    const std::string yaml = set("output.folder=caf\xe9").to_yaml();
    CHECK(yaml.find("folder: !!binary \"Y2Fm6Q==\"") != std::string::npos);
    for (const std::string wrong : {"!!binary \"Y2F\"", "!!binary \"%%%%\"", "!!binary \"\""})
        CHECK(refusal([&] { from_yaml("output: {folder: " + wrong + "}"); }).find("base64") !=
              std::string::npos);
    // The name of a file ends at a zero byte: what stands behind it would be lost.
    CHECK(refusal([] { from_yaml("output: {folder: \"a\\0b\"}"); }).find("holds a zero byte") !=
          std::string::npos);
    CHECK(refusal([] { from_yaml("output: {folder: !!binary \"YQBi\"}"); }).find("holds a zero byte") !=
          std::string::npos);
}

TEST_CASE("lists and ranges behind --set") {
    CHECK(set("noise.sigma=[0.1,0.5]").noise.sigma.from == 0.1);
    CHECK(set("noise.sigma=[ 0.1 ,  0.5 ]").noise.sigma.to == 0.5);
    CHECK(set("noise.sigma=0.25").noise.sigma.from == 0.25);
    CHECK(set("network.channels=[4,8]").network.channels == std::vector<int>{4, 8});
    CHECK(set("optimiser.betas=[0.5, 0.75]").optimiser.beta2 == 0.75);
    CHECK(set("study.modes=[masks, truncated:1]").study.modes ==
          std::vector<std::string>{"masks", "truncated:1"});
    CHECK(set("study.modes=[]").study.modes.empty());
    CHECK(set("data={size: 64, test: \"a b\"}").data.size == 64);
    const auto refused = [](const std::string& assignment, const std::string& part) {
        const std::string message = refusal([&] { set(assignment); });
        INFO(message);
        CHECK(message.find("--set " + assignment + ": ") == 0);
        CHECK(message.find(part) != std::string::npos);
    };
    refused("network.channels=[]", "the list is empty");
    refused("network.channels=[4,,8]", "got nothing; give a whole number");
    refused("network.channels=[4,8,]", "got nothing; give a whole number");
    refused("network.channels=[4, 010x]", "got '010x'");
    refused("network.channels=[4, 8] # two", "give a list");
    refused("network.channels=[4", "give a list");
    refused("noise.sigma=[0.1,0.5", "got '[0.1,0.5'");
    refused("noise.sigma=[0,1,0,5]", "got a list; give a number or [from, to]");
    refused("solver.iterations=8 # few", "got '8 # few'");
    refused("solver.iterations= 8", "got ' 8'");
    refused("map.kind=separate # both", "got 'separate # both'");
    refused("train.flip='true'", "got ''true''");
    refused("solver.iterations=", "got nothing");
    refused("data={size: [}", "not valid YAML");
    refused("data=images", "the keys of this section");
}

TEST_CASE("numbers are decimal, and what does not fit is refused") {
    for (const std::string value : {"0x10", "0o10", "0b1", "1e3", "8.0", "8x", "1_000", "+-8", "2147483648",
                                    "-2147483649", "99999999999999999999999", ".inf", "8 8", "٣"})
        check_refused(value, "solver.iterations", "a whole number");
    for (const std::string value : {"-1", "18446744073709551616", "1e3", "0x1", "+-1"}) {
        const std::string got =
            "seed: got '" + value + "'; give a whole number from 0 to 18446744073709551615";
        CHECK(refusal([&] { set("seed=" + value); }).find(got) != std::string::npos);
        CHECK(refusal([&] { from_yaml("seed: " + value); }).find(got) != std::string::npos);
    }
    for (const std::string value : {"0x10", "0x1p3", "1e", "1e999", ".inf", "-.inf", ".nan", "inf", "nan",
                                    "0.1f", "1_0.5", "+-1", "1:30"})
        check_refused(value, "map.scale", "a finite number");
    for (const std::string value : {"1e39", "-1e39", "1e300"})
        check_refused(value, "map.scale", "a number that 32-bit floating point holds");
    for (const auto& read :
         {std::function(set), std::function([](const std::string& assignment) {
              return from_yaml("solver: {iterations: " + assignment.substr(assignment.find('=') + 1) + "}");
          })}) {
        CHECK(read("solver.iterations=010").solver.iterations == 10);
        CHECK(read("solver.iterations=+8").solver.iterations == 8);
        CHECK(read("solver.iterations=2147483647").solver.iterations == std::numeric_limits<int>::max());
    }
    CHECK(set("seed=0018446744073709551615").seed == std::numeric_limits<std::uint64_t>::max());
    CHECK(set("map.scale=1.25e-1").map.scale == 0.125);
    CHECK(set("train.memory_limit=010kB").train.memory_limit == 10000);
    CHECK(refusal([] { set("solver.gradient=truncated:0x8"); }).find("got 'truncated:0x8'") !=
          std::string::npos);
}

TEST_CASE(
    "a relative folder of images belongs to the working directory of its reading, and is written as "
    "absolute") {
    const std::filesystem::path before = std::filesystem::current_path();
    const TemporaryFolder here, there;
    const std::filesystem::path start = std::filesystem::canonical(here.path);
    std::filesystem::current_path(start);
    const Config config =
        parse_config("data: {train: images, val: ../val}", "experiment", {"data.test=./test #1"});
    CHECK(config.data.train == (start / "images").string());
    CHECK(config.data.val == (start / "../val").string());
    CHECK(config.data.test == (start / "./test #1").string());
    CHECK(from_yaml("data: {train: /images}").data.train == "/images");
    CHECK(from_yaml("").data.train.empty());
    std::filesystem::current_path(there.path);
    CHECK(from_yaml(config.to_yaml()).data.train == config.data.train);
    CHECK(from_yaml(config.to_yaml()).data.test == config.data.test);
    std::filesystem::current_path(before);
}
