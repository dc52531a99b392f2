// Where a control group's files lie follows from two lists. /proc/self/mountinfo has a line for each mounted
// hierarchy, with the group that its mount point shows and, after " - ", the file system:
//     33 24 0:30 /docker/7f /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
// /proc/self/cgroup has a line NUMBER:CONTROLLERS:GROUP for each hierarchy, without controllers in version 2:
//     4:cpu,cpuacct:/docker/7f/job          0::/docker/7f/job
#include "kernels/threads/cpu_quota.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>
#include <vector>

namespace tvmap {
namespace {

constexpr double no_quota = std::numeric_limits<double>::infinity();

std::vector<std::string> split(const std::string& line, char separator) {
    std::vector<std::string> parts;
    std::istringstream in(line);
    for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
    return parts;
}

bool names_cpu(const std::string& list) {
    const std::vector<std::string> names = split(list, ',');
    return std::find(names.begin(), names.end(), "cpu") != names.end();
}

/// The first `count` numbers of a file; one that is not there, or is none ("max"), counts as −1.
std::vector<double> numbers(const std::string& path, std::size_t count) {
    std::ifstream file(path);
    std::vector<double> result(count, -1);
    std::string word;
    for (std::size_t i = 0; i < count && file >> word; ++i) {
        long long value = 0;
        if (std::from_chars(word.data(), word.data() + word.size(), value).ec == std::errc())
            result[i] = double(value);
    }
    return result;
}

/// Of one group's folder, version 2 and 1.
double quota_in(const std::string& folder) {
    const std::vector<double> both = numbers(folder + "/cpu.max", 2);
    double quota = no_quota;
    const auto count = [&](double time, double period) {
        if (time > 0 && period > 0) quota = std::min(quota, time / period);
    };
    count(both[0], both[1]);
    count(numbers(folder + "/cpu.cfs_quota_us", 1)[0], numbers(folder + "/cpu.cfs_period_us", 1)[0]);
    return quota;
}

/// A hierarchy that can set quotas.
struct Hierarchy {
    bool unified = false;  ///< version 2
    std::string shown;     ///< the group at the mount point
    std::string mount;
};

std::vector<Hierarchy> hierarchies(const std::string& root) {
    std::vector<Hierarchy> result;
    std::ifstream mounts(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(mounts, line);) {
        const std::size_t dash = line.find(" - ");
        if (dash == std::string::npos) continue;
        const std::vector<std::string> place = split(line.substr(0, dash), ' ');
        const std::vector<std::string> system = split(line.substr(dash + 3), ' ');
        if (place.size() < 5 || system.empty()) continue;
        const bool unified = system[0] == "cgroup2";
        if (unified || (system[0] == "cgroup" && system.size() > 2 && names_cpu(system[2])))
            result.push_back({unified, place[3], root + place[4]});
    }
    return result;
}

/// The group of this process; "" if there is none.
std::string group_of(const Hierarchy& hierarchy, const std::string& root) {
    std::ifstream groups(root + "/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) {
        const std::size_t first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (hierarchy.unified ? controllers.empty() : names_cpu(controllers)) return line.substr(second + 1);
    }
    return "";
}

}  // namespace

double cpu_quota(const std::string& root) {
    double quota = no_quota;
    for (const Hierarchy& hierarchy : hierarchies(root)) {
        std::string group = group_of(hierarchy, root);
        // In a container the mount point may show the container's group, of which paths tell the full name.
        const std::string shown = hierarchy.shown == "/" ? "" : hierarchy.shown;
        const bool within = group.compare(0, shown.size(), shown) == 0 &&
                            (group.size() == shown.size() || group[shown.size()] == '/');
        group.erase(0, within ? shown.size() : group.size());
        while (!group.empty()) {
            quota = std::min(quota, quota_in(hierarchy.mount + group));
            group.erase(std::min(group.rfind('/'), group.size()));
        }
        quota = std::min(quota, quota_in(hierarchy.mount));
    }
    return quota;
}

}  // namespace tvmap
