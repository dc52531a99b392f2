// The recipe is that of configs/chest_xray_fast.yaml; what differs follows from the pictures.
#include "engine/init/first_experiment.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "engine/init/first_experiment_text.h"
#include "kernels/base/error.h"
#include "kernels/training/random.h"

namespace tvmap {
namespace {

namespace fs = std::filesystem;

using Pictures = std::vector<SurveyedPicture>;

constexpr int steps_wanted = 20000;
constexpr int validations_wanted = 40;
/// Validation comes again and again, and the test searches 81 scalars for each picture.
constexpr int most_validated = 16, most_tested = 100;
/// Of pictures that are kept as they are; larger ones are validated by their centres.
constexpr int largest_whole = 512, largest_centre = 256;
constexpr double training_bytes = 1 << 30;  // what samples may take in memory

struct Parts {
    Pictures train, val, test;
};

/// 0 … count − 1 in a random order, a pure function of the seed.
std::vector<int> shuffled(std::uint64_t seed, int count) {
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    for (int i = count - 1; i > 0; --i) {
        // (Training shuffles in epochs from 1 on.)
        const int j = int(uniform(seed, Purpose::shuffle, 0, 0, std::uint32_t(i)) * float(i + 1));
        std::swap(order[i], order[std::min(j, i)]);
    }
    return order;
}

/// 5 % and 15 %, one at least.
int share_of(int count, double share, int most) {
    return std::clamp(int(std::lround(share * count)), 1, most);
}

/// Divides off the parts without a folder by chance; each keeps the order of the list.
Parts divided(const FirstExperimentRequest& request) {
    const Pictures& pool = request.train.survey.pictures;
    const int count = int(pool.size());
    const int val = request.val.folder.empty() ? share_of(count, 0.05, most_validated) : 0;
    const int test = request.test.folder.empty() ? share_of(count, 0.15, most_tested) : 0;
    const std::vector<int> order = shuffled(request.seed, count);
    const auto chosen = [&](int first, int last) {
        std::vector<int> places(order.begin() + first, order.begin() + last);
        std::sort(places.begin(), places.end());
        Pictures part;
        for (const int place : places) part.push_back(pool[place]);
        return part;
    };
    return {chosen(val + test, count), val > 0 ? chosen(0, val) : request.val.survey.pictures,
            test > 0 ? chosen(val, val + test) : request.test.survey.pictures};
}

std::string list_path(const std::string& out, const std::string& part) {
    const fs::path path(out);
    return (path.parent_path() / (path.stem().string() + "_" + part + ".txt")).string();
}

PictureList picture_list(const std::string& out, const std::string& part, const Pictures& pictures) {
    PictureList list{part, list_path(out, part), ""};
    for (const SurveyedPicture& picture : pictures) {
        if (picture.path.find('\n') != std::string::npos || picture.path.ends_with('\r'))
            fail(picture.path, ": a name with a line's end cannot stand in a list; rename the file");
        list.content += picture.path + "\n";
    }
    return list;
}

int multiple_below(int value, int multiple) { return value / multiple * multiple; }
double multiple_above(double value, double multiple) {
    // (The last digits of the quotient are the division's: 0.15 / 0.05 is above 3.)
    return std::ceil(value / multiple - 1e-9) * multiple;
}

void fit_sizes(Config& config, const Pictures& pictures) {
    const auto side = [](const SurveyedPicture& p) { return std::min(p.height, p.width); };
    const SurveyedPicture& first = pictures.front();
    int shortest = side(first);
    bool alike = first.height == first.width;
    for (const SurveyedPicture& picture : pictures) {
        shortest = std::min(shortest, side(picture));
        alike = alike && picture.height == first.height && picture.width == first.width;
    }
    const int multiple = 1 << (config.network.channels.size() - 1);
    config.data.own_sizes = !alike || shortest % multiple != 0 || shortest > largest_whole;
    config.data.size =
        multiple_below(config.data.own_sizes ? std::min(shortest, largest_centre) : shortest, multiple);
    config.train.crop = std::min(64, config.data.size);
}

void fit_noise(Config& config, const Pictures& pictures) {
    std::vector<double> shares;
    double deviation = 0;
    for (const SurveyedPicture& picture : pictures) {
        shares.push_back(picture.noise / picture.deviation);
        deviation = std::max(deviation, picture.deviation);
    }
    const auto hundredths = [](double value) { return std::round(100 * value) / 100; };
    const double from = hundredths(std::max(0.1, multiple_above(spread(shares).median, 0.05)));
    config.noise.sigma = {from, hundredths(std::max(0.5, 2 * from))};
    config.evaluate.sigma = {config.noise.sigma.to, config.noise.sigma.to};
    // The best scalar is about half of the noise's standard deviation.
    config.evaluate.search.to = hundredths(multiple_above(2 * config.noise.sigma.to * deviation, 0.04));
}

void fit_limits(Config& config, const Parts& parts) {
    double pixels = 0;
    bool wide = false;  // one picture of more than 8 bits makes all of them take 16
    for (const SurveyedPicture& picture : parts.train) {
        pixels += double(picture.height) * picture.width;
        wide = wide || picture.bits > 8;
    }
    const double bytes = (wide ? 2 : 1) * pixels / double(parts.train.size());
    const double most = std::clamp(training_bytes / bytes, double(config.train.batch),
                                   double(steps_wanted) * config.train.batch);
    config.data.limit = {std::min(int(parts.train.size()), int(most)),
                         std::min(int(parts.val.size()), most_validated),
                         std::min(int(parts.test.size()), most_tested)};
}

/// The recipe of configs/chest_xray_fast.yaml.
Config recipe() {
    Config config;
    config.network.he = config.network.normalise = true;
    config.map.separate = true;
    config.map.scale = 1;
    config.optimiser.rate = 1e-3;
    config.optimiser.beta2 = 0.99;
    config.optimiser.schedule = RateSchedule::cosine;
    config.optimiser.warmup = steps_wanted / 20;
    config.train.batch = 4;
    config.train.flip = true;
    config.train.loss = LossKind::log_mse;
    return config;
}

void check_counts(const FirstExperimentRequest& request) {
    const auto found = [](const GivenPart& part) { return int(part.survey.pictures.size()); };
    if (found(request.train) == 0 && !request.train.survey.left_out.empty())
        fail(request.train.folder, ": none of its ", request.train.survey.left_out.size(),
             " pictures can be used: ", request.train.survey.left_out.front());
    if (found(request.train) < least_pictures)
        fail(request.train.folder, ": ", found(request.train),
             found(request.train) == 1 ? " picture is" : " pictures are", " too few to learn from; give ",
             least_pictures,
             " or more, or denoise without training: tvmap solve PICTURE --lambda 0.05 --out RESULT");
    for (const GivenPart* part : {&request.val, &request.test})
        if (!part->folder.empty() && found(*part) == 0)
            fail(part->folder, ": none of its ", part->survey.left_out.size(),
                 " pictures can be used: ", part->survey.left_out.front());
}

}  // namespace

Spread spread(std::vector<double> values) {
    if (values.empty()) return {};
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const double median = values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {values.front(), median, values.back()};
}

std::vector<std::string> picture_list_paths(const std::string& out) {
    return {list_path(out, "train"), list_path(out, "val"), list_path(out, "test")};
}

FirstExperiment first_experiment(const FirstExperimentRequest& request) {
    check_counts(request);
    const Parts parts = divided(request);
    Pictures all = parts.train;
    all.insert(all.end(), parts.val.begin(), parts.val.end());
    all.insert(all.end(), parts.test.begin(), parts.test.end());

    FirstExperiment experiment;
    Config& config = experiment.config = recipe();
    config.seed = request.seed;
    config.data.picture_limit = request.picture_limit;
    const auto place = [&](const std::string& name, const GivenPart& part, const Pictures& pictures) {
        if (!part.folder.empty() && part.survey.left_out.empty() &&
            part.survey.pictures.size() == pictures.size())
            return part.folder;
        experiment.lists.push_back(picture_list(request.out, name, pictures));
        return experiment.lists.back().path;
    };
    config.data.train = place("train", request.train, parts.train);
    config.data.val = place("val", request.val, parts.val);
    config.data.test = place("test", request.test, parts.test);
    config.output.name = fs::path(request.out).stem().string();

    experiment.divided = request.val.folder.empty() || request.test.folder.empty();
    fit_sizes(config, all);
    fit_noise(config, all);
    fit_limits(config, parts);
    experiment.train = int(parts.train.size());
    experiment.val = int(parts.val.size());
    experiment.test = int(parts.test.size());
    experiment.steps_per_epoch = config.data.limit.train / config.train.batch;
    config.train.epochs = (steps_wanted + experiment.steps_per_epoch - 1) / experiment.steps_per_epoch;
    config.train.validate_every = config.train.checkpoint_every =
        std::max(1, config.train.epochs / validations_wanted);

    std::vector<double> noise;
    for (const SurveyedPicture& picture : all) noise.push_back(picture.noise);
    experiment.noise = spread(noise);
    const std::size_t left_out = request.train.survey.left_out.size() + request.val.survey.left_out.size() +
                                 request.test.survey.left_out.size();
    experiment.yaml = experiment_text(experiment, all, left_out);
    experiment.config =
        parse_config(experiment.yaml, request.out);  // the file says what was meant, or is refused
    return experiment;
}

}  // namespace tvmap
