// Which pictures a folder, a folder of classes, a list and a pattern name, in what order, and what they are called.
#include "engine/data/image_list.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/refusal.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;

namespace {

struct Files : TemporaryFolder {
    explicit Files(const std::vector<std::string>& names) {
        for (const std::string& name : names) {
            fs::create_directories((path / name).parent_path());
            std::ofstream(path / name) << "";
        }
    }
    std::vector<std::string> names(const std::string& given, int limit = 100) const {
        std::vector<std::string> found;
        for (const tvmap::ListedImage& image : tvmap::list_images(given, limit, "")) {
            CHECK(fs::exists(image.path));
            found.push_back(image.name);
        }
        return found;
    }
    std::string refused(const std::string& given) const {
        const std::string said = refusal([&] { tvmap::list_images(given, 100, "data.test: "); });
        CHECK(said.starts_with("data.test: "));
        CHECK(said.find('\n') == said.npos);
        return said;
    }
};

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("a folder's own pictures, or those of its classes in turn") {
    const Files files({"b.png", "a.tif", ".c.png", "notes.txt", "class/d.png"});
    CHECK(files.names(files.path) == Names{"a", "b"});

    const Files classes({"ill/x1.png", "ill/x2.jpeg", "ill/x3.png", "well/x1.png", "well/._x1.png",
                         "well/notes.txt", "empty/notes.txt", ".hidden/x9.png", "ill/deeper/x8.png"});
    CHECK(classes.names(classes.path) == Names{"ill_x1", "well_x1", "ill_x2", "ill_x3"});
    CHECK(classes.names(classes.path, 2) == Names{"ill_x1", "well_x1"});
    CHECK(classes.names(classes.path, 1) == Names{"ill_x1"});
    const Files none({"class/notes.txt"});
    CHECK(has(none.refused(none.path), "no pictures"));
    CHECK(has(none.refused(""), "no image folder is given"));
    const Files clash({"a/b_c.png", "a_b/c.png"});
    CHECK(has(clash.refused(clash.path), "share one name"));
}

TEST_CASE("a list names pictures from its own folder on") {
    const Files files({"lists/a.txt", "z.png", "y.png", "sub/z.png", "sub/unusual"});
    const auto list = [&](const std::string& text) {
        std::ofstream(files / "lists/a.txt", std::ios::binary) << text;
        return files / "lists/a.txt";
    };
    CHECK(files.names(list("../z.png\n../y.png\n")) == Names{"z", "y"});
    CHECK(files.names(list("../z.png\r\n\r\n../y.png")) == Names{"z", "y"});
    CHECK(files.names(list("../z.png\n" + (files / "sub/z.png") + "\n../sub/unusual")).back() ==
          "sub_unusual");
    CHECK(files.names(list("../z.png\n../y.png\n"), 1) == Names{"z"});
    CHECK(has(files.refused(list("../z.png\n../missing.png\n")), "line 2"));
    CHECK(has(files.refused(list("../z.png\n../z.png\n")), "share one name"));
    CHECK(has(files.refused(list("\n\n")), "no pictures"));
    CHECK(has(files.refused(list(std::string("\0\1\2", 3))), "line 1: no text"));
    CHECK(has(files.refused(files / "z.png"), "is not a folder"));
    CHECK(has(files.refused(files / "missing.txt"), "does not exist"));
}

TEST_CASE("a pattern names what it matches, in the order of the paths") {
    const Files files(
        {"a/n1.png", "a/n2.png", "b/n1.png", "b/m1.png", "b/n1.txt", "c[1]/n3.png", "d/map.npy"});
    CHECK(files.names(files / "d/*") == Names{"map"});
    CHECK(has(files.refused(files / "d"), "no pictures"));  // arrays may be anything
    CHECK(files.names(files / "*/n1.png") == Names{"a_n1", "b_n1"});
    CHECK(files.names(files / "b/*") == Names{"m1", "n1"});
    CHECK(files.names(files / "a/n?.png", 1) == Names{"n1"});
    CHECK(files.names(files / "[ab]/[!m]*.png") == Names{"a_n1", "a_n2", "b_n1"});
    CHECK(files.names(files / "c[1]") == Names{"n3"});  // a folder of that name comes first
    CHECK(has(files.refused(files / "*/k*.png"), "matches no pictures"));
    CHECK(has(files.refused(files / "*/n1.txt"), "matches no pictures"));
}
