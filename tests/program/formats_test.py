#!/usr/bin/env python3
"""What the commands make of images of other kinds: a result has its image's samples, maps are written where they are asked
for, colours share a map where that is asked for, noise is estimated, and image folders may hold classes or be lists."""
import csv
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, npy, png, program, refused, run, skipped, tiny_experiment  # noqa: E402

fixtures = Path(os.environ["TVMAP_SOURCE"]) / "tests/fixtures"
weights = "run/checkpoints/last.safetensors"
HEIGHT, WIDTH = 24, 20


def works(arguments, folder, **how):
    result = run(arguments, folder, **how)
    check(result.returncode == 0, f"tvmap {arguments}: {result}")
    return result


def denoised(folder, images, *options):
    """The files that are made, by name, and what is said of them."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    result = works(["denoise", *images, "--checkpoint", weights, "--out", "out", "--json", *options], folder)
    made = sorted(path.name for path in (folder / "out").iterdir()) if result.returncode == 0 else []
    return made, json.loads(result.stdout or "{}")


def floats(path):
    content = Path(path).read_bytes()
    data = content[10 + struct.unpack("<H", content[8:10])[0]:]
    return struct.unpack(f"<{len(data) // 4}f", data)


def near(a, b, most):
    return len(a) == len(b) and max(abs(x - y) for x, y in zip(a, b)) <= most


def values_of(folder, picture):
    """As the solver reads and writes them, unchanged by λ = 0."""
    works(["solve", picture, "--lambda", "0", "--iterations", "1", "--out", "values.npy", "--peak", "1"], folder)
    return floats(folder / "values.npy")


def tiff(values, bits, kind):
    """Plain little-endian grey TIFF; kind 1: whole, 3: floats."""
    data = struct.pack(f"<{len(values)}{'f' if kind == 3 else {8: 'B', 16: 'H'}[bits]}", *values)
    tags = [(256, WIDTH), (257, HEIGHT), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, HEIGHT),
            (279, len(data)), (339, kind)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def noisy_values():
    draw = random.Random(3)
    return [0.3 + 0.4 * (i % WIDTH > 9) + draw.gauss(0, 0.05) for i in range(HEIGHT * WIDTH)]


def own_kind(folder):
    """.npy to .npy, 16 bits to 16 bits, floats to floats, all the rest to PNG; the same values whatever the kind."""
    values = noisy_values()
    (folder / "plain.npy").write_bytes(npy(values, (HEIGHT, WIDTH)))
    made, said = denoised(folder, ["plain.npy"])
    check(made == ["plain.npy"], f"denoise plain.npy made {made}")
    expected = floats(folder / "out/plain.npy")
    check(not near(expected, values, 0.01), "nothing was denoised")
    sigma = said["noise"][0]["sigma"][0]
    check(abs(sigma - 0.05) < 0.015, f"noise of 0.05 is estimated as {sigma}")  # 500 pixels, and an edge

    made, _ = denoised(folder, ["plain.npy"], "--map")
    check(made == ["plain.npy", "plain_lambda.npy", "plain_lambda.png"], f"--map made {made}")
    check(floats(folder / "out/plain.npy") == expected, "--map changes the result")

    # Fortran order and bytes the other way round; whole numbers with --peak, which are multiplied again.
    turned = [values[i * WIDTH + j] for j in range(WIDTH) for i in range(HEIGHT)]
    swapped = struct.pack(f">{len(turned)}f", *turned)
    (folder / "other.npy").write_bytes(npy(struct.unpack(f"<{len(turned)}f", swapped), (HEIGHT, WIDTH), ">f4", order="True"))
    made, _ = denoised(folder, ["other.npy"])
    check(made == ["other.npy"] and floats(folder / "out/other.npy") == expected, "Fortran order, big-endian")
    whole = npy([0.0], (1,))
    header = whole[:whole.index(b"'<f4'")] + b"'<u2'" + whole[whole.index(b"'<f4'") + 5:-4]
    header = header.replace(b"(1,), } ".ljust(12), f"({HEIGHT}, {WIDTH}), }}".encode().ljust(12))
    levels = [round(65535 * value) for value in values]
    (folder / "whole.npy").write_bytes(header + struct.pack(f"<{len(levels)}H", *levels))
    made, _ = denoised(folder, ["whole.npy"], "--peak", "65535")
    check(near([x / 65535 for x in floats(folder / "out/whole.npy")], expected, 1e-4), "whole numbers with --peak")
    said = run(["denoise", "whole.npy", "--checkpoint", weights, "--out", "out"], folder).stderr
    check("--peak" in said and said.count("warning") == 1, f"whole numbers without --peak: {said}")

    # A stack is denoised image by image.
    (folder / "stack.npy").write_bytes(npy(values + values[::-1], (2, HEIGHT, WIDTH)))
    made, said = denoised(folder, ["stack.npy"], "--map")
    check(floats(folder / "out/stack.npy")[:len(values)] == expected and len(said["noise"][0]["sigma"]) == 2, "a stack")
    check(made == ["stack.npy", "stack_lambda.npy", "stack_lambda.png"], f"a stack made {made}")
    (folder / "line.npy").write_bytes(npy(values, (len(values),)))
    refused(folder, 1, f"denoise line.npy --checkpoint {weights} --out new", "line.npy", "holds no images")

    return expected


def of_tiffs(folder, expected):
    values = noisy_values()
    (folder / "real.tif").write_bytes(tiff(values, 32, 3))
    made, _ = denoised(folder, ["real.tif"])
    check(made == ["real.tif"], f"denoise real.tif made {made}")
    check(values_of(folder, "out/real.tif") == expected, "floats are not kept")
    (folder / "scaled.tif").write_bytes(tiff([1000 * value for value in values], 32, 3))
    denoised(folder, ["scaled.tif"], "--peak", "1000")
    check(near([x / 1000 for x in values_of(folder, "out/scaled.tif")], expected, 1e-5), "floats with --peak")
    (folder / "deep.tiff").write_bytes(tiff([round(65535 * value) for value in values], 16, 1))
    made, _ = denoised(folder, ["deep.tiff"])
    check(made == ["deep.tif"], f"denoise deep.tiff made {made}")
    result = values_of(folder, "out/deep.tif")
    check(near(result, expected, 1e-4), "16 bits")
    check(any(abs(255 * x - round(255 * x)) > 0.1 for x in result), "16 bits became 8")
    if shutil.which("tiffinfo"):  # what another program says of the result
        shown = subprocess.run(["tiffinfo", folder / "out/deep.tif"], capture_output=True, text=True, check=False)
        check("Bits/Sample: 16" in shown.stdout and shown.stderr == "", f"tiffinfo: {shown}")
    else:
        skipped.append("tiffinfo's word on a TIFF (libtiff-tools is not installed)")
    shutil.copy(fixtures / "formats/rgb8.tif", folder)
    made, said = denoised(folder, ["rgb8.tif"])
    check(made == ["rgb8.tif"] and len(said["noise"][0]["sigma"]) == 3, f"rgb8.tif: {made}, {said}")
    works("solve real.tif --lambda 0.1 --out y.tif --iterations 8", folder)
    works("solve real.tif --lambda 0.1 --out y.npy --iterations 8", folder)
    check(values_of(folder, "y.tif") == floats(folder / "y.npy"), "solve writes another TIFF than array")
    shutil.copy(fixtures / "formats/pages.tif", folder)
    said = run("solve pages.tif --lambda 0 --out x.npy", folder).stderr
    check("the first of 3 pages" in said and said.count("\n") == 1, f"pages: {said}")

    # In data sets: 16 bits are kept, and real numbers must be 0 to 1.
    (folder / "tiffs").mkdir()
    shutil.copy(folder / "deep.tiff", folder / "tiffs")
    works(["evaluate", "run", "--set", "data.test=tiffs", "--set", "data.size=20", "--out", "of_tiffs", "--quiet"], folder)
    shutil.copy(folder / "scaled.tif", folder / "tiffs")
    refused(folder, 1, "evaluate run --set data.test=tiffs --set data.size=20 --out new", "scaled.tif", "where 0 to 1 are needed")


def of_dicoms(folder):
    shutil.copy(fixtures / "formats/monochrome1.dcm", folder)
    made, _ = denoised(folder, ["monochrome1.dcm"])
    check(made == ["monochrome1.png"], f"denoise monochrome1.dcm made {made}")
    check((folder / "out/monochrome1.png").read_bytes()[24] == 16, "a DICOM's 10 bits became 8")
    (folder / "dicoms").mkdir()
    shutil.copy(folder / "monochrome1.dcm", folder / "dicoms/a.dcm")
    result = works(["evaluate", "run", "--set", "data.test=dicoms", "--set", "data.size=12", "--out", "of_dicoms"], folder)
    said = result.stdout + result.stderr + "".join(p.read_text(errors="replace") for p in (folder / "of_dicoms").glob("*.*"))
    check("Nobody" not in said and "secret" not in said, "a patient is named")
    cut = (folder / "monochrome1.dcm").read_bytes()[:-20]
    (folder / "cut.dcm").write_bytes(cut)
    refused(folder, 1, f"denoise cut.dcm --checkpoint {weights} --out new", "cut.dcm")


def colours(folder):
    """Channels by themselves, or all by one map: that of the luminance, divided by what its noise is of a channel's."""
    draw = random.Random(4)
    shutil.copy(fixtures / "image/rgb.png", folder)  # of odd sides, which the network's input is continued for
    (folder / "even.ppm").write_bytes(b"P6 16 12 255\n" + bytes(draw.randrange(256) for _ in range(3 * 16 * 12)))
    share = (0.299**2 + 0.587**2 + 0.114**2) ** 0.5
    for picture, shape in (("rgb.png", (19, 13)), ("even.ppm", (12, 16))):
        stem = picture.partition(".")[0]
        denoised(folder, [picture], "--map")
        own, by_channels = floats(folder / f"out/{stem}_lambda.npy"), (folder / f"out/{stem}.png").read_bytes()
        made, _ = denoised(folder, [picture], "--map", "--colour", "luminance")
        shared, result = floats(folder / f"out/{stem}_lambda.npy"), (folder / f"out/{stem}.png").read_bytes()
        (folder / "map.npy").write_bytes((folder / f"out/{stem}_lambda.npy").read_bytes())
        check(len(own) == 3 * len(shared), f"{picture}: {len(own)} and {len(shared)} values of maps")
        check(result != by_channels, f"{picture}: --colour luminance changes nothing")
        check("settings.txt" in made, f"{picture}: another setting than in training is not recorded")
        by_setting, _ = denoised(folder, [picture], "--map", "--set", "denoise.colour=luminance")
        check(by_setting == made and floats(folder / f"out/{stem}_lambda.npy") == shared, "denoise.colour is not --colour")
        planes = values_of(folder, picture)
        size = len(planes) // 3
        luminance = [sum(w * planes[c * size + i] for c, w in enumerate((0.299, 0.587, 0.114))) for i in range(size)]
        (folder / "y.npy").write_bytes(npy(luminance, shape))
        denoised(folder, ["y.npy"], "--map")
        # Single precision, here and there.
        check(near([x / share for x in floats(folder / "out/y_lambda.npy")], shared, 1e-5), f"{picture}: the luminance's map")
        works(f"solve {picture} --lambda map.npy --iterations 8 --out solved.png", folder)
        check((folder / "solved.png").read_bytes() == result, f"{picture}: its channels are denoised by another map")
    refused(folder, 2, f"denoise rgb.png --checkpoint {weights} --out new --colour grey", "grey")


