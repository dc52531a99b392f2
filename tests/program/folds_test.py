#!/usr/bin/env python3
"""Cross-validation, recomputed: the division of the images, means, intervals and p of all images, with a random generator of
this file's own; differences between swept values; each fold's folder by itself; what is refused. Needs Python's own library
alone."""
import csv
import itertools
import json
import math
import os
import pathlib
import shutil
import statistics
import struct
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ["TVMAP_SOURCE"], "tests", "support"))
from program import check, finish, refused, run  # noqa: E402

EXPERIMENT = """data: {{train: images, size: 32, folds: {folds}, limit: {{train: {count}, val: 2}}{more}}}
network: {{channels: [4, 4]}}
solver: {{iterations: 8}}
train: {{epochs: 2, batch: 2}}
evaluate: {{sigma: [0.1, 0.5], iterations: 8, search: {{from: 0, to: 0.2, count: 9}}}}
output: {{folder: ".", name: {name}}}
"""
SHUFFLE, BOOTSTRAP, PERMUTATION = 4, 8, 9  # purposes of random numbers


def philox(key, counter):
    """Philox 4×32-10 (Salmon et al., SC 2011)."""
    word = 0xFFFFFFFF
    key, counter = [key & word, key >> 32], list(counter)
    for _ in range(10):
        a, b = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [(b >> 32) ^ counter[1] ^ key[0], b & word, (a >> 32) ^ counter[3] ^ key[1], a & word]
        key = [(key[0] + 0x9E3779B9) & word, (key[1] + 0xBB67AE85) & word]
    return counter


