// In which order files are written, synced and renamed, and how much a training writes: seen at the system calls.
#include "tests/support/file_calls.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "engine/data/phantoms.h"
#include "engine/files/file.h"
#include "engine/queue/piece_record.h"
#include "engine/training/trainer.h"
#include "kernels/threads/threads.h"
#include "tests/support/temporary_folder.h"

namespace fs = std::filesystem;

namespace {

std::string in_full(const std::string& path) { return fs::weakly_canonical(path).string(); }
std::string folder_of(const std::string& path) { return fs::path(in_full(path)).parent_path().string(); }

/// The first call at or after `from` that fits, or the number of calls.
std::size_t find(const std::vector<FileCall>& calls, std::size_t from,
                 const std::function<bool(const FileCall&)>& fits) {
    return std::size_t(std::find_if(calls.begin() + std::ptrdiff_t(from), calls.end(), fits) - calls.begin());
}

/// A file takes its name only once its content is on the disk, and the name is brought to the disk, too.
void check_renames(const std::vector<FileCall>& calls) {
    for (std::size_t i = 0; i < calls.size(); ++i) {
        if (calls[i].call != "rename") continue;
        CAPTURE(calls[i].to);
        const std::string from = in_full(calls[i].path);
        bool synced = false;  // everything that was written before the rename
        for (std::size_t k = 0; k < i; ++k)
            if (calls[k].path == from && calls[k].call != "rename") synced = calls[k].call == "sync";
        CHECK(synced);
        const std::string folder = folder_of(calls[i].to);
        CHECK(find(calls, i, [&](const FileCall& c) { return c.call == "sync" && c.path == folder; }) <
              calls.size());
    }
}

std::size_t renames(const std::vector<FileCall>& calls) {
    return std::size_t(
        std::count_if(calls.begin(), calls.end(), [](const FileCall& c) { return c.call == "rename"; }));
}

/// A small training; `epoch` is called after each of its epochs.
void train(
    const TemporaryFolder& folder, int epochs, int checkpoint_every,
    const std::function<void(int)>& epoch = [](int) {}) {
    tvmap::set_threads(1);
    ::setenv("XDG_CACHE_HOME", (folder / "cache").c_str(), 1);
    tvmap::Config config;
    for (std::string* data : {&config.data.train, &config.data.val}) *data = folder / "images";
    if (!fs::exists(folder / "images")) tvmap::write_phantoms(folder / "images", 1, 16, 1);
    config.data.size = 16;
    config.network.channels = {2, 2};
    config.solver.iterations = config.evaluate.iterations = 2;
    config.train.epochs = epochs;
    config.train.checkpoint_every = config.train.validate_every = checkpoint_every;
    config.train.checkpoint_seconds = 0;
    tvmap::Trainer trainer(config, folder / "run", false);
    const std::atomic<bool> stop{false};
    CHECK(trainer.run([&](const tvmap::TrainReport& report) { epoch(report.epoch); }, stop));
}

}  // namespace

TEST_CASE("a file is synced, then renamed, then its folder is synced") {
    const TemporaryFolder folder;
    fs::create_directory(folder / "elsewhere");
    fs::create_symlink("elsewhere/target", folder / "link");
    for (const std::string name : {"new", "new", "link", "link"}) {
        CAPTURE(name);
        const FileCalls record(folder.path);
        tvmap::write_file(folder / name, std::vector<std::string_view>{"in ", "", "three pieces"});
        const std::vector<FileCall> calls = record.noted();
        REQUIRE(calls.size() >= 4);
        std::size_t bytes = 0;
        for (const FileCall& call : calls) bytes += call.bytes;
        CHECK(bytes == 15);
        REQUIRE(renames(calls) == 1);
        check_renames(calls);
        const std::size_t at = find(calls, 0, [](const FileCall& c) { return c.call == "rename"; });
        CHECK(in_full(calls[at].to) == in_full(folder / name));
        CHECK(folder_of(calls[at].path) == folder_of(calls[at].to));  // or it would not be one step
    }
}

TEST_CASE("all that a training leaves is synced, and metrics before the checkpoint that counts on them") {
    const TemporaryFolder folder;
    fs::create_directory(folder / "run");
    const FileCalls record(folder / "run");
    train(folder, 6, 2);
    const std::vector<FileCall> calls = record.noted();
    check_renames(calls);
    int checkpoints = 0;
    bool synced = false;
    for (const FileCall& call : calls) {
        if (call.path.ends_with("/metrics.csv")) synced = call.call == "sync";
        if (call.call == "rename" && call.to.ends_with("/metrics.csv")) synced = true;
        if (call.call != "rename" || !call.to.ends_with("last.safetensors")) continue;
        CHECK(synced);
        ++checkpoints;
    }
    CHECK(checkpoints == 3);
    // The last one names the epoch of the best one, which is there then.
    const auto first = [&](const char* name) {
        return find(calls, 0, [&](const FileCall& c) { return c.call == "rename" && c.to.ends_with(name); });
    };
    CHECK(first("best.safetensors") < first("last.safetensors"));
}

TEST_CASE("an epoch writes its own row and no other, and syncs nothing but checkpoints") {
    const TemporaryFolder folder;
    const int epochs = 200;
    std::vector<std::size_t> bytes(epochs + 1), syncs(epochs + 1);
    fs::create_directory(folder / "run");
    const FileCalls record(folder / "run");
    train(folder, epochs, epochs, [&](int epoch) {
        for (const FileCall& call : record.noted()) {
            if (call.path.find("/checkpoints") != std::string::npos) continue;
            bytes[epoch] += call.bytes;
            syncs[epoch] += call.call == "sync";
        }
    });
    // A row is at most 8 numbers of 12 characters, a scalar a record of some 60 bytes, and there are two in an epoch
    // without validation. (The first epoch opens the files, the tenth logs the memory, the last saves.)
    for (int epoch = 11; epoch < epochs; ++epoch) {
        CAPTURE(epoch);
        CHECK(bytes[epoch] - bytes[epoch - 1] > 20);
        CHECK(bytes[epoch] - bytes[epoch - 1] < 300);
        CHECK(syncs[epoch] == syncs[epoch - 1]);
    }
}

TEST_CASE("a study that is killed while it writes its tables does not take them for somebody else's") {
    const std::vector<std::pair<std::string, std::string>> first = {{"a.csv", "1\n"}, {"b.csv", "2\n"}},
                                                           second = {{"a.csv", "3\n"}, {"b.csv", "4\n"}};
    const tvmap::RecordOwner study{"study", "--out", "summary.txt"};
    bool finished = false;
    for (int last = 0; !finished; ++last) {
        CAPTURE(last);
        REQUIRE(last < 20);
        const TemporaryFolder folder;
        tvmap::PieceRecord(folder.path, false, study).write(first);
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const FileCalls calls(folder.path, last);
            tvmap::PieceRecord(folder.path, true, study).write(second);
            ::_exit(7);
        }
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        REQUIRE(WIFEXITED(status));
        finished = WEXITSTATUS(status) == 7;
        tvmap::PieceRecord record(folder.path, true, study);
        record.write(second);
        CHECK(record.notes().empty());
        for (const auto& [name, content] : second) CHECK(tvmap::read_file(folder / name) == content);
    }
}
