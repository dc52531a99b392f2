#!/usr/bin/env python3
"""The data beside figures are what per_image.csv, metrics.csv and the arrays say, by plain counting and sorting; and every
figure is there, well-formed, whatever an image is called. Needs Python's own library alone."""
import math
import os
import pathlib
import shutil
import statistics
import struct
import sys
import tempfile
import xml.etree.ElementTree

sys.path.insert(0, os.path.join(os.environ["TVMAP_SOURCE"], "tests", "support"))
from evaluated_run import hostile, make, rows  # noqa: E402
from program import check, finish, skipped  # noqa: E402

DIGITS = 2e-5  # relative: tables hold six digits


def near(a, b, scale=None):
    return abs(a - b) <= DIGITS * max(abs(a), abs(b), scale or 0)


def boxes(folder, images):
    """Quartiles by linear interpolation (statistics' "inclusive", NumPy's default), whiskers as Tukey has them."""
    table = rows(folder / "boxes.csv")
    check([(r["measure"], r["method"]) for r in table] ==
          [(m, w) for m in ("psnr", "ssim") for w in ("noisy", "scalar", "map")], f"boxes.csv: {table}")
    beyond = {}
    for row in table:
        measure, method = row["measure"], row["method"]
        values = sorted(float(image[f"{method}_{measure}"]) for image in images)
        first, median, third = statistics.quantiles(values, n=4, method="inclusive")
        reach = 1.5 * (third - first)
        within = [v for v in values if first - reach <= v <= third + reach]
        expected = {"count": len(values), "mean": statistics.fmean(values), "low": min(within), "first_quartile": first,
                    "median": median, "third_quartile": third, "high": max(within)}
        for key, value in expected.items():
            check(near(float(row[key]), value), f"boxes.csv: {measure} of {method}: {key} is {row[key]}, not {value}")
        beyond[measure, method] = len(values) - len(within)
    outliers = rows(folder / "outliers.csv")
    for key, count in beyond.items():
        found = [r for r in outliers if (r["measure"], r["method"]) == key]
        check(len(found) == count, f"outliers.csv: {found} of {key}; expected {count}")
        for row in found:
            image = next(i for i in images if i["name"] == row["name"])
            check(near(float(row["value"]), float(image[f"{key[1]}_{key[0]}"])), f"outliers.csv: {row}")


def differences(folder, images):
    table = rows(folder / "differences.csv")
    for measure in ("psnr", "ssim"):
        gains = [float(image[f"gain_{measure}"]) for image in images]
        bins = [(float(r["from"]), float(r["to"]), int(r["count"])) for r in table if r["measure"] == measure]
        check(sum(count for *_, count in bins) == len(gains), f"differences.csv: {bins} of {len(gains)} images")
        for low, high, count in bins:
            width = high - low
            clear = [g for g in gains if low + DIGITS * width < g < high - DIGITS * width]
            near_it = [g for g in gains if low - DIGITS * width <= g <= high + DIGITS * width]
            check(len(clear) <= count <= len(near_it), f"differences.csv: {measure} from {low} to {high}: {count}")
        check(any(abs(edge) < 1e-12 for low, high, _ in bins for edge in (low, high))
              or min(gains) > 0 or max(gains) < 0, f"differences.csv: 0 is no edge of {bins}")
        first, _, third = statistics.quantiles(gains, n=4, method="inclusive")
        rule = 2 * (third - first) / len(gains) ** (1 / 3)  # Freedman and Diaconis
        check(rule / 1.6 < bins[0][1] - bins[0][0] < rule * 1.6, f"differences.csv: bins of {bins[0]}, where the rule says {rule}")


def gain(folder, images):
    found = [tuple(float(r[k]) for k in ("sigma", "psnr", "ssim")) for r in rows(folder / "gain.csv")]
    expected = [tuple(float(i[k]) for k in ("sigma", "gain_psnr", "gain_ssim")) for i in images]
    check(found == expected, f"gain.csv: {found}; expected {expected}")


def training(run):
    """training.csv is metrics.csv without what no curve shows."""
    metrics, drawn = rows(run / "metrics.csv"), rows(run / "evaluation/training.csv")
    check(len(metrics) == len(drawn) == 3, f"training.csv: {len(drawn)} rows, metrics.csv: {len(metrics)}")
    for row, shown in zip(metrics, drawn):
        for key, value in shown.items():
            check(value == row[key] or near(float(value), float(row[key])), f"training.csv: {key} is {value}, not {row[key]}")