def single(value):
    """Rounded to 32-bit floating point."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def words(purpose, draw):
    for block in itertools.count():
        yield from philox(0, (block, draw, 0, purpose))


def permutation(seed, count):
    """Fisher and Yates, from the end, each swap by its own counter."""
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        uniform = (philox(seed, (i, 0, 0, SHUFFLE))[0] >> 8) / 2**24
        j = min(i, int(single(uniform * (i + 1))))
        order[i], order[j] = order[j], order[i]
    return order


def mean_and_error(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def bootstrap_t(values, draws=10000):
    mean, error = mean_and_error(values)
    ts = []
    for draw in range(draws):
        source = words(BOOTSTRAP, draw)
        resample = [values[next(source) * len(values) >> 32] for _ in values]
        drawn, drawn_error = mean_and_error(resample)
        ts.append(0 if drawn == mean else math.copysign(math.inf, drawn - mean) if drawn_error == 0
                  else (drawn - mean) / drawn_error)
    ts.sort()
    tail = (1 - 0.95) / 2  # in double precision a little more than 0.025: the 251st of 10,000
    at = lambda share: ts[math.ceil(share * draws) - 1]
    return mean - at(1 - tail) * error, mean - at(tail) * error


def sign_flip_p(values, draws=9999):
    bound = abs(sum(values)) - 1e-12 * sum(map(abs, values))
    if len(values) <= 16:
        sums = (sum(s * v for s, v in zip(signs, values)) for signs in itertools.product((1, -1), repeat=len(values)))
        return sum(abs(s) >= bound for s in sums) / 2 ** len(values)
    far = 1
    for draw in range(draws):
        source = words(PERMUTATION, draw)
        total = 0
        for i in range(0, len(values), 32):
            bits = next(source)
            for k, value in enumerate(values[i:i + 32]):
                total += -value if bits >> k & 1 else value
        far += abs(total) >= bound
    return far / (draws + 1)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(table, name):
    return [float(row[name]) for row in table]


def succeeds(arguments, folder):
    result = run(arguments, folder)
    check(result.returncode == 0, f"tvmap {arguments}: exit {result.returncode}, {result.stderr}")
    return result


def close(a, b, what):
    """CSV files have six digits."""
    check(abs(float(a) - float(b)) <= 1e-5 * max(abs(float(b)), 1e-3), f"{what}: {a} instead of {b}")


def names_in(path):
    return [pathlib.Path(line).stem for line in path.read_text().splitlines()]


def write_experiment(folder, name, folds, count, more="", sweep=""):
    (folder / f"{name}.yaml").write_text(EXPERIMENT.format(name=name, folds=folds, count=count, more=more) + sweep)


def check_division(folder, queue, seed, images, folds, validation):
    parts = []
    order = permutation(seed, len(images))
    for fold in range(folds):
        place = queue / f"fold-{fold + 1}"
        test, train = names_in(place / "test.txt"), names_in(place / "train.txt")
        val = names_in(place / "val.txt") if (place / "val.txt").exists() else []
        parts.append(test)
        check(sorted(train + val + test) == images, f"{place}: {len(train)} + {len(val)} + {len(test)} images, not each once")
        check(train == sorted(train) and test == sorted(test), f"{place}: not in the images' order")
        expected = sorted(images[i] for i in order[fold::folds])
        check(test == expected, f"{place}: tests {test} instead of {expected}")
        others = [images[i] for place_, i in enumerate(order) if place_ % folds != fold]
        check(val == sorted(others[:validation]), f"{place}: validates {val}")
        config = (place / "config.yaml").read_text()
        check(f"seed: {seed + fold * 2**32}\n" in config, f"{place}: another seed")
        check(f"train: \"{place}/train.txt\"" in config and "folds: 0" in config, f"{place}: {config}")
    sizes = [len(part) for part in parts]
    check(max(sizes) - min(sizes) <= 1, f"parts of {sizes} images")
    check(sorted(sum(parts, [])) == images, "not every image is tested once")


def check_summary(queue, line, images, folds):
    """The evaluation of all images, and the line of folds.csv about it."""
    whole = rows(queue / "evaluation" / "per_image.csv")
    check([row["name"] for row in whole] == images, f"{queue}: {[row['name'] for row in whole]}")
    of_folds = {row["name"]: row for fold in range(folds) for row in rows(queue / f"fold-{fold + 1}/evaluation/per_image.csv")}
    stored = [key for key in whole[0] if not key.startswith("gain")]
    for row in whole:
        check([row[key] for key in stored] == [of_folds[row["name"]][key] for key in stored], f"{row['name']}: another row")
        # The difference of two numbers of six digits, of which each may be off by 5e-5 dB.
        check(abs(float(row["gain_psnr"]) - float(of_folds[row["name"]]["gain_psnr"])) < 1.1e-4, f"{row['name']}: gain")
    summary = {row["quantity"]: row for row in rows(queue / "evaluation" / "summary.csv")}
    for quantity in ("noisy_psnr", "scalar_psnr", "map_psnr", "map_ssim"):
        values = column(whole, quantity)
        for name, value in ((quantity, statistics.fmean(values)), (quantity + "_deviation", statistics.stdev(values))):
            close(line[name], value, f"{queue}: {name}")
        close(summary[quantity]["mean"], statistics.fmean(values), f"{queue}: mean {quantity}")
        close(summary[quantity]["deviation"], statistics.stdev(values), f"{queue}: deviation of {quantity}")
    for measure in ("psnr", "ssim"):
        gains = [m - s for m, s in zip(column(whole, "map_" + measure), column(whole, "scalar_" + measure))]
        low, high = bootstrap_t(gains)
        quantity = "gain_" + measure
        for name, value in ((quantity, statistics.fmean(gains)), (quantity + "_low", low), (quantity + "_high", high)):
            close(line[name], value, f"{queue}: {name}")
        close(summary[quantity]["low"], low, f"{queue}: {quantity}, low")
        close(summary[quantity]["high"], high, f"{queue}: {quantity}, high")
        if measure == "psnr":
            close(line["p"], sign_flip_p(gains), f"{queue}: p")
            check(int(line["better"]) == sum(gain > 0 for gain in gains), f"{queue}: better on {line['better']}")
    # Noise belongs to a seed and a place in a list: were the folds of one seed, images would share it.
    sigmas = column(whole, "sigma")
    check(len(set(sigmas)) == len(sigmas), f"{queue}: images share a noise level: {sigmas}")
    check(int(line["images"]) == len(images), f"{queue}: {line['images']} images")


def check_folds(folder, images):
    count, folds = 11, 3
    write_experiment(folder, "plain", folds, count, more=", val: others")
    said = succeeds("train plain.yaml --threads 1", folder).stdout
    queue = folder / "plain"
    check_division(folder, queue, 42, images[:count], folds, 0)
    [line] = rows(queue / "folds.csv")
    check_summary(queue, line, images[:count], folds)
    check((queue / "table.md").read_text() in said, f"the tables are not printed: {said}")
    pieces = rows(queue / "pieces.csv")
    check([(row["run"], row["fold"]) for row in pieces] == [(f"fold-{i}", str(i)) for i in (1, 2, 3)], f"{pieces}")
    for row in pieces:
        own = rows(queue / row["run"] / "evaluation" / "per_image.csv")
        check(int(row["images"]) == len(own), f"{row}")
        close(row["map_psnr"], statistics.fmean(column(own, "map_psnr")), row["run"])
        validated = [float(r["val_psnr"]) for r in rows(queue / row["run"] / "metrics.csv") if r["val_psnr"]]
        close(row["validation_psnr"], max(validated), f"{row['run']}: validation")

    # A fold's folder is a run's like any other.
    before = (queue / "fold-2/evaluation/per_image.csv").read_bytes()
    succeeds(["evaluate", "plain/fold-2", "--threads", "1", "--out", "again"], folder)
    check((folder / "again/per_image.csv").read_bytes() == before, "fold-2 evaluated by itself gives other results")
    succeeds("report plain/fold-2", folder)
    refused(folder, 1, "evaluate plain", "plain: holds several runs")
    succeeds("report plain", folder)
    page = (queue / "report/index.html").read_text()
    for part in ("cross-validation: of 3 networks", "fold-1", "fold-2", "fold-3", "11 test images of"):
        check(part in page, f"the report does not say {part}")
    succeeds("report plain --markdown", folder)
    refused(folder, 1, "train plain.yaml", "plain: holds a queue of runs already", "--resume")
    refused(folder, 1, "train plain.yaml --resume --set data.folds=4", "another division of data.train", "4 folds")
    refused(folder, 1, "train plain.yaml --resume --set seed=1", "another division of data.train", "by seed 1")
    refused(folder, 1, "train plain.yaml --resume --set data.limit.train=12", "another division of data.train", "12 images")
    refused(folder, 1, "study plain.yaml --resume --out plain", "data.folds", "a study has no folds")


def check_own_validation(folder, images):
    """Without data.val a fold validates on images that it does not test; under a sweep, and with more than 16 images."""
    folds = 4
    write_experiment(folder, "both", folds, len(images), sweep="sweep: {optimiser.rate: [1e-3, 3e-3], map.scale: [0.1]}\n")
    said = json.loads(succeeds("train both.yaml --threads 1 --json", folder).stdout)
    queue = folder / "both"
    lines = rows(queue / "folds.csv")
    names = ["rate-1e-3_scale-0.1", "rate-3e-3_scale-0.1"]
    check([row["optimiser.rate"] for row in lines] == ["0.001", "0.003"], f"{lines}")
    check(len(said["pieces"]) == 2 * folds and len(said["folds"]) == 2, f"{said}")
    whole = []
    for name, line in zip(names, lines):
        check_division(folder, queue / name, 42, images, folds, 2)
        check_summary(queue / name, line, images, folds)
        whole.append(rows(queue / name / "evaluation/per_image.csv"))
    above = [b - a for a, b in zip(*(column(table, "map_psnr") for table in whole))]
    check(lines[0]["above_first_psnr"] == "", f"{lines[0]}")
    low, high = bootstrap_t(above)
    for name, value in (("psnr", statistics.fmean(above)), ("psnr_low", low), ("psnr_high", high), ("p", sign_flip_p(above))):
        close(lines[1]["above_first_" + name], value, f"above the first: {name}")
    succeeds("report both", folder)
    page = (queue / "report/index.html").read_text()
    check(all(name in page for name in names), "the report leaves a swept value out")

    # Of another seed, noise and parts are others: nothing to compare image by image.
    write_experiment(folder, "seeds", 2, 8, sweep="sweep: {seed: [1, 2]}\n")
    succeeds("train seeds.yaml --threads 1", folder)
    check([row["above_first_psnr"] for row in rows(folder / "seeds/folds.csv")] == ["", ""], "compared across seeds")


def check_sweep(folder):
    """Without folds: trained, not tested."""
    write_experiment(folder, "swept", 0, 4, more=", val: others, test: images", sweep="sweep: {seed: [1, 2]}\n")
    said = succeeds("train swept.yaml --threads 1", folder).stdout
    pieces = rows(folder / "swept/pieces.csv")
    check([(row["seed"], row["run"], row["steps"]) for row in pieces] == [("1", "seed-1", "4"), ("2", "seed-2", "4")], f"{pieces}")
    check(not (folder / "swept/folds.csv").exists() and "| seed | validation, dB |" in said, said)
    refused(folder, 1, "report swept", "tvmap evaluate swept/seed-1")
    # It goes on with its own images alone.
    shutil.copytree(folder / "images", folder / "changed")
    victim = sorted((folder / "changed").iterdir())[0]
    victim.write_bytes((sorted((folder / "changed").iterdir())[1]).read_bytes())
    refused(folder, 1, "train swept.yaml --threads 1 --resume --set data.train=changed", "begun with another picture in data.train")
    refused(folder, 1, "train swept.yaml --threads 1 --resume --set data.limit.train=2", "begun with another picture in data.train")
    shutil.rmtree(folder / "changed")
    shutil.copytree(folder / "images", folder / "moved")
    succeeds("train swept.yaml --threads 1 --resume --set data.train=moved", folder)
    succeeds("evaluate swept/seed-2 --threads 1", folder)
    succeeds("report swept", folder)


def check_refused(folder):
    write_experiment(folder, "wrong", 3, 11, more=", val: others")
    command = "train wrong.yaml"
    refused(folder, 1, f"{command} --set data.folds=1", "--set data.folds=1: data.folds: 1 would leave nothing")
    refused(folder, 1, f"{command} --set data.test=others", "data.folds: each image of data.train is tested by the fold")
    refused(folder, 1, f"{command} --set noise.source=estimated --set train.supervision=sure --set train.loss=mse",
            "data.folds: a cross-validation compares with clean images")
    refused(folder, 1, f"{command} --set data.folds=12", "12 folds of 11 images")
    refused(folder, 1, f"{command} --set train.batch=8", "fewer than the 8 that one step takes", "train.batch: 8")
    refused(folder, 1, f"{command} --set train.batch=2 --set train.accumulate=4", "fewer than the 8 that one step takes")
    refused(folder, 1, f"{command} --set data.val= --set data.limit.val=6", "data.limit.val", "fewer than the 2 that")
    refused(folder, 1, f"{command} --set data.val=images", "also in data.train", "a fold whose weights it would choose")
    refused(folder, 1, f"{command} --set data.train=nowhere", "data.train", "nowhere does not exist")
    (folder / "linked").mkdir()
    (folder / "linked" / "x.png").symlink_to(sorted((folder / "images").iterdir())[3])
    refused(folder, 1, f"{command} --set data.val=linked", "linked/x.png is also in data.train")
    (folder / "lines").mkdir()
    for i in range(6):
        shutil.copy(sorted((folder / "images").iterdir())[i], folder / "lines" / f"{i}.png")
    (folder / "lines" / "0.png").rename(folder / "lines" / "0\n.png")
    refused(folder, 1, [*command.split(), "--set", "data.train=lines"], "cannot stand in a list")
    # A run's folder is no queue's.
    write_experiment(folder, "single", 0, 4, more=", val: others")
    succeeds("train single.yaml --threads 1 --set train.epochs=1", folder)
    refused(folder, 1, "train wrong.yaml --run single", "single: holds a run")
    refused(folder, 1, "train wrong.yaml --run single --resume", "single: holds a run")
    result = succeeds("train wrong.yaml --plan", folder)
    check("predicted peak" in result.stdout, f"{result.stdout}")


def check_classes(folder):
    """Pictures of one name in two folders: a fold may come to test those of one folder alone, whose list calls them without it."""
    for name in ("ill", "well"):
        (folder / "classes" / name).mkdir(parents=True)
        for i, picture in enumerate(sorted((folder / "images").iterdir())[:3]):
            shutil.copy(picture, folder / "classes" / name / f"{i}.png")
    write_experiment(folder, "by_class", 6, 6, more=", val: others")
    succeeds("train by_class.yaml --threads 1 --set data.train=classes", folder)
    names = [row["name"] for row in rows(folder / "by_class/evaluation/per_image.csv")]
    check(names == [f"{c}_{i}" for i in range(3) for c in ("ill", "well")], f"{names}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(os.path.realpath(name))
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        succeeds("phantoms --out images --count 18 --size 32 --seed 5", folder)
        succeeds("phantoms --out others --count 2 --size 32 --seed 6", folder)
        images = sorted(path.stem for path in (folder / "images").iterdir())
        check_refused(folder)
        check_folds(folder, images)
        check_own_validation(folder, images)
        check_sweep(folder)
        check_classes(folder)
    finish()


if __name__ == "__main__":
    main()
