#!/usr/bin/env python3
"""--help of every command names the options that its parser takes, and no others; it has defaults, exit codes and an example that
holds; help and --help say the same, in 80 columns."""
import os
import re
import sys
import tempfile
import unicodedata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, refused, run  # noqa: E402

UNKNOWN = "--no-such-option"


def options_of(text):
    """name -> it and what stands beside it (value, description), of lines like  "  -h, --help  print …"."""
    rows = {}
    for row in re.split(r"\n  (?=(?:-\w, )?--)", text)[1:]:
        names, rest = re.match(r"((?:-[a-z0-9-]+, )*--[a-z0-9-]+)(.*)", " ".join(row.split("\n\n")[0].split())).groups()
        rows |= {name: name + rest for name in names.split(", ") if name.startswith("--")}
    return rows


def arguments_of(text):
    """(name, value) of the arguments that stand by their place."""
    part = re.search(r"\nArguments:\n(.*?)\n\n", text, re.S)
    return re.findall(r"^  ([a-z]\S*) ([A-Za-z|=]+)", part[1], re.M) if part else []


def some_value(row):
    """A value of the kind that a row of the help names."""
    kind = row.split()[1]
    if limits := re.search(r"(?:INT|FLOAT) from (\S+)", row):
        return limits[1]
    return {"INT": "1", "FLOAT": "1", "BYTES": "1"}.get(kind, kind.split("|")[0])


def in_the_sources():
    """Every word like --this in the program's sources."""
    source = Path(os.environ["TVMAP_SOURCE"]) / "apps"
    text = "".join(p.read_text(encoding="utf-8") for p in source.glob("*.cpp"))
    names = re.findall(r'"((?:-\w,)?--[a-z][a-z0-9-]*(?:,--[a-z][a-z0-9-]*)*)"', text)
    return {name for together in names for name in together.split(",") if name.startswith("--")}


def complete(folder, command, text):
    check(re.search(r"\nExit codes:\n  0 .*\n  1 .*(?:\n  [0-9 ].*)*\n  130 ", text), f"{command} --help: no exit codes")
    wide = [line for line in text.split("\n") if sum(not unicodedata.combining(c) for c in line) > 80 and f"  tvmap {command} " not in line]
    check(not wide, f"{command} --help: wider than 80 columns: {wide}")
    check(run(["help", command], folder).stdout == text, f"help {command}: not what --help says")
    example = re.search(r"\nExample:\n  (?:source <\()?tvmap (\S+) ?(.*)\n$", text)
    check(example and example[1] == command, f"{command} --help: no example of its own")
    used = set(re.findall(r"--[a-z0-9-]+", example[2] if example else ""))
    check(used <= set(options_of(text)), f"{command} --help: the example has {used - set(options_of(text))}")
    for name, row in options_of(text).items():
        value = re.match(r"--\S+ ((?:INT|FLOAT|BYTES|[a-z0-9]+\|)\S*)", row)
        said = "(default: " in row or "(required)" in row or "default: " in row or name == "--gap"
        check(not value or said, f"{command} --help: {name} says no default: {row}")
        check(len(row.split()) > 1, f"{command} --help: {name} is not explained")


def taken(folder, command, text, candidates):
    """What the parser takes, by its own word: an unknown option behind all others makes it name those that it does not know."""
    options = options_of(text)
    needed = [value.split("|")[0] for _, value in arguments_of(text)]
    for name, row in options.items():
        if "(required)" in row:
            needed += [f"{name}={some_value(row)}"]
    result = run([command, *needed, UNKNOWN], folder)
    check(result.returncode == 2 and f"not expected: {UNKNOWN};" in result.stderr, f"{command} {needed}: {result.stderr}")
    # All that the help does not name at once, and what it names one by one.
    others = [candidate for candidate in candidates if candidate not in options]
    result = run([command, *needed, *others, UNKNOWN], folder)
    refusal = result.stderr.partition("not expected:")[2].replace(";", " ").split()
    check(set(others) <= set(refusal), f"{command}: takes {set(others) - set(refusal)}, which its help does not name")
    for option, row in options.items():
        if option == "--help":
            continue
        value = [f"{option}={some_value(row)}"] if re.match(r"\S+ [A-Za-z0-9|:=.]*[A-Z|]", row) else [option]
        also = ["--resume"] if option == "--change" else []
        given = [word for word in needed if not word.startswith(option + "=")]
        result = run([command, *given, *value, *also, UNKNOWN], folder)
        check(result.returncode == 2 and f"not expected: {UNKNOWN};" in result.stderr, f"{command} {value}: {result.stderr}")


with tempfile.TemporaryDirectory() as name:
    place = Path(name)
    overview = run("--help", place)
    check(overview.returncode == 0 and run("help", place).stdout == overview.stdout, "tvmap help: not what --help says")
    names = re.findall(r"^  ([a-z]+) ", overview.stdout.split("\nCommands:\n")[1].split("\n\n")[0], re.M)
    check(len(names) == 14 and names[0] == "init", f"commands: {names}")
    texts = {command: run([command, "--help"], place).stdout for command in names}
    every = sorted(in_the_sources() | {option for text in texts.values() for option in options_of(text)})
    check(len(every) > 50, f"options: {every}")
    for command, text in texts.items():
        complete(place, command, text)
        taken(place, command, text, every)
    refused(place, 2, "help slove", "there is no command slove; the nearest is solve")
    refused(place, 2, "help train --man", "--man prints one page")
    check(not list(place.iterdir()), "asking for help left files")
finish()
