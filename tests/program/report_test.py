#!/usr/bin/env python3
"""`tvmap report`: pages are well-formed, load nothing, say what the tables say, and take no image's name for markup; runs stand
side by side; what is missing is named. Needs Python's own library alone."""
import html.parser
import os
import pathlib
import re
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ["TVMAP_SOURCE"], "tests", "support"))
from evaluated_run import hostile, make, rows, succeeds  # noqa: E402
from program import check, finish, refused, run  # noqa: E402

VOID = {"meta", "link", "input", "img", "br", "hr"}


class Page(html.parser.HTMLParser):
    """Elements must be closed in their order; collects tables, paragraphs, identifiers, sources and images' texts."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.open, self.tables, self.ids, self.sources, self.labels, self.alternatives, self.text = [], [], [], [], [], [], ""
        self.tags = {}
        self.feed(content)
        self.close()
        check(self.open == [], f"elements stay open: {self.open}")

    def handle_starttag(self, tag, attributes):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        names = [name for name, _ in attributes]
        check(len(set(names)) == len(names), f"<{tag}> has an attribute twice: {names}")
        check(not [n for n in names if n.startswith("on")], f"<{tag}> runs a script: {attributes}")
        given = dict(attributes)
        self.sources += [given[k] for k in ("src", "href", "action", "data") if k in given]
        self.labels += [given["for"]] if "for" in given else []
        self.ids += [given["id"]] if "id" in given else []
        if tag == "img":
            check(given.get("alt"), "an image without a text")
            self.alternatives.append(given.get("alt", ""))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        check(self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}")
        if self.open:
            self.open.pop()

    def handle_data(self, data):
        self.text += data if self.open[-1:] not in (["style"], ["script"]) else ""
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


def number(text, decimals, sign=False):
    return f"{float(text):{'+' if sign else ''}.{decimals}f}"


def result(cells, summary):
    """The first table is summary.csv."""
    for column, (measure, decimals) in enumerate((("psnr", 2), ("ssim", 3), ("ssim_uniform", 3)), 1):
        expected = [f"{number(summary[f'{who}_{measure}']['mean'], decimals)} ± {number(summary[f'{who}_{measure}']['deviation'], decimals)}"
                    for who in ("noisy", "scalar", "map")]
        gain = summary[f"gain_{measure}"]
        expected += [number(gain["mean"], decimals, True), " … ".join(number(gain[k], decimals, True) for k in ("low", "high"))]
        check([row[column] for row in cells[1:]] == expected, f"{measure}: {cells}; expected {expected}")


def every_image(cells, images):
    columns = (("sigma", 3), ("noisy_psnr", 2), ("scalar_psnr", 2), ("map_psnr", 2), ("gain_psnr", 2), ("noisy_ssim", 3), ("scalar_ssim", 3),
               ("map_ssim", 3), ("gain_ssim", 3), ("scalar_lambda_psnr", 3))
    expected = [[i["name"]] + [number(i[key], d, key.startswith("gain")) for key, d in columns] for i in images]
    check(cells[1:] == expected, f"images: {cells[1:3]} …; expected {expected[:2]} …")


def page(folder, run_folder):
    said = succeeds(["report", "run"], folder)
    path = run_folder / "report/index.html"
    check(str(path.relative_to(folder)) in said.stdout, f"report: {said}")
    content = path.read_text(encoding="utf-8")
    check(len(content) < 8e6, f"{len(content)} bytes of page")
    found = Page(content)
    # Nothing is loaded: pictures are inside, links lead into the page, and the page itself forbids the rest.
    check(all(s.startswith(("data:image/", "data:,", "#")) for s in found.sources), f"{[s[:40] for s in found.sources]}")
    check("default-src 'none'" in content, "no Content-Security-Policy")
    check(len(set(found.ids)) == len(found.ids) and set(found.labels) <= set(found.ids), f"{found.ids}, {found.labels}")
    # The name as text, not as markup.
    check(hostile in found.text and any(hostile in a for a in found.alternatives), "the hostile name is not in the text")
    check("b" not in found.tags and "<b>" not in content, f"a name became an element: {found.tags}")
    evaluation = run_folder / "evaluation"
    summary = {r["quantity"]: r for r in rows(evaluation / "summary.csv")}
    images = rows(evaluation / "per_image.csv")
    result(found.tables[0], summary)
    every_image(found.tables[1], images)
    won = sum(float(i["gain_psnr"]) > 0 for i in images)
    verdict = (evaluation / "summary.txt").read_text(encoding="utf-8")
    p = re.search(r"p = (\S+)", verdict)[1]
    for part in (f"{won} of {len(images)} images", f"p = {p}", "8 images of", "3 epochs", "drawn from [0.1, 0.5]", "batches of 4", "8 solver steps",
                 number(summary["gain_psnr"]["mean"], 2, True) + " dB", "tvmap evaluate run --threads 1", "config.yaml --run"):
        check(part in found.text, f"the page does not say {part!r}")
    for key in ("version", "processor", "device"):
        value = next(r["value"] for r in rows(evaluation / "provenance.csv") if r["name"] == key)
        check(value in found.text, f"the page does not say {key} {value!r}")
    if shutil.which("gnuplot"):
        check(sum(s.startswith("data:image/svg+xml") for s in found.sources) == 5, "not five figures")
        check(found.tags["img"] == 5 + 2 * 6 + 2, f"{found.tags['img']} pictures")
    return content


def side_by_side(folder):
    refused(folder, 2, "report run shared", "--out")
    succeeds("report run shared --out both/page.html --pictures 0", folder)
    found = Page((folder / "both/page.html").read_text(encoding="utf-8"))
    table = found.tables[0]
    check(table[0] == ["run", "run", "shared"], f"comparison: {table}")
    for column, name in enumerate(("run", "shared"), 1):
        summary = {r["quantity"]: r for r in rows(folder / name / "evaluation/summary.csv")}
        said = {row[0]: row[column] for row in table[:8]}
        check(said["map Λ, dB"] == number(summary["map_psnr"]["mean"], 2), f"comparison: {said}")
        gain = summary["gain_psnr"]
        check(said["gain, dB"] == number(gain["mean"], 2, True), f"comparison: {said}")
        check(said["its 95 % interval"] == " … ".join(number(gain[k], 2, True) for k in ("low", "high")), f"comparison: {said}")
    check({"#run-1", "#run-2"} <= set(found.sources), "no links to the runs")


def markdown(folder):
    succeeds("report run --markdown", folder)
    content = (folder / "run/report/index.md").read_text(encoding="utf-8")
    table = [line for line in content.splitlines() if line.startswith("|")]
    check(table[0].split("|")[1].strip() == "12 images" and len({line.count("|") for line in table[:7]}) == 1, f"{table[:7]}")
    for target in re.findall(r"\]\(([^)]*)\)", content):
        name = re.sub("%([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), target).encode("latin-1").decode()
        check((folder / "run/report" / name).is_file(), f"a link leads to {target}")
    check("<b>" not in content, "a name stands as markup")


def of_the_training(folder):
    """How it was trained is told by the run's own settings, and whether what was evaluated is what the run holds now."""
    succeeds("evaluate run --out others --pictures 0 --set noise.sigma=0.2 --set optimiser.rate=7", folder)
    succeeds("report others", folder)
    content = Page((folder / "others/report/index.html").read_text(encoding="utf-8")).text
    check("rate of 0.001" in content and "rate of 7" not in content and "drawn from [0.1, 0.5]" in content, "settings of an evaluation")
    check("have not been evaluated" not in content, "the weights are those of the run")
    shutil.copytree(folder / "run", folder / "longer")
    succeeds("train longer/config.yaml --run longer --resume --threads 1 --change train.epochs --set train.epochs=30", folder)
    succeeds("report longer", folder)
    content = Page((folder / "longer/report/index.html").read_text(encoding="utf-8")).text
    check("30 epochs" in content and "have not been evaluated here" in content, "an evaluation older than the training")


