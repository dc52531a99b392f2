// The evaluation: its numbers are those of direct calls, and the oracle is the best of its curve.
#include "tests/evaluation/evaluation_workshop.h"

using namespace tvmap;
using namespace evaluation_workshop;

TEST_CASE("every number equals a direct call's") {
    for (const bool separate : {false, true}) {
        CAPTURE(separate);
        Workshop w(separate);
        w.config.evaluate.draws = 3;
        const Evaluation evaluation = w.run();
        REQUIRE(evaluation.images.size() == count);
        REQUIRE(evaluation.lambdas == std::vector<double>{0, 0.4 / 4, 0.4 * 2 / 4, 0.4 * 3 / 4, 0.4});

        const auto backend = make_backend("cpu");
        Algorithms algorithms = Algorithms::of_machine();
        Denoiser denoiser(*backend, algorithms, w.config, side, side);
        Parameters parameters(*backend, denoiser.graph().parameters(), false);
        read_weights(w.checkpoint, w.config, parameters);
        const Arena arena(*backend, denoiser.arena_bytes());
        denoiser.bind(arena, parameters);
        const Dataset data(w.config.data.test, side, count);
        std::vector<float> clean(pixels), noisy(pixels), x(pixels), lambda(pixels * denoiser.maps());
        for (int i = 0; i < count; ++i) {
            const EvaluatedImage& image = evaluation.images[i];
            CHECK(image.name == data.name(i));
            data.copy(i, clean.data());
            const float sigma =
                make_noisy({w.config.noise, w.config.evaluate.sigma, w.config.seed, test_epoch}, data, i,
                           pixels, clean.data(), noisy.data());
            CHECK(image.sigma == sigma);
            CHECK(sigma >= 0.3f);
            CHECK(sigma <= 0.6f);
            const auto check = [&](const Quality& q, const std::vector<float>& result) {
                CHECK(q.psnr == cpu::psnr(result.data(), clean.data(), pixels));
                CHECK(q.ssim == cpu::ssim_gaussian(result.data(), clean.data(), side, side));
                CHECK(q.ssim_uniform == cpu::ssim_uniform(result.data(), clean.data(), side, side));
            };
            check(image.noisy, noisy);

            REQUIRE(image.curve.size() == 5);
            PdhgProblem problem = pdhg_problem(w.config.solver, w.config.map, 1, side, side);
            problem.map = MapKind::scalar;
            const DeviceArray<std::byte> workspace(*backend, cpu::pdhg_workspace_bytes(problem));
            for (int l = 0; l < 5; ++l) {
                const float value = float(evaluation.lambdas[l]);
                cpu::pdhg_forward(problem, 16, {noisy.data(), &value}, {.x = x.data()},
                                  {workspace.data(), workspace.bytes()});
                check(image.curve[l], x);
            }

            denoiser.run(noisy.data(), lambda.data(), x.data());
            check(image.map, x);
            double mean = 0;
            for (float v : lambda) mean += v;
            CHECK(image.lambda_mean == doctest::Approx(mean / double(lambda.size())));

            MapDraws draws(lambda.size());  // the same strength of noise, drawn anew
            const Range as_strong{sigma, sigma};
            for (int k = 0; k < 3; ++k) {
                make_noisy({w.config.noise, as_strong, w.config.seed, redraw_epoch(k)}, data, i, pixels,
                           clean.data(), noisy.data());
                denoiser.run(noisy.data(), lambda.data(), x.data());
                draws.add(lambda.data(), cpu::psnr(x.data(), clean.data(), pixels));
            }
            CHECK(image.stability.spread > 0);
            CHECK(image.stability.spread == draws.stability().spread);
            CHECK(image.stability.psnr_spread == draws.stability().psnr_spread);
        }
    }
}

