#!/usr/bin/env python3
"""The manual page is valid, has all that --help says, and every key of a configuration. Skipped (exit 77) without mandoc, or
without man."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, run, tiny_experiment  # noqa: E402

if missing := [tool for tool in ("man", "mandoc") if not shutil.which(tool)]:
    print("SKIPPED: no", ", ".join(missing))
    sys.exit(77)


def shown(page, width):
    """As people see it, in one line."""
    how = {**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": "", "MANPAGER": "cat"}
    done = subprocess.run(["man", "--warnings", "--no-hyphenation", "--no-justification", "-l", str(page)], env=how,
                          capture_output=True, text=True, check=False)
    check(done.returncode == 0 and done.stderr == "", f"man: {done.stderr}")
    return " ".join(done.stdout.split())


with tempfile.TemporaryDirectory() as name:
    place = Path(name)
    page = place / "tvmap.1"
    page.write_text(run("help --man", place).stdout, encoding="utf-8")
    check(run("help --man", place).stdout == page.read_text(encoding="utf-8"), "another page the second time")
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False).stdout
    # Undated, so that the same source makes the same page.
    said = [line for line in lint.splitlines() if "missing date" not in line]
    check(not said, f"mandoc: {said}")

    seen = shown(page, 400)
    overview = run("--help", place).stdout
    commands = re.findall(r"^  ([a-z]+) ", overview.split("\nCommands:\n")[1].split("\n\n")[0], re.M)
    check(len(commands) > 10, f"commands: {commands}")
    for command in commands:
        text = run([command, "--help"], place).stdout
        for part in re.split(r"\n(?=  \S)|\n\n", text):
            words = [" ".join(w.split()) for w in re.split(r"   +|\n", part.strip(), maxsplit=1)]
            if part.startswith("  "):
                check(" ".join(words) in seen, f"{command}: the page lacks {words}")
    (place / "tiny.yaml").write_bytes(tiny_experiment)
    run("phantoms --out images --count 2 --size 32", place)
    result = run("train tiny.yaml --run run --quiet", place)
    check(result.returncode == 0, f"train: {result}")
    sections, keys = [], []
    for line in (place / "run/config.yaml").read_text().splitlines():
        indent, entry = (len(line) - len(line.lstrip())) // 4, line.strip()
        sections = sections[:indent] + [entry.split(":")[0]]
        if not entry.endswith(":"):
            keys.append(".".join(sections))
    check(len(keys) > 50, f"keys: {keys}")
    for key in keys:
        check(f" {key} " in seen, f"the page lacks {key}")
finish()
