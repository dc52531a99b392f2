#!/usr/bin/env python3
"""tvmap init: the configuration fits the pictures, says why on every line, is accepted and trains; lists divide the pictures by a
seed; what cannot be used is left out and named; nothing is overwritten, and a refusal leaves nothing."""
import json
import math
import random
import shlex
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, contents, finish, png, refused, run  # noqa: E402


def pgm(rows, columns, seed, noise=2.0):
    """A slope with a disc, and noise of so many of 255."""
    draw = random.Random(seed)
    values = []
    for i in range(rows):
        for j in range(columns):
            disc = 60 if (i - rows / 2) ** 2 + (j - columns / 2) ** 2 < rows * columns / 12 else 0
            values.append(min(max(round(60 + 80 * j / columns + disc + draw.gauss(0, noise)), 0), 255))
    return b"P5 %d %d 255\n" % (columns, rows) + bytes(values)


def estimated(picture):
    """Immerkær's estimate of a PGM, white being 1, in plain loops."""
    head, values = picture.split(b"255\n", 1)
    columns, rows = map(int, head.split()[1:3])
    total = 0
    for i in range(1, rows - 1):
        above, here, below = (values[(i + k) * columns:(i + k + 1) * columns] for k in (-1, 0, 1))
        for j in range(1, columns - 1):
            total += abs(above[j - 1] - 2 * above[j] + above[j + 1] - 2 * here[j - 1] + 4 * here[j] - 2 * here[j + 1]
                         + below[j - 1] - 2 * below[j] + below[j + 1])
    return math.sqrt(math.pi / 2) / 6 * total / ((rows - 2) * (columns - 2)) / 255


def initialised(folder, arguments):
    result = run([*arguments, "--json"], folder)
    check(result.returncode == 0, f"{arguments}: {result}")
    return json.loads(result.stdout), result.stderr