TEST_CASE("operators: what is observed is measured, and the best scalar is that of the same problem") {
    for (const Sight sight : {Sight::mask, Sight::blur, Sight::downsample, Sight::impulses, Sight::poisson}) {
        CAPTURE(int(sight));
        Workshop w(true);
        w.config.solver.observation = {.sight = sight, .blur_size = 3};
        if (sight == Sight::poisson) w.config.noise.relative_to_image_std = false;
        w.write_weights();
        const Evaluation evaluation = w.run(1);
        const auto backend = make_backend("cpu");
        const Dataset images(w.config.data.test, side, count);
        const Observer observer(w.config.solver.observation);
        SolverConfig solver = w.config.solver;
        solver.iterations = w.config.evaluate.iterations;
        for (int i = 0; i < count; ++i) {
            std::vector<float> clean(pixels), seen(pixels), weights(pixels);
            images.copy(i, clean.data());
            observer.observe({w.config.noise, w.config.evaluate.sigma, w.config.seed, test_epoch}, images, i,
                             side, side, clean.data(), seen.data(), weights.data());
            const EvaluatedImage& image = evaluation.images[i];
            CHECK(image.noisy.psnr == cpu::psnr(seen.data(), clean.data(), pixels));
            const std::vector<float> lambdas(evaluation.lambdas.begin(), evaluation.lambdas.end());
            const auto curve = scalar_search(
                *backend, solver,
                {seen.data(), clean.data(), 1, side, side, observer.weighs() ? weights.data() : nullptr},
                lambdas);
            for (std::size_t l = 0; l < lambdas.size(); ++l)
                CHECK(image.curve[l].psnr == curve[0].quality[l].psnr);
            CHECK(std::isfinite(image.map.psnr));
        }
    }
}

TEST_CASE("other draws of counts are of the image's own gain") {
    Workshop w(true);
    w.config.solver.observation = {.sight = Sight::poisson, .gain = {0.005, 0.2}};
    w.config.noise.relative_to_image_std = false;
    w.config.evaluate.sigma = {0.01, 0.05};
    w.config.evaluate.draws = 4;
    w.write_weights();
    const Evaluation evaluation = w.run();
    const auto backend = make_backend("cpu");
    Model model = Model::load(*backend, w.config, w.checkpoint, side, side);
    Denoiser& denoiser = model.denoiser(side, side);
    const Dataset data(w.config.data.test, side, count);
    for (int i = 0; i < count; ++i) {
        std::vector<float> clean(pixels), seen(pixels), weights(pixels), x(pixels), lambda(2 * pixels);
        data.copy(i, clean.data());
        const Range sigma{evaluation.images[i].sigma, evaluation.images[i].sigma};
        ObservationConfig observation = w.config.solver.observation;
        const double gain = Observer(observation).gain(w.config.seed, test_epoch, std::uint32_t(i));
        CHECK(gain > 0.005);
        CHECK(gain < 0.2);
        observation.gain = {gain, gain};
        MapDraws draws(lambda.size());
        for (int k = 0; k < 4; ++k) {
            Observer(observation)
                .observe({w.config.noise, sigma, w.config.seed, redraw_epoch(k)}, data, i, side, side,
                         clean.data(), seen.data(), weights.data());
            denoiser.run(seen.data(), lambda.data(), x.data(), weights.data());
            draws.add(lambda.data(), cpu::psnr(x.data(), clean.data(), pixels));
        }
        CHECK(evaluation.images[i].stability.spread == draws.stability().spread);
        CHECK(evaluation.images[i].stability.psnr_spread == draws.stability().psnr_spread);
    }
}

TEST_CASE("no draw of the noise is another's") {
    std::set<std::uint32_t> epochs{validation_epoch, test_epoch, observation_epoch};
    for (int draw = 0; draw < 100; ++draw) epochs.insert(redraw_epoch(draw));
    CHECK(epochs.size() == 103);
    CHECK(*std::next(epochs.begin()) > 1000000);  // training counts from 1
}