def missing(folder):
    refused(folder, 1, "report nowhere", "nowhere: there is no such folder")
    (folder / "empty").mkdir()
    refused(folder, 1, "report empty", "empty: has not been evaluated; run first: tvmap evaluate empty")
    refused(folder, 2, "report", "run")
    refused(folder, 1, "report run --out images", "images")
    shutil.copytree(folder / "run", folder / "damaged")
    table = folder / "damaged/evaluation/per_image.csv"
    whole = table.read_text(encoding="utf-8")
    table.write_text(whole.replace("map_psnr", "other", 1), encoding="utf-8")
    refused(folder, 1, "report damaged", "per_image.csv: there is no column map_psnr")
    table.write_text(whole[:-20], encoding="utf-8")
    refused(folder, 1, "report damaged", "per_image.csv:13: ")
    # An evaluation elsewhere, whose run is found again; one whose run is gone; one without figures and pictures.
    succeeds("evaluate run --out elsewhere --pictures 0 --set evaluate.sigma=0.3", folder)
    succeeds("report elsewhere", folder)
    content = Page((folder / "elsewhere/report/index.html").read_text(encoding="utf-8")).text
    check("3 epochs" in content and "with σ = 0.3" in content, "an evaluation elsewhere")
    table = folder / "elsewhere/provenance.csv"
    table.unlink()
    for figure in (folder / "elsewhere").glob("*.svg"):
        figure.unlink()
    succeeds("report elsewhere", folder)
    content = Page((folder / "elsewhere/report/index.html").read_text(encoding="utf-8")).text
    check("not known" in content and "figures are not there" in content, "an evaluation without its run and figures")


with tempfile.TemporaryDirectory() as scratch:
    place = pathlib.Path(scratch)
    made, _ = make(place)
    make(place, "shared", "shared", "0.4", 1)
    first = page(place, made)
    check(page(place, made) == first, "another page from the same files")
    side_by_side(place)
    markdown(place)
    of_the_training(place)
    missing(place)
    check(run("report --help", place).returncode == 0, "report --help")
finish()