def npy(path):
    content = path.read_bytes()
    length = struct.unpack("<H", content[8:10])[0]
    shape = eval(content[10:10 + length].split(b"'shape': ")[1].split(b")")[0].decode() + ")")
    return shape, struct.unpack(f"<{math.prod(shape)}f", content[10 + length:])


def histogram(folder, name, maps):
    """Of log₁₀ Λ, by the array beside it."""
    shape, values = npy(folder / f"images/{name}_lambda.npy")
    check(shape == ((2, 32, 32) if maps == 2 else (32, 32)), f"{name}_lambda.npy: {shape}")
    table = rows(folder / f"images/{name}_histogram.csv")
    edges = [float(table[0]["from"])] + [float(r["to"]) for r in table]
    logs = [math.log10(max(v, 1e-8)) for v in values]
    check(near(edges[0], min(logs)) and near(edges[-1], max(logs)), f"histogram of {name}: from {edges[0]} to {edges[-1]}")
    for number, column in enumerate(("vertical", "horizontal") if maps == 2 else ("count",)):
        part, slack = logs[number * 1024:(number + 1) * 1024], 1e-6
        check(sum(int(r[column]) for r in table) == 1024, f"histogram of {name}: not every pixel is in {column}")
        for i, row in enumerate(table):
            low = -math.inf if i == 0 else edges[i]
            high = math.inf if i == len(table) - 1 else edges[i + 1]
            clear = sum(low + slack <= v < high - slack for v in part)
            near_it = sum(low - slack <= v < high + slack for v in part)
            check(clear <= int(row[column]) <= near_it, f"histogram of {name}: {column} {row}; {clear} … {near_it} are in it")


def errors(folder, image, maps):
    """The last plane is |map − clean|: its mean square is the table's PSNR."""
    shape, values = npy(folder / f"images/{image['name']}_error.npy")
    check(shape == (2 if maps == 2 else 3, 32, 32), f"{image['name']}_error.npy: {shape}")
    for method, plane in zip(("map", "scalar", "noisy"), range(shape[0] - 1, -1, -1)):
        part = values[plane * 1024:(plane + 1) * 1024]
        psnr = -10 * math.log10(sum(v * v for v in part) / 1024)
        check(near(psnr, float(image[f"{method}_psnr"])), f"{image['name']}: |{method} − clean| has {psnr} dB")


def figures(folder, names):
    """Each in three kinds, with lines or pictures in it."""
    for name in names:
        for ending, start in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
            path = folder / f"{name}.{ending}"
            check(path.exists() and path.read_bytes().startswith(start), f"{path} is no {ending}")
        tree = xml.etree.ElementTree.parse(folder / f"{name}.svg")
        drawn = sum(1 for e in tree.iter() if e.tag.split("}")[1] in ("path", "image", "polygon"))
        check(drawn > 10, f"{name}.svg: {drawn} elements")
    unfinished = [p for p in folder.rglob(".*")]
    check(not unfinished, f"left behind: {unfinished}")


with tempfile.TemporaryDirectory() as scratch:
    place = pathlib.Path(scratch)
    separate, said = make(place)
    check("warning" not in said.stderr or not shutil.which("gnuplot"), f"evaluate: {said.stderr}")
    evaluation, table = separate / "evaluation", rows(separate / "evaluation/per_image.csv")
    check(hostile in [i["name"] for i in table], f"no {hostile} among {table}")
    boxes(evaluation, table)
    differences(evaluation, table)
    gain(evaluation, table)
    training(separate)
    for image in table[:2]:
        histogram(evaluation, image["name"], 2)
        errors(evaluation, image, 2)
    shared, _ = make(place, "shared", "shared", "0.4", 1)
    table_of_shared = rows(shared / "evaluation/per_image.csv")
    histogram(shared / "evaluation", table_of_shared[0]["name"], 1)
    errors(shared / "evaluation", table_of_shared[0], 1)
    check(not (shared / "evaluation/gain.csv").exists(), "one noise level, and gain.csv is there")
    if shutil.which("gnuplot"):
        whole = ["curves", "boxes", "differences", "training"]
        figures(evaluation, whole + ["gain"] + [f"images/{i['name']}_{k}" for i in table[:2] for k in ("panel", "maps")])
        figures(shared / "evaluation", whole + [f"images/{table_of_shared[0]['name']}_{k}" for k in ("panel", "maps")])
        check(not (shared / "evaluation/gain.svg").exists(), "one noise level, and gain.svg is there")
    else:
        skipped.append("the figures themselves: there is no gnuplot here")
finish()