TEST_CASE("images at their own sizes, by a map and by a network that gives images") {
    for (const bool image_output : {false, true}) {
        CAPTURE(image_output);
        Workshop w;
        w.config.data.own_sizes = true;
        w.config.network.predicts_image = image_output;
        w.config.network.normalise = true;
        w.write_weights();
        // The second one is wider than high, and no side of it can be halved.
        write_png(w.folder / "test/image_1.png",
                  Picture{side - 3, side + 5, 1, 8, std::vector<float>((side - 3) * (side + 5), 0.4f)});
        const Evaluation evaluation = w.run(count);
        REQUIRE(evaluation.images.size() == count);
        const std::string table = evaluation.table();
        CHECK((table.find("network is better on") != table.npos) == image_output);
        CHECK((table.find("map Λ") == table.npos) == image_output);
        const auto backend = make_backend("cpu");
        Algorithms algorithms = Algorithms::of_machine();
        const Dataset data(w.config.data.test, 0, count, "", 8, 0, Preparation::none);
        for (int i = 0; i < count; ++i) {
            const int height = data.height(i), width = data.width(i);
            CHECK(height == (i == 1 ? side - 3 : side));
            Denoiser denoiser(*backend, algorithms, w.config, height, width);
            CHECK(denoiser.maps() == (image_output ? 0 : 1));
            Parameters parameters(*backend, denoiser.graph().parameters(), false);
            read_weights(w.checkpoint, w.config, parameters);
            const Arena arena(*backend, denoiser.arena_bytes());
            denoiser.bind(arena, parameters);
            std::vector<float> clean(data.pixels(i)), noisy(clean.size()), x(clean.size()),
                lambda(clean.size());
            data.copy(i, clean.data());
            make_noisy({w.config.noise, w.config.evaluate.sigma, w.config.seed, test_epoch}, data, i,
                       data.pixels(i), clean.data(), noisy.data());
            denoiser.run(noisy.data(), lambda.data(), x.data());
            CHECK(evaluation.images[i].map.psnr == cpu::psnr(x.data(), clean.data(), data.pixels(i)));
            CHECK(evaluation.images[i].map.ssim == cpu::ssim_gaussian(x.data(), clean.data(), height, width));
            const std::string stem = w.folder / ("evaluation/images/image_" + std::to_string(i));
            CHECK(read_picture(stem + "_map.png").width == width);
            CHECK(std::filesystem::exists(stem + "_lambda.png") == !image_output);
        }
    }
}

TEST_CASE("the oracle is the best of the curve, for each measure by itself") {
    const Workshop w;
    const Evaluation evaluation = w.run();
    for (const EvaluatedImage& image : evaluation.images)
        for (const auto measure : {&Quality::psnr, &Quality::ssim, &Quality::ssim_uniform}) {
            int at = -1;
            double best = -1e300;
            for (int l = 0; l < 5; ++l)
                if (image.curve[l].*measure > best) best = image.curve[at = l].*measure;
            CHECK(image.scalar.*measure == best);
            CHECK(image.scalar_at.*measure == evaluation.lambdas[at]);
        }
    // Noise of half the image's deviation needs some regularisation, and not the most.
    CHECK(evaluation.images[0].scalar_at.psnr > 0);
    CHECK(evaluation.images[0].scalar_at.psnr < 0.4);
}

TEST_CASE("the test's noise does not depend on the network and is drawn once") {
    Workshop w;
    const Evaluation first = w.run();
    w.config.map.scale = 0.3;
    CHECK_THROWS_AS(w.run(), Error);  // not with weights that were trained for another map
    w.write_weights();
    const Evaluation second = w.run();
    for (int i = 0; i < count; ++i) {
        CHECK(first.images[i].noisy.psnr == second.images[i].noisy.psnr);
        CHECK(first.images[i].scalar.psnr == second.images[i].scalar.psnr);
        CHECK(first.images[i].map.psnr != second.images[i].map.psnr);
    }
}

