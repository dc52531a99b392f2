#!/usr/bin/env python3
"""The report's page in Chromium: no message on the console, figures and pictures load, clicking a column sorts by it, the
field filters, and the buttons flip between an image's pictures. Leaves report_page.png, a screenshot, in the working folder.
Skipped without Chromium."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.environ["TVMAP_SOURCE"], "tests", "support"))
from evaluated_run import hostile, make, rows, succeeds  # noqa: E402
from program import check, finish  # noqa: E402

browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if not browser:
    print("SKIPPED: there is no Chromium here (tools/install browser)")
    sys.exit(77)

# What a reader would do; what then shows is written into the page's end.
READER = """<script>
const seen = {};
const table = document.querySelector('table.images'), heads = [...table.tHead.rows[0].cells];
const shown = () => [...table.tBodies[0].rows].filter(row => row.offsetParent !== null);
const column = number => shown().map(row => row.cells[number].textContent);
const click = number => heads[number].querySelector('button').click();
window.addEventListener('load', () => {
  seen.broken = [...document.images].filter(image => image.complete && image.naturalWidth === 0).length;
  seen.images = document.images.length;
  seen.start = column(0);
  click(5); seen.rising = column(5); seen.sorted = heads[5].getAttribute('aria-sort');
  click(5); seen.falling = column(5);
  click(0); seen.names = column(0); seen.unsorted = heads[5].getAttribute('aria-sort');
  const field = document.querySelector('.filter input');
  seen.field = field.offsetParent !== null;
  field.value = '<B>'; field.dispatchEvent(new Event('input')); seen.filtered = column(0);
  seen.count = document.querySelector('.filter .count').textContent;
  field.value = ''; field.dispatchEvent(new Event('input')); seen.all = column(0).length;
  const flip = document.querySelector('.flip');
  const visible = () => [...flip.querySelectorAll('img')].filter(image => image.offsetParent !== null).map(image => image.alt);
  seen.flips = [...flip.querySelectorAll('input')].map(input => { input.click(); return visible(); });
  seen.width = document.documentElement.scrollWidth <= window.innerWidth;
  const end = document.createElement('pre'); end.id = 'seen'; end.textContent = JSON.stringify(seen); document.body.append(end);
});
</script></body>"""


def chromium(folder, page, *arguments):
    """The end of a headless run; its profile lies in a folder of its own."""
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--hide-scrollbars", "--window-size=1200,3200",
               "--virtual-time-budget=5000", *arguments, page.resolve().as_uri()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


def console(result):
    return [line for line in result.stderr.splitlines() if ":CONSOLE" in line]


with tempfile.TemporaryDirectory() as scratch:
    place = pathlib.Path(scratch)
    made, _ = make(place)
    succeeds("report run", place)
    page = made / "report/index.html"
    images = rows(made / "evaluation/per_image.csv")

    picture = pathlib.Path("report_page.png").resolve()
    result = chromium(place, page, f"--screenshot={picture}")
    check(result.returncode == 0 and picture.stat().st_size > 20000, f"screenshot: {result}")
    check(not console(result), f"the console says {console(result)}")

    driven = place / "driven.html"
    driven.write_text(page.read_text(encoding="utf-8").replace("</body>", READER), encoding="utf-8")
    result = chromium(place, driven, "--dump-dom")
    check(not console(result), f"the console says {console(result)}")
    said = re.search(r'<pre id="seen">(.*?)</pre>', result.stdout, re.DOTALL)
    check(said is not None, f"the page did not run: {result.stderr}")
    seen = json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) if said else {}

    names = [i["name"] for i in images]
    gains = [f"{float(i['gain_psnr']):+.2f}" for i in images]
    by_value = sorted(gains, key=float)
    check(seen.get("start") == names, f"before a click: {seen.get('start')}")
    check(seen.get("rising") == by_value and seen.get("sorted") == "ascending", f"rising: {seen.get('rising')}")
    check([float(g) for g in seen.get("falling", [])] == [float(g) for g in by_value[::-1]], f"falling: {seen.get('falling')}")
    check(sorted(seen.get("names", [])) == sorted(names) and seen.get("unsorted") is None, f"names: {seen.get('names')}")
    check(seen.get("field") is True and seen.get("filtered") == [hostile], f"filtered: {seen.get('filtered')}")
    check(seen.get("count") == f"1 of {len(images)} images" and seen.get("all") == len(images), f"count: {seen.get('count')}")
    flips = [f"{names[0]}: {title}" for title in ("noisy", "best scalar λ", "map Λ", "clean", "Λ", "Λ, horizontal")]
    check(seen.get("flips") == [[f] for f in flips], f"flips: {seen.get('flips')}")
    check(seen.get("broken") == 0 and seen.get("images", 0) >= 10, f"{seen.get('broken')} of {seen.get('images')} pictures do not load")
    check(seen.get("width") is True, "the page is wider than its window")
finish()