def image_sets(folder):
    """Classes, a list and a pattern in place of a folder."""
    for name, step in (("ill/a", 3), ("ill/b", 5), ("well/a", 7)):
        (folder / "classes" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"classes/{name}.png").write_bytes(png(32, step))
    (folder / "classes/list.txt").write_text("well/a.png\nill/b.png\n")
    for given, names in (("classes", ["ill_a", "well_a"]), ("classes/list.txt", ["well_a", "ill_b"]),
                         ("classes/*/a.png", ["ill_a", "well_a"])):
        shutil.rmtree(folder / "sets", ignore_errors=True)
        works(["evaluate", "run", "--set", f"data.test={given}", "--out", "sets", "--pictures", "1", "--quiet"], folder)
        with open(folder / "sets/per_image.csv", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
        check([row["name"] for row in rows] == names, f"{given}: {rows}")
        check((folder / f"sets/images/{names[0]}_map.png").exists(), f"{given}: pictures")
        check(all(0 < float(row["noise_estimated"]) and float(row["noise"]) > 0 for row in rows), f"{given}: noise")
        check(re.search(r"^noise \(white is 1\) .* estimated", (folder / "sets/summary.txt").read_text(), re.MULTILINE) is not None,
              "summary.txt says nothing of the noise")
    (folder / "classes/list.txt").write_text("well/a.png\nill/c.png\n")
    refused(folder, 1, "evaluate run --set data.test=classes/list.txt --out new", "data.test", "line 2", "does not exist")
    refused(folder, 1, ["evaluate", "run", "--set", "data.test=classes/*/c.png", "--out", "new"], "data.test", "matches no pictures")


def without_parts(folder):
    """The program alone, in a folder where none of its parts is, nor in those above that it looks into."""
    alone = folder / "far" / "from" / "all"
    alone.mkdir(parents=True)
    shutil.copy(program, alone / "tvmap")
    for name, format_ in (("real.tif", "TIFF"), ("monochrome1.dcm", "DICOM")):
        shutil.copy(fixtures / "formats" / ("float32.tif" if format_ == "TIFF" else name), folder / name)
        result = subprocess.run([alone / "tvmap", "solve", name, "--lambda", "0", "--out", "none.npy"], cwd=folder,
                                capture_output=True, text=True, check=False)
        if result.returncode == 127 or "error while loading" in result.stderr:
            skipped.append("the program without its parts (it does not run outside of its folder)")
            return
        check(result.returncode == 1 and result.stderr.count("\n") == 1 and format_ in result.stderr
              and "build with" in result.stderr, f"without parts: {result}")
    result = subprocess.run([alone / "tvmap", "solve", "plain.npy", "--lambda", "0", "--out", "none.tif"], cwd=folder,
                            capture_output=True, text=True, check=False)
    check(result.returncode == 1 and "none.tif" in result.stderr, f"a TIFF is written without its part: {result}")


with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as name:
    os.environ["XDG_CACHE_HOME"] = cache  # where measured algorithms are kept
    place = Path(name).resolve()
    (place / "tiny.yaml").write_bytes(tiny_experiment)
    (place / "images").mkdir()
    for picture in ("a", "b"):
        (place / f"images/{picture}.png").write_bytes(png(32))
    works("train tiny.yaml --run run --quiet", place)
    built = json.loads(works("info --json", place).stdout)
    results = own_kind(place)
    for part, name, library in ((lambda: of_tiffs(place, results), "tiff", "libtiff"), (lambda: of_dicoms(place), "dicom", "DCMTK")):
        if built[name].startswith(library):
            part()
        else:
            skipped.append(f"{library} is not built in: {built[name]}")
    colours(place)
    image_sets(place)
    without_parts(place)
finish()
