// metrics.csv as anything may have left it. Whatever it holds, a run goes on with it: nothing of it is lost (it stays
// as it was or stands in a copy), what was read once reads the same again, and a new row is the last one.
#include "engine/training/metrics_file.h"

#include <cmath>

#include "tests/fuzz/folder.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace tvmap;
    if (size < 1) return 0;
    const MetricsFile::Start start{data[0], 10LL * data[0], 0, 1};
    const std::string given(reinterpret_cast<const char*>(data) + 1, size - 1);
    const fuzz::Folder folder("metrics");
    folder.write("metrics.csv", given);
    fuzz::may_refuse([&] {
        double seconds = 0;
        {
            const MetricsFile file(folder.path(), start);
            seconds = file.seconds();
            bool kept = false;
            for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
                if (entry.path().extension() == ".csv")
                    kept = kept || fuzz::Folder::read(entry.path()).starts_with(given);
            fuzz::demand(kept || file.note().empty(), "what is not kept as it was stands in a copy");
        }
        MetricsFile again(folder.path(), start);
        fuzz::demand(again.note().empty(), "what this class has written needs no note");
        fuzz::demand(again.seconds() == seconds || !std::isfinite(seconds) ||
                         std::abs(again.seconds() - seconds) <= 1e-3 * (1 + std::abs(seconds)),
                     "the same seconds again, to the digits that are written");
        MetricsFile::Row row;
        row.epoch = start.epoch + 1, row.steps = start.steps + 10, row.loss = 0.25, row.rate = 1e-4,
        row.seconds = 2;
        again.append(row);
        const auto last = MetricsFile::last_row(folder.path());
        fuzz::demand(last && last->epoch == row.epoch && last->steps == row.steps && last->loss == row.loss,
                     "a new row is the last one");
    });
    return 0;
}