TEST_CASE("gains and statistics") {
    Evaluation evaluation;
    evaluation.images.resize(3);
    const double map[] = {30, 32, 37}, scalar[] = {29, 33, 34};
    for (int i = 0; i < 3; ++i) {
        evaluation.images[i].map = {map[i], map[i] / 100, map[i] / 50};
        evaluation.images[i].scalar = {scalar[i], scalar[i] / 100, scalar[i] / 50};
    }
    CHECK(evaluation.gain().psnr == doctest::Approx(1.0));
    CHECK(evaluation.gain().ssim == doctest::Approx(0.01));
    CHECK(evaluation.gain().ssim_uniform == doctest::Approx(0.02));
    const Statistic s = statistic(evaluation.images, [](const EvaluatedImage& i) { return i.map.psnr; });
    CHECK(s.mean == doctest::Approx(33));
    CHECK(s.deviation == doctest::Approx(std::sqrt(13.0)));  // (9 + 1 + 16) / 2
    CHECK(statistic({evaluation.images[0]}, [](const EvaluatedImage& i) { return i.map.psnr; }).deviation ==
          0);
    CHECK(evaluation.table().find("better on 2 of 3 images") != std::string::npos);
}

TEST_CASE("means are of the images whose PSNR is a finite number, and the others are named") {
    constexpr double inf = std::numeric_limits<double>::infinity(),
                     nan = std::numeric_limits<double>::quiet_NaN();
    Evaluation evaluation;
    evaluation.images.resize(5);
    const double noisy[] = {20, inf, 24, 21, 22}, scalar[] = {29, inf, 33, 30, nan},
                 map[] = {30, 150, 35, inf, 31};
    const char* const names[] = {"a", "blank", "c", "equal", "odd"};
    for (int i = 0; i < 5; ++i) {
        EvaluatedImage& image = evaluation.images[i];
        image.name = names[i];
        image.noisy = {noisy[i], 0.2, 0.3};
        image.scalar = {scalar[i], nan, 0.5};  // no room for the Gaussian window
        image.map = {map[i], nan, 0.7};
    }
    CHECK(evaluation.left_out() == std::vector<std::string>{"blank", "equal", "odd"});
    CHECK(evaluation.gain().psnr == 1.5);
    CHECK(std::isnan(evaluation.gain().ssim));
    CHECK(evaluation.gain().ssim_uniform == doctest::Approx(0.2));
    const std::string table = evaluation.table();
    CHECK(table.find("better on 2 of 2 images") != std::string::npos);
    CHECK(table.find("blank, equal, odd") != std::string::npos);
    CHECK(table.find("nan") == std::string::npos);

    CHECK(statistic({1, nan, 3, inf, -inf}).mean == 2);
    CHECK(statistic({1, nan, 3, inf}).deviation == doctest::Approx(std::sqrt(2.0)));
    CHECK(std::isnan(statistic({nan, inf}).mean));
    CHECK(left_out_of_means({"1", "2", "3", "4", "5", "6", "7"}).find("5 and 2 more") != std::string::npos);

    const std::vector<Quality> curve{{nan, nan, 0}, {3, nan, 1}, {3, nan, 0}, {inf, nan, 2}};
    CHECK(best_of(curve, &Quality::psnr) == 3);
    CHECK(best_of({curve[0], curve[1], curve[2]}, &Quality::psnr) == 1);
    CHECK(!best_of(curve, &Quality::ssim));
}

TEST_CASE("a search of one value; weights of another network") {
    Workshop w;
    w.config.evaluate.search = {0.1, 0.4, 1};
    CHECK(w.run().lambdas == std::vector<double>{0.1});
    w.config.network.channels = {4, 8};
    CHECK_THROWS_AS(w.run(), Error);
}

TEST_CASE("best scalars at an end of the search are told") {
    Workshop w;
    w.config.evaluate.search = {0.001, 0.002, 2};  // far too little
    const Evaluation low = w.run();
    CHECK(low.table().find("at the end of the search, 0.002, on 3 images") != std::string::npos);
    w.config.evaluate.search = {5, 6, 2};  // far too much
    CHECK(w.run().table().find("at the start of the search, 5, on 3 images") != std::string::npos);
    w.config.evaluate.search = {0, 2, 41};
    const std::string both = w.run().table();
    CHECK(both.find("of the search") == std::string::npos);
}
