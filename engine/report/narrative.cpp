#include "engine/report/narrative.h"

#include <cmath>
#include <filesystem>

#include "engine/config/solver_problem.h"
#include "engine/files/decimal.h"
#include "engine/files/format.h"

namespace tvmap {
namespace {

/// A measure's columns in summary.csv, and its decimals.
struct Measure {
    const char *key, *title;
    int decimals;
};
constexpr Measure measures[] = {
    {"psnr", "PSNR, dB", 2}, {"ssim", "SSIM (Gaussian)", 3}, {"ssim_uniform", "SSIM (uniform)", 3}};

std::string short_number(double value) { return rounded_decimal(value, 4); }

std::string range(const Range& r) {
    return r.fixed() ? short_number(r.from)
                     : "drawn from [" + short_number(r.from) + ", " + short_number(r.to) + "]";
}

std::string phrase(const Range& r) { return (r.fixed() ? "= " : "") + range(r); }

/// The last two folders of a path: enough to know it by.
std::string shown_path(const std::string& path) {
    const std::filesystem::path p = std::filesystem::path(path).lexically_normal();
    const std::filesystem::path folder = p.has_filename() ? p : p.parent_path();
    return folder.parent_path().has_filename()
               ? (folder.parent_path().filename() / folder.filename()).string()
               : folder.string();
}

std::string duration(double seconds) {
    if (seconds < 120) return format("%.0f seconds", seconds);
    if (seconds < 7200) return format("%.0f minutes", seconds / 60);
    return format("%.1f hours", seconds / 3600);
}

std::string p_value(double p) { return std::isfinite(p) ? format("%.2g", p) : "–"; }

std::string interval(const SummaryRow& row, int decimals) {
    if (!row.low || !row.high) return "–";
    return fixed_number(*row.low, decimals, true) + " … " + fixed_number(*row.high, decimals, true);
}

std::string regulariser(const Config& config) {
    switch (config.solver.regulariser) {
        case Regulariser::tv:
            return "total variation";
        case Regulariser::tv8:
            return "total variation with diagonals";
        case Regulariser::tgv:
            return "second-order total generalised variation";
    }
    fail("a regulariser without a name");
}

std::string maps(const Config& config) {
    const int count = map_count(config);
    if (count == 1) return "one map Λ, which weighs all differences between neighbouring pixels";
    if (!config.map.separate) return "two maps Λ: one weighs each pixel's first differences, one its second";
    if (count == 2) return "two maps Λ: one weighs each pixel's vertical difference, one its horizontal";
    return text(count, " maps Λ, one for each of a pixel's differences");
}

std::string observation(const ObservationConfig& o) {
    switch (o.sight) {
        case Sight::identity:
            return "";
        case Sight::mask:
            return format("%.4g %% of its pixels missing", 100 * o.missing);
        case Sight::blur:
            return text("blurred by a Gaussian of ", o.blur_size, "×", o.blur_size, " pixels");
        case Sight::impulses:
            return format("%.4g %% of its pixels black or white instead of what they were", 100 * o.impulses);
        case Sight::poisson:
            return text("counted photon by photon (the variance of a value x is ", o.gain.from,
                        o.gain.fixed() ? "" : text(" to ", o.gain.to), " times x)");
        case Sight::downsample:
            return text("seen as means of blocks of ", o.factor, "×", o.factor, " pixels");
    }
    fail("an observation without a name");
}

std::string what_was_done(const RunRecord& run) {
    const Config& c = run.config;
    std::string channels;
    for (const int count : c.network.channels) channels += text(channels.empty() ? "" : "-", count);
    const std::string parameters = run.training ? run.training->parameters : "";
    const std::string seen = observation(c.solver.observation);
    const std::string what =
        c.network.predicts_image
            ? "predicts its noise, which is taken from it"
            : text("predicts ", maps(c), ": how strongly to smooth, pixel by pixel. ", c.evaluate.iterations,
                   " steps of a primal-dual solver then restore the image by ", regulariser(c),
                   map_count(c) > 1 ? " with these maps" : " with that map");
    return text("A U-Net of ", channels, " channels",
                parameters.empty() ? "" : " (" + grouped(parameters) + " parameters)",
                " looks at a noisy image", seen.empty() ? "" : ", " + seen + ",", " and ", what,
                ". The noise is Gaussian, of σ times ",
                c.noise.relative_to_image_std ? "the image's own standard deviation"
                                              : "the full range of grey values",
                "; what it makes darker than black or brighter than white is not cut off.");
}

/// Where the test images are.
std::string tested(const Config& c) { return shown_path(c.data.folds > 0 ? c.data.train : c.data.test); }

/// What the optimiser is, and what its rate does.
std::string optimiser(const Config& c) {
    const OptimiserConfig& o = c.optimiser;
    std::string line = text(o.decoupled_decay ? "AdamW" : "Adam", " at a rate of ", short_number(o.rate));
    if (o.warmup > 0) line += text(", reached after ", grouped(text(o.warmup)), " steps,");
    if (o.schedule == RateSchedule::cosine) line += " that falls to zero by a cosine";
    if (o.schedule == RateSchedule::step)
        line += text(" that is multiplied by ", short_number(o.factor), " in ", o.milestones.size(),
                     o.milestones.size() == 1 ? " place" : " places");
    if (c.train.accumulate > 1) line += text(", of the mean gradient of ", c.train.accumulate, " batches");
    if (c.train.ema > 0)
        line += text("; what is used is the exponential moving average of the weights (",
                     short_number(c.train.ema), ")");
    return line;
}

/// What the loss compared results with, where it was no clean image.
std::string compared_with(Supervision supervision) {
    switch (supervision) {
        case Supervision::clean:
            return "";
        case Supervision::r2r:
            return " against recorrupted images, without clean ones,";
        case Supervision::sure:
            return ", as SURE estimates it without clean images,";
        case Supervision::pairs:
            return " against second noisy images, without clean ones,";
    }
    return "";
}

std::string how_it_was_trained(const RunRecord& run) {
    if (const DataConfig& data = run.config.data; data.folds > 0)
        return text("This is a cross-validation: of ", data.folds, " networks each was trained on ",
                    data.folds - 1, " of ", data.folds, " parts of ", shown_path(data.train),
                    " and tested on the part that it had not seen; here are the images of all parts.");
    if (!run.training) return "How the network was trained is not known here: the run folder is not at hand.";
    const TrainingRecord& t = *run.training;
    const Config& c = t.config;
    std::string line =
        text("It was trained for ", grouped(text(t.steps)), " steps (", t.epochs,
             t.epochs == 1 ? " epoch" : " epochs", ") on ",
             t.images.empty() ? text("at most ", c.data.limit.train) : t.images, " images of ",
             shown_path(c.data.train), ", ",
             c.data.own_sizes ? "of their own sizes" : text(c.data.size, "×", c.data.size, " pixels"),
             c.noise.source == NoiseSource::estimated ? ", with noise of their own, whose σ is estimated"
                                                      : text(", with σ ", phrase(c.noise.sigma)),
             ": batches of ", c.train.batch);
    if (c.train.crop > 0) line += text(" random squares of ", c.train.crop, "×", c.train.crop);
    if (c.train.flip || c.train.rotate)
        line += c.train.flip && c.train.rotate ? ", mirrored and turned at random"
                : c.train.flip                 ? ", mirrored at random"
                                               : ", turned at random";
    if (!c.network.predicts_image) line += text(", ", c.solver.iterations, " solver steps");
    line += text(", ",
                 c.train.loss == LossKind::log_mse ? "the logarithm of the mean squared error"
                                                   : "the mean squared error",
                 compared_with(c.train.supervision), " as loss, ", optimiser(c), ". That took ",
                 duration(t.seconds), t.device.empty() ? "" : " on " + t.device, ".");
    const bool by_sure = c.train.supervision != Supervision::clean;
    if (by_sure || t.best_psnr) {
        line += text(by_sure ? " SURE" : " The mean PSNR", " of the validation images (at most ",
                     c.data.limit.val, "), with noise as in training, was best in epoch ", t.best_epoch);
        if (t.best_psnr)
            line +=
                text(by_sure ? ", where their mean PSNR is " : ": ", fixed_number(*t.best_psnr, 2), " dB");
        line += ".";
    }
    const auto evaluated = parse_decimal<std::uint64_t>(run.fact("weights_steps"));
    if (evaluated && t.best_steps > 0 && std::uint64_t(t.best_steps) != *evaluated)
        line += text(" What follows is of the weights after ", grouped(text(*evaluated)),
                     " steps: those that are the best now, after ", grouped(text(t.best_steps)),
                     ", have not been evaluated here.");
    return line;
}

std::string what_came_out(const RunRecord& run) {
    const Config& c = run.config;
    const SummaryRow &noisy = run.of("noisy_psnr"), &scalar = run.of("scalar_psnr"),
                     &map = run.of("map_psnr"), &gain = run.of("gain_psnr"), &ssim = run.of("gain_ssim");
    if (run.counted == 0)
        return "No test image counts in the means: each restoration, or each noisy image, equals the clean "
               "one.";
    std::string line =
        text("On ", run.counted, run.counted == 1 ? " test image of " : " test images of ", tested(c),
             ", with σ ", phrase(c.evaluate.sigma),
             ", the noisy images have a mean PSNR (peak signal-to-noise ratio: more is better) of ",
             fixed_number(noisy.mean, 2),
             " dB. One parameter λ for each whole image, chosen by looking at the clean image, reaches ",
             fixed_number(scalar.mean, 2), " dB; the ", c.network.predicts_image ? "network" : "learned map",
             ", which sees the noisy image alone, reaches ", fixed_number(map.mean, 2), " dB. Its gain is ",
             fixed_number(gain.mean, 2, true), " dB");
    if (gain.low) line += " (95 % interval " + interval(gain, 2) + ")";
    if (std::isfinite(ssim.mean)) line += " in PSNR and " + fixed_number(ssim.mean, 3, true) + " in SSIM";
    line += text("; it is better on ", run.won, " of ", run.counted, " images (p = ", p_value(run.p),
                 ", sign flips).");
    if (const std::size_t left = run.images.rows() - std::size_t(run.counted); left > 0)
        line += text(" Left out of the means: ", left, left == 1 ? " image" : " images",
                     " of which a result equals the clean image.");
    return line;
}

}  // namespace

std::string fixed_number(double value, int decimals, bool sign) {
    if (!std::isfinite(value)) return "–";
    return sign ? format("%+.*f", decimals, value) : format("%.*f", decimals, value);
}

std::string grouped(const std::string& digits) {
    std::string result = digits;
    for (std::size_t place = digits.size(); place > 3; place -= 3) result.insert(place - 3, ",");
    return result;
}

std::vector<std::string> opening(const RunRecord& run) {
    return {what_was_done(run), how_it_was_trained(run), what_came_out(run)};
}

Cells result_table(const RunRecord& run) {
    Cells cells{{text(run.counted, run.counted == 1 ? " image" : " images")}};
    for (const Measure& m : measures) cells[0].push_back(m.title);
    const std::pair<const char*, const char*> methods[] = {
        {"noisy", "noisy"}, {"best scalar λ", "scalar"}, {method_name(run.config), "map"}};
    for (const auto& [title, key] : methods) {
        cells.push_back({title});
        for (const Measure& m : measures) {
            const SummaryRow& row = run.of(text(key, "_", m.key));
            cells.back().push_back(std::isfinite(row.mean) ? fixed_number(row.mean, m.decimals) + " ± " +
                                                                 fixed_number(row.deviation, m.decimals)
                                                           : "–");
        }
    }
    cells.push_back({run.config.network.predicts_image ? "gain over scalar" : "map over scalar"});
    for (const Measure& m : measures)
        cells.back().push_back(fixed_number(run.of(text("gain_", m.key)).mean, m.decimals, true));
    cells.push_back({"its 95 % interval"});
    for (const Measure& m : measures)
        cells.back().push_back(interval(run.of(text("gain_", m.key)), m.decimals));
    return cells;
}

std::string verdict(const RunRecord& run) {
    const SummaryRow& at = run.of("scalar_lambda_psnr");
    return text(
        "best scalar λ by PSNR = ", fixed_number(at.mean, 3), " ± ", fixed_number(at.deviation, 3), "; the ",
        run.config.network.predicts_image ? "network" : "map", " is better on ", run.won, " of ", run.counted,
        " images. Mean ± standard deviation over the images; the interval is a bootstrap-t over "
        "them, and p = ",
        p_value(run.p),
        " is how often so large a mean gain, up or down, comes about where each image's sign is "
        "thrown by a coin (sign flips; of more than 16 images 0.0001 is the least that is told). The best "
        "scalar is each image's own, chosen for PSNR and for each SSIM apart. SSIM (Gaussian) weighs windows "
        "of 11×11 pixels by a Gaussian, and is what text and figures show; SSIM (uniform) has windows of "
        "7×7. "
        "White is 1, and the peak of PSNR.");
}

Cells comparison_table(const std::vector<RunRecord>& runs) {
    // Where runs differ in it: what they have in common.
    std::string method = runs.empty() ? "" : method_name(runs.front().config);
    for (const RunRecord& run : runs)
        if (method != method_name(run.config)) method = "learned";
    Cells cells{{"run"},
                {"test images"},
                {"σ"},
                {"noisy, dB"},
                {"best scalar λ, dB"},
                {text(method, ", dB")},
                {"gain, dB"},
                {"its 95 % interval"},
                {"gain, SSIM"},
                {"its 95 % interval"},
                {"better on"},
                {"p (sign flips)"},
                {"maps"},
                {"T"},
                {"training steps"},
                {"training time"},
                {"trained on"}};
    for (const RunRecord& run : runs) {
        const Config& c = run.config;
        const auto mean = [&](const char* quantity) { return fixed_number(run.of(quantity).mean, 2); };
        const SummaryRow &psnr = run.of("gain_psnr"), &ssim = run.of("gain_ssim");
        const std::string column[] = {
            run.name,
            text(run.counted, " of ", tested(c)),
            range(c.evaluate.sigma),
            mean("noisy_psnr"),
            mean("scalar_psnr"),
            mean("map_psnr"),
            fixed_number(psnr.mean, 2, true),
            interval(psnr, 2),
            fixed_number(ssim.mean, 3, true),
            interval(ssim, 3),
            text(run.won, " of ", run.counted),
            p_value(run.p),
            text(map_count(c)),
            text(c.solver.iterations),
            run.training ? grouped(text(run.training->steps)) : "–",
            run.training ? duration(run.training->seconds) : "–",
            run.training && !run.training->device.empty() ? run.training->device : "–"};
        for (std::size_t row = 0; row < cells.size(); ++row) cells[row].push_back(column[row]);
    }
    return cells;
}

Cells machine_table(const RunRecord& run) {
    Cells cells{{"", ""}};
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) cells.push_back({name, value});
    };
    const auto fact = [&](const char* name, const char* key, const char* unit = "") {
        if (const std::string value = run.fact(key); !value.empty()) add(name, value + unit);
    };
    if (run.training) add("trained on", run.training->device);
    fact("evaluated on", "device");
    fact("evaluated at", "date");
    fact("tvmap", "version");
    fact("processor", "processor");
    fact("instruction set", "instruction_set");
    fact("threads", "threads");
    fact("memory of the machine", "memory_gib", " GiB");
    fact("oneDNN", "onednn");
    fact("compiler", "compiler");
    fact("CUDA backend", "cuda_backend");
    fact("weights", "checkpoint");
    const auto seconds = [&](const char* name, const char* key) {
        if (const auto value = parse_decimal<double>(run.fact(key))) add(name, format("%.3g s", *value));
    };
    seconds("search of all λ, an image (median)", "search_seconds");
    seconds("network and solver, an image (median)", "map_seconds");
    fact("settings", "use");
    return cells;
}

std::vector<std::string> commands(const RunRecord& run) {
    std::vector<std::string> lines;
    if (const std::string made = run.fact("run"); !made.empty() || run.training)
        lines.push_back("tvmap train " + (made.empty() ? std::string("RUN") : made) +
                        "/config.yaml --run NEW_FOLDER");
    const std::string evaluate = run.fact("command");
    lines.push_back(evaluate.empty() ? "tvmap evaluate RUN" : evaluate);
    return lines;
}

}  // namespace tvmap
