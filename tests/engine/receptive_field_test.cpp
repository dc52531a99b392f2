// What a network's map depends on, as its graph says it: against the network itself in double precision, pixel by pixel,
// and the tiles that are made of it.
#include "engine/graph/receptive_field.h"

#include <doctest/doctest.h>

#include <cmath>

#include "engine/model/tiles.h"
#include "engine/model/unet.h"
#include "tests/support/recording.h"
#include "tests/support/refusal.h"

using namespace tvmap;
using namespace tvmap::tests;

namespace {

Config config_of(int levels) {
    Config config;
    config.network.channels.assign(std::size_t(levels), 2);
    config.network.outputs = 1;
    return config;
}

/// What Λ is made of, pixel by pixel, in double.
Doubles raw_of(const Config& config, const NamedDoubles& weights, const Doubles& image, int height,
               int width) {
    reference::Tape tape(weights);
    const int raw = reference::unet(tape, tape.input(1, 1, height, width, image), config.network.channels, 1,
                                    float(config.network.slope));
    return tape.node(raw).value;
}

}  // namespace

TEST_CASE("the map changes with a pixel at either end of the field, and not at all with one beyond") {
    for (const int levels : {1, 2, 3}) {
        CAPTURE(levels);
        const Config config = config_of(levels);
        const auto backend = make_backend("cpu");
        const int multiple = 1 << (levels - 1);
        const RecordedModel model = record_window_model(*backend, config, multiple, multiple);
        std::mt19937 generator(4);
        NamedDoubles weights;  // all positive, so that nothing cancels
        for (const Parameter& p : model.graph.parameters())
            weights[p.name] = random_values(generator, std::size_t(p.size), 0.1, 0.5);
        // Long enough for the field of a place in the middle, along either axis.
        const int length = 64, narrow = 8, middle = 32;
        for (const bool along_rows : {false, true})
            for (int place = middle; place < middle + multiple; ++place) {
                CAPTURE(place);
                const Places field = receptive_field(model.graph, model.lambda, model.noisy, {place, place});
                REQUIRE(field.first > 0);
                REQUIRE(field.last + 1 < length);
                const int height = along_rows ? length : narrow, width = along_rows ? narrow : length;
                const Doubles image = random_values(generator, std::size_t(length) * narrow, 0.4, 0.6);
                const Doubles raw = raw_of(config, weights, image, height, width);
                // Whether Λ at the place changes with the pixels of one row (or column). They become so large that they
                // are every maximum that they take part in.
                const auto changes = [&](std::int64_t at) {
                    Doubles other = image;
                    for (int k = 0; k < narrow; ++k)
                        other[std::size_t(along_rows ? at * width + k : k * width + at)] += 1e6;
                    const Doubles changed = raw_of(config, weights, other, height, width);
                    bool any = false;
                    for (int k = 0; k < narrow; ++k) {
                        const auto here = std::size_t(along_rows ? place * width + k : k * width + place);
                        any = any || changed[here] != raw[here];
                    }
                    return any;
                };
                CHECK(changes(field.first));
                CHECK(changes(field.last));
                CHECK_FALSE(changes(field.first - 1));
                CHECK_FALSE(changes(field.last + 1));
            }
    }
}

TEST_CASE("the field of the reference's network, worked out by hand") {
    // Place 0 along an axis, its last place at each step. Decoder: 2 by two convolutions, 1 by the upsampling to half the
    // places (2k−1 and 2k read k−1 and k); 1, 3 and 2 at level 1; 1, 3 and 2 at level 2; then the encoder from level 3:
    // 2 by two convolutions, twice 4 and 1 by the pooling: 9, then 11, 23, 25, 51, 53. The first place is −54 likewise:
    // −2, −2; −4, −3; −5, −3; −5, −10; −12, −24; −26, −52; −54.
    const auto backend = make_backend("cpu");
    const RecordedModel model = record_window_model(*backend, Config{}, 8, 8);
    const Places field = receptive_field(model.graph, model.lambda, model.noisy, {0, 0});
    CHECK(field.first == -54);
    CHECK(field.last == 53);
    const Rim rim = rim_of(model.graph, model.lambda, model.noisy);
    CHECK(rim.head == 53);
    CHECK(rim.tail == 53);
}

TEST_CASE("every place is taken once, from a tile that holds its field or ends with the image") {
    const auto backend = make_backend("cpu");
    for (const int levels : {1, 2, 4}) {
        const int multiple = 1 << (levels - 1);
        const RecordedModel model = record_window_model(*backend, config_of(levels), multiple, multiple);
        const Rim rim = rim_of(model.graph, model.lambda, model.noisy);
        for (const int size : {multiple, 25 * multiple, 31 * multiple, 250 * multiple})
            for (const int count : {1, 2, 3, 7}) {
                CAPTURE(levels);
                CAPTURE(size);
                CAPTURE(count);
                const int side = tile_side(size, count, rim, multiple);
                CHECK(side % multiple == 0);
                CHECK(side <= size);
                const std::vector<TileSpan> spans = tile_spans(size, side, rim, multiple);
                CHECK(int(spans.size()) <= count);
                int next = 0;
                for (const TileSpan& span : spans) {
                    CHECK(span.start % multiple == 0);
                    CHECK(span.start >= 0);
                    CHECK(span.start + side <= size);
                    CHECK(span.from == next);
                    CHECK(span.to > span.from);
                    for (int place = span.from; place < span.to; ++place) {
                        const Places field =
                            receptive_field(model.graph, model.lambda, model.noisy, {place, place});
                        const bool held = (span.start == 0 || field.first >= span.start) &&
                                          (span.start + side == size || field.last < span.start + side);
                        if (!held) CHECK_MESSAGE(held, place);
                    }
                    next = span.to;
                }
                CHECK(next == size);
                // No shorter one would do.
                if (side < size && side - multiple > rim.head + rim.tail + multiple)
                    CHECK(int(tile_spans(size, side - multiple, rim, multiple).size()) > count);
            }
    }
}

TEST_CASE("a network with an operation that does not say what it reads is not divided") {
    Recorder net(1);
    const Value z = net.graph.input("z", 1, 1, 8, 8), other = net.graph.input("other", 1, 1, 8, 8);
    const Value x = net.denoise(z, net.map_from_raw(net.convolution(z, "raw", 1, 3, 1), 0.1, 0, 1), {});
    CHECK(has(refusal([&] { receptive_field(net.graph, x, z, {0, 0}); }), "does not say which places"));
    CHECK(has(refusal([&] { receptive_field(net.graph, other, z, {0, 0}); }), "does not depend on 'z'"));
}