def keys_of(path):
    """key -> value of the YAML that init writes; and that every line says why."""
    keys, sections, before = {}, [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            content, mark, comment = line.partition("  # ")
            check(len(comment if mark else before.lstrip("# ")) > 3, f"{path.name}: no comment on {line!r}")
            indent = (len(content) - len(content.lstrip())) // 4
            name, _, value = content.strip().partition(": ")
            sections = sections[:indent] + [name.rstrip(":")]
            keys[".".join(sections)] = value.strip().strip('"')
        before = line if line.lstrip().startswith("#") else ""
    return keys


def accepted(folder, name):
    result = run(["train", name, "--plan", "--quiet"], folder)
    check(result.returncode == 0 and result.stderr == "", f"train {name} --plan: {result}")


def listed(path):
    return path.read_text().splitlines()


def classes(folder):
    """Two classes of mixed formats and sizes, with what cannot be used among them."""
    pictures = {}
    for number in range(40):
        path = folder / f"scans/{'ab'[number % 2]}/{number:02}.pgm"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[path] = pgm(70 + number, 121 - number, number)
        path.write_bytes(pictures[path])
    (folder / "scans/a/square.png").write_bytes(png(90, 3))
    (folder / "scans/a/cut.png").write_bytes(png(90, 3)[:200])
    (folder / "scans/b/small.png").write_bytes(png(24))
    (folder / "scans/b/flat.pgm").write_bytes(b"P5 64 64 255\n" + bytes(64 * 64))
    (folder / "scans/b/gone.png").symlink_to("nowhere.png")
    (folder / "scans/a/notes.txt").write_text("no picture")

    found, said = initialised(folder, ["init", "scans/", "--quiet"])
    check(found["out"] == "scans.yaml" and (found["train"], found["val"], found["test"]) == (33, 2, 6), f"scans: {found}")
    check(said.count("\n") == 1 and "warning: 4 pictures are left out" in said and said.count("/scans/") == 3 and "and 1 more" in said, said)
    usable = {str(path) for path in pictures} | {str(folder / "scans/a/square.png")}
    lists = {part: listed(folder / f"scans_{part}.txt") for part in ("train", "val", "test")}
    together = [path for part in lists.values() for path in part]
    check(len(together) == len(usable) and set(together) == usable, "the lists are not the usable pictures, each once")
    check(found["lists"] == [str(folder / f"scans_{part}.txt") for part in lists], f"scans: {found}")
    noise = sorted(estimated(picture) for picture in pictures.values())
    check(abs(found["noise"]["least"] - noise[0]) < 1e-6, f"noise {found['noise']}, least by plain loops {noise[0]}")

    keys = keys_of(folder / "scans.yaml")
    expected = {"data.prepare": "none", "data.size": "64", "train.crop": "64", "network.initialisation": "he", "map.kind": "separate",
                "network.normalise": "noise", "train.loss": "log_mse", "optimiser.schedule": "cosine", "data.limit.train": "33",
                "train.epochs": "2500", "train.validate_every": "62", "output.name": "scans", "data.val": str(folder / "scans_val.txt")}
    check(expected.items() <= keys.items(), f"scans.yaml: {[(k, keys.get(k), v) for k, v in expected.items() if keys.get(k) != v]}")
    check(found["steps"] == 20000 and "20000 / (60 · the steps a second" in (folder / "scans.yaml").read_text(), f"{found['steps']} steps")
    heading = (folder / "scans.yaml").read_text().split("\n\n")[0]
    check("41, grey, 8 bits" in heading and "from 90×90 over " in heading and " (median) to 96×95; " in heading and "4 others cannot be used" in heading, heading)
    accepted(folder, "scans.yaml")

    # The same seed, the same files; another one divides otherwise.
    initialised(folder, ["init", "scans", "--out", "again/scans.yaml"])
    initialised(folder, ["init", "scans", "--out", "other/scans.yaml", "--seed", "7"])
    for part in ("train", "val", "test"):
        check(listed(folder / f"again/scans_{part}.txt") == lists[part], f"{part}: another division by the same seed")
    check(listed(folder / "other/scans_test.txt") != lists["test"], "the same division by another seed")
    check(keys_of(folder / "other/scans.yaml")["seed"] == "7", "the seed is not written")
    # It trains, from any place, and what it trained is evaluated.
    small = ["--set", "network.channels=[4,4]", "--set", "solver.iterations=4", "--set", "train.epochs=1", "--quiet"]
    result = run(["train", str(folder / "scans.yaml"), "--run", str(folder / "run"), *small], "/")
    check(result.returncode == 0, f"train scans.yaml: {result}")
    result = run(["evaluate", "run", "--json", "--pictures", "0"], folder)
    check(result.returncode == 0 and json.loads(result.stdout)["images"] == 6, f"evaluate: {result}")


def alike(folder):
    """Squares of one size stay whole; a name that YAML and lists must quote; pictures that are noisy themselves."""
    name = "it's a \"set\": #1, λ"
    (folder / name).mkdir()
    for number in range(12):
        (folder / name / f" {number}: #.pgm").write_bytes(pgm(72, 72, number, noise=12))
    found, said = initialised(folder, ["init", name, "--quiet"])
    check(said.count("\n") == 1 and "seem noisy themselves" in said, said)
    check(found["out"] == f"{name}.yaml" and (found["prepare"], found["size"]) == ("square", 72), f"{found}")
    check(abs(found["noise"]["median"] - 12 / 255) < 0.005, f"{found['noise']}")
    keys = keys_of(folder / f"{name}.yaml")
    check("noisy themselves" in (folder / f"{name}.yaml").read_text().split("\n\n")[0], "the file does not say that they are noisy")
    from_, to = map(float, keys["noise.sigma"].strip("[]").split(", "))
    check(0.1 < from_ < to and 2 * from_ <= to, f"noise.sigma: {keys['noise.sigma']}")
    accepted(folder, f"{name}.yaml")
    refused(folder, 1, ["init", name], f"{name}.yaml: is there already, and nothing is overwritten")
    (folder / f"{name}.yaml").unlink()
    refused(folder, 1, ["init", name], f"{name}_train.txt: is there already")
    # What it says to do next is a command that a shell takes.
    for out in ("it's #1.yaml", "a b.yaml", "-x.yaml", "*.yaml", "plain.yaml"):
        result = run(["init", name, f"--out={out}"], folder)
        check(result.returncode == 0, f"init --out={out}: {result}")
        words = shlex.split(result.stdout.splitlines()[-1].partition("then: ")[2], comments=True)
        check(words[:2] == ["tvmap", "train"] and len(words) == 3 and Path(words[2]).name == out and words[2][0] != "-", f"{words}")


def parts(folder):
    """train, val and test are used as they are; where one is missing it is divided off; where a picture is broken, a list."""
    for part, count in (("train", 11), ("val", 2), ("test", 3)):
        (folder / "parts" / part).mkdir(parents=True)
        for number in range(count):
            (folder / f"parts/{part}/{number}.pgm").write_bytes(pgm(80, 80, number))
    found, said = initialised(folder, ["init", "parts", "--out", "whole.yaml", "--quiet"])
    check(found["lists"] == [] and (found["train"], found["val"], found["test"]) == (11, 2, 3) and said == "", f"parts: {found}, {said}")
    keys = keys_of(folder / "whole.yaml")
    check([keys[f"data.{part}"] for part in ("train", "val", "test")] == [str(folder / "parts" / part) for part in ("train", "val", "test")],
          "parts: not the folders")
    accepted(folder, "whole.yaml")
    (folder / "parts/train/3.pgm").write_bytes(b"P5 80 80 255\n")
    found, said = initialised(folder, ["init", "parts", "--out", "broken.yaml", "--quiet"])
    check(len(found["lists"]) == 1 and len(listed(folder / "broken_train.txt")) == 10 and "1 picture is left out" in said, f"{found}, {said}")
    accepted(folder, "broken.yaml")
    (folder / "parts/val").rename(folder / "parts/.val")
    found, _ = initialised(folder, ["init", "parts", "--out", "divided.yaml", "--quiet"])
    check((found["train"], found["val"], found["test"]) == (9, 1, 3) and len(found["lists"]) == 2, f"parts without val: {found}")
    accepted(folder, "divided.yaml")
    (folder / "parts/train").rename(folder / "parts/.train")
    refused(folder, 1, "init parts --out none.yaml", "has a folder test and none named train")


def broken(folder):
    (folder / "empty").mkdir()
    refused(folder, 1, "init empty", "no pictures in", "put JPEG, PNG")
    refused(folder, 1, "init nowhere", "nowhere: does not exist; give a folder")
    (folder / "list.txt").write_text("0.png\n")
    refused(folder, 1, "init list.txt", "list.txt: is no folder; give a folder")
    refused(folder, 2, "init", "pictures")
    (folder / "damaged").mkdir()
    for number in range(12):
        (folder / f"damaged/{number}.png").write_bytes(png(64)[: 40 + number])
    refused(folder, 1, "init damaged --quiet", "none of its 12 pictures can be used: ", "0.png: ")
    (folder / "few").mkdir()
    for number in range(9):
        (folder / f"few/{number}.pgm").write_bytes(pgm(64, 64, number))
        if number == 0:
            refused(folder, 1, "init few --quiet", "1 picture is too few to learn from; give 10 or more", "tvmap solve")
    refused(folder, 1, "init few --quiet", "9 pictures are too few to learn from", "tvmap solve")
    (folder / "few/9.pgm").write_bytes(pgm(64, 64, 9))
    (folder / "file").write_text("")
    refused(folder, 1, "init few --quiet --out file/few.yaml", "file")
    (folder / "few/10\n.pgm").write_bytes(pgm(64, 64, 9))
    refused(folder, 1, "init few --quiet", "a name with a line's end cannot stand in a list")
    (folder / "few/10\n.pgm").unlink()
    before = contents(folder)
    initialised(folder, ["init", "few"])
    check(set(contents(folder)) - set(before) == {"few.yaml", "few_train.txt", "few_val.txt", "few_test.txt"}, "other files than the four")
    accepted(folder, "few.yaml")


with tempfile.TemporaryDirectory() as name:
    for part in (classes, alike, parts, broken):
        place = Path(name).resolve() / part.__name__
        place.mkdir()
        part(place)
finish()
