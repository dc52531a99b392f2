// The number of threads under control groups: made-up /proc and /sys files below a folder of the test's own.
#include "kernels/threads/cpu_quota.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "kernels/threads/threads.h"
#include "tests/support/temporary_folder.h"

using namespace tvmap;

namespace {

/// A system whose files are those that were written.
struct System {
    TemporaryFolder folder;
    std::string root = folder.path.string();

    void write(const std::string& path, const std::string& content) const {
        const std::filesystem::path file = root + path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << content;
    }
    /// Version 2 alone, with this process in `group`.
    void unified(const std::string& group, const std::string& shown = "/") const {
        write("/proc/self/cgroup", "0::" + group + "\n");
        write("/proc/self/mountinfo",
              "23 1 0:21 / /proc rw - proc proc rw\n31 23 0:28 " + shown +
                  " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    }
    /// Version 1, as systemd mounts it: "cpu" and "cpuacct" in one, and an empty version 2 beside it.
    void separate(const std::string& group, const std::string& shown = "/") const {
        write("/proc/self/cgroup", "9:cpuset:/other\n4:cpu,cpuacct:" + group + "\n0::/\n");
        write("/proc/self/mountinfo",
              "30 23 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n31 23 0:28 " + shown +
                  " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
                  "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    }
    double quota() const { return cpu_quota(root); }
};

/// A variable of the environment while this lives; null: not set.
struct Environment {
    Environment(const char* variable, const char* value) : name(variable) {
        if (const char* old = std::getenv(name)) before = old, existed = true;
        value ? ::setenv(name, value, 1) : ::unsetenv(name);
    }
    ~Environment() { existed ? ::setenv(name, before.c_str(), 1) : ::unsetenv(name); }
    const char* name;
    std::string before;
    bool existed = false;
};

}  // namespace

TEST_CASE("a quota of version 2 is the least of a group and of those around it") {
    const System system;
    CHECK(std::isinf(system.quota()));  // not even /proc
    system.unified("/jobs/mine");
    CHECK(std::isinf(system.quota()));
    system.write("/sys/fs/cgroup/jobs/mine/cpu.max", "max 100000\n");
    CHECK(std::isinf(system.quota()));
    system.write("/sys/fs/cgroup/jobs/cpu.max", "250000 100000\n");
    CHECK(system.quota() == 2.5);
    system.write("/sys/fs/cgroup/jobs/mine/cpu.max", "50000 100000\n");
    CHECK(system.quota() == 0.5);
    system.write("/sys/fs/cgroup/jobs/yours/cpu.max", "1000 100000\n");
    CHECK(system.quota() == 0.5);
    system.write("/sys/fs/cgroup/jobs/mine/cpu.max", "damaged");
    CHECK(system.quota() == 2.5);
}

TEST_CASE("a quota of version 1 lies in the hierarchy of the cpu controller") {
    const System system;
    system.separate("/jobs/mine");
    system.write("/sys/fs/cgroup/cpu,cpuacct/jobs/mine/cpu.cfs_quota_us", "-1\n");
    system.write("/sys/fs/cgroup/cpu,cpuacct/jobs/mine/cpu.cfs_period_us", "100000\n");
    CHECK(std::isinf(system.quota()));
    system.write("/sys/fs/cgroup/cpu,cpuacct/jobs/mine/cpu.cfs_quota_us", "30000\n");
    system.write("/sys/fs/cgroup/cpu,cpuacct/jobs/mine/cpu.cfs_period_us", "20000\n");
    CHECK(system.quota() == 1.5);
    system.write("/sys/fs/cgroup/cpuset/other/cpu.cfs_quota_us", "1000\n");
    system.write("/sys/fs/cgroup/cpuset/other/cpu.cfs_period_us", "100000\n");
    CHECK(system.quota() == 1.5);
}

TEST_CASE("a container sees its own group at the mount point, under whatever name") {
    const System system;
    system.write("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    system.write("/sys/fs/cgroup/inner/cpu.max", "150000 100000\n");
    system.unified("/docker/7f", "/docker/7f");
    CHECK(system.quota() == 4);
    system.unified("/docker/7f/inner", "/docker/7f");
    CHECK(system.quota() == 1.5);
    system.unified("/");
    CHECK(system.quota() == 4);
    for (const char* other : {"/elsewhere", "/docker/7fab", "/docker/7fab/inner", "/docker"}) {
        system.unified(other, "/docker/7f");  // not below what is shown
        CHECK(system.quota() == 4);
    }
    system.unified("inner");  // no path
    CHECK(system.quota() == 4);
}

TEST_CASE("whoever says the number of threads most plainly is heard") {
    const System system;
    system.unified("/job");
    const Environment none("OMP_NUM_THREADS", nullptr);
    const int cores = choose_threads(0, system.root).threads;
    CHECK(cores >= 1);
    system.write("/sys/fs/cgroup/job/cpu.max", "50000 100000\n");
    const ThreadChoice half = choose_threads(0, system.root);
    CHECK(half.threads == 1);
    CHECK(half.origin == "quota of 0.5 CPUs");
    system.write("/sys/fs/cgroup/job/cpu.max", std::to_string(100000 * cores - 1) + " 100000\n");
    CHECK(choose_threads(0, system.root).threads == std::max(1, cores - 1));
    system.write("/sys/fs/cgroup/job/cpu.max", std::to_string(100000 * cores) + " 100000\n");
    CHECK(choose_threads(0, system.root).threads == cores);

    system.write("/sys/fs/cgroup/job/cpu.max", "50000 100000\n");
    const Environment three("OMP_NUM_THREADS", " 3,2");
    CHECK(choose_threads(0, system.root).threads == 3);
    CHECK(choose_threads(0, system.root).origin == "OMP_NUM_THREADS");
    CHECK(choose_threads(5, system.root).threads == 5);
    CHECK(choose_threads(5, system.root).origin == "--threads");
    for (const char* nonsense : {"", "0", "-2", "two", "3x", "99999999999"}) {
        const Environment wrong("OMP_NUM_THREADS", nonsense);
        CAPTURE(nonsense);
        CHECK(choose_threads(0, system.root).threads == 1);
    }
}

TEST_CASE("threads that are set are what a parallel region gets") {
    const Environment three("OMP_NUM_THREADS", "3");
    set_threads(0);
    CHECK(thread_count() == 3);
    set_threads(2);
    CHECK(thread_count() == 2);
    CHECK(start_threads(4).threads == 4);
    int started = 0;
#pragma omp parallel
#pragma omp atomic
    ++started;
    CHECK(started == 4);
}
