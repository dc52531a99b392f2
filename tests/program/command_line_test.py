#!/usr/bin/env python3
"""What is given on the command line is what is worked with: numbers are decimal and fit, a --set value is taken to
the byte, folders belong to the place that a run was started in, and closed standard streams change nothing."""
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from program import check, finish, npy, png, program, refused, run, tiny_experiment  # noqa: E402


def numbers(folder):
    (folder / "image.npy").write_bytes(npy([0.1 * (i % 7) for i in range(12 * 16)], (12, 16)))
    solve = "solve image.npy --lambda 0.1 --out x.npy"
    search = "search image.npy --clean image.npy"
    gradient = "gradient image.npy --lambda 0.1 --target image.npy --out d.npy --iterations 8"
    whole = {
        f"{solve} --iterations": "-2147483648 to 2147483647", f"{solve} --repeat": "1 to 1000000",
        f"{solve} --threads": "0 to 4096", f"{search} --count": "1 to 1000000", f"{gradient} --implicit-cap": "",
        "phantoms --out p --count 1 --seed": "0 to 18446744073709551615", "phantoms --out p --count": "1 to 1000000",
        "phantoms --out p --count 1 --size": "8 to 8192", "evaluate run --pictures": "0 to 2147483647",
        "bench --batch": "1 to 4096", "bench --size": "32 to 4096", "bench --iterations": "1 to 1000000",
    }
    real = [f"{solve} --tau", f"{solve} --sigma", f"{solve} --theta", f"{solve} --norm", f"{solve} --gap", f"{search} --from",
            f"{search} --to", f"{gradient} --implicit-tolerance", "bench --seconds"]
    # All of them for the first option, and for every other what shows that it takes numbers by the same way.
    no_number = ["0x10", "99999999999999999999999", "8x", " ", " 8", "8 ", "1_0", "1,0", "1'0", "+-8", "--8", "٣", "many"]
    for option, limits in whole.items():
        name = option.split()[-1]
        for value in no_number + ["1e3", "8.0", "-99999999999999999999999"] if option.endswith("--iterations") else no_number[:2]:
            command = option.split()
            refused(folder, 2, [*command[:-1], f"{command[-1]}={value}"], f"{name} {value}: give a whole number", limits)
    for option in real:
        name = option.split()[-1]
        special = ["0x1p3", "1e39", "nan", "inf", "-infinity", "1e", "1e999", "0.1f"]
        for value in no_number[2:] + special if name == "--tau" else special[:2]:
            command = option.split()
            refused(folder, 2, [*command[:-1], f"{command[-1]}={value}"], f"{name} {value}: give a number")
    refused(folder, 2, f"{solve} --iterations=", "--iterations")
    for value in ("-1", "18446744073709551616"):
        refused(folder, 2, f"phantoms --out p --count 1 --seed={value}", f"--seed {value}: give a whole number from 0")
    refused(folder, 2, f"{solve} --threads=4097", "--threads 4097: give a whole number from 0 to 4096")
    for value in ("0", "-1", "0x10", "1e31", "nan"):
        refused(folder, 2, f"{solve} --peak={value}", f"--peak {value}: give a number from")
    for value in ("-1", "0x10", "1.5", "1e3", "99999999999999999999999", "10 mb"):
        refused(folder, 2, [*solve.split(), f"--picture-limit={value}"], f"--picture-limit {value}: give bytes")
    for value in ("0x1", "1e39", "0,1", "+-1"):
        refused(folder, 1, f"solve image.npy --out x.npy --lambda={value}", value, "neither a number")
    for given, taken in (("010", 10), ("+8", 8), ("0009", 9)):
        result = run(f"{solve} --iterations {given} --json", folder)
        check(result.returncode == 0 and json.loads(result.stdout)["steps"] == taken, f"--iterations {given}: {result}")
    for given, taken in (("18446744073709551615", 2**64 - 1), ("007", 7)):
        result = run(f"phantoms --out p --count 1 --size 8 --seed {given} --json", folder)
        check(result.returncode == 0 and json.loads(result.stdout)["seed"] == taken, f"--seed {given}: {result}")
    (folder / "[a,b]").write_bytes(png(16))
    result = run(["search", "[a,b]", "--clean=[a,b]", "--iterations", "8", "--count", "3", "--json"], folder)
    check(result.returncode == 0 and len(json.loads(result.stdout)["images"]) == 1, f"search [a,b]: {result}")
    shown = run("solve --help", folder).stdout
    check("from 0 to 4096" in shown and "256" in shown, f"solve --help: {shown}")


def image_folder(path, step, name=b"image"):
    os.makedirs(path)
    with open(os.path.join(path, name + b".png"), "wb") as file:
        file.write(png(32, step))


def evaluated(run_folder):
    file = Path(os.fsdecode(run_folder)) / "evaluation/per_image.csv"
    return file.read_bytes() if file.exists() else b""


def folder_names(folder):
    """Every folder name comes back from the run's own record, and no part of it is taken for another folder."""
    (folder / "tiny.yaml").write_bytes(tiny_experiment)
    names = [b"study #1", b"a: b", b"a=b=c", b"[x]", b"[a, b]", b"{a: b}", b"-", b"--json", b"~", b"null", b"true", b"#", b"'",
             b'"quoted"', b"it's", b"100%", b"a\\b", b"*", b"&a", b"!t", b"|", b">", b"%TAG", b"@", b"`", b" lead", b"trail ",
             b"a\nb", b"a\tb", b"a\rb", b"\x01\x1b", b"caf\xe9", b"\xff\xfe", "日本".encode(), b"0x10", b"1.0", b"?", b", ", b".."
             b"..."]
    os.makedirs(folder / "d")
    image_folder(os.path.join(os.fsencode(folder), b"d/study"), 5, b"wrong")  # what "study #1" must not be read as
    for number, name in enumerate(names):
        image_folder(os.path.join(os.fsencode(folder), b"d", name), 1 + number, b"right")
    bare = os.fsencode(folder)
    for first in range(0, len(names), 3):
        three = (names[first:first + 3] + names[:2])[:3]
        sets = []
        for key, name in zip((b"train", b"val", b"test"), three):
            sets += [b"--set", b"data." + key + b"=d/" + name]
        target = folder / f"run{first}"
        result = run([b"train", b"tiny.yaml", b"--quiet", b"--run", os.fsencode(target), *sets], folder)
        check(result.returncode == 0, f"train with {three}: {result}")
        result = run([b"evaluate", os.fsencode(target), b"--quiet"], folder)
        check(result.returncode == 0 and b"\nright," in evaluated(target), f"evaluate with {three}: {result}")
        # The one that was evaluated is named again, now by itself: the numbers are the same.
        there = evaluated(target)
        result = run([b"evaluate", os.fsencode(target), b"--quiet", b"--set", b"data.test=" + bare + b"/d/" + three[2]], folder)
        check(result.returncode == 0 and evaluated(target) == there, f"evaluate with {three[2]}: {result}")


def places(folder):
    """A run's relative folders are those of its start, from wherever it is evaluated."""
    here, there = folder / "here", folder / "there"
    for place, step in ((here, 1), (there, 7)):
        image_folder(os.fsencode(place / "images"), step, os.fsencode(place.name))
        (place / "tiny.yaml").write_bytes(tiny_experiment)
    result = run("train tiny.yaml --run run", here)
    check(result.returncode == 0 and str(here / "images") in result.stderr, f"train: {result}")
    record = (here / "run/config.yaml").read_text()
    check(record.count(f'"{here}/images"') == 3, f"config.yaml: {record}")
    for working in (here, there, folder):
        result = run(["evaluate", str(here / "run"), "--json"], working)
        check(result.returncode == 0 and b"\nhere," in evaluated(here / "run"), f"evaluate in {working}: {result}")
        check(str(here / "images") in result.stderr, f"evaluate in {working} does not name its images: {result.stderr}")
        check(f'"data": "{here}/images"' in result.stdout, f"evaluate in {working}: {result.stdout}")
    # A folder that is named now belongs to now.
    result = run(["evaluate", str(here / "run"), "--set", "data.test=images"], there)
    check(result.returncode == 0 and b"\nthere," in evaluated(here / "run"), f"evaluate with data.test: {result}")


def closed_streams(folder):
    """The same files, and the same end, whichever streams are closed."""
    image_folder(os.fsencode(folder / "images"), 3)
    (folder / "tiny.yaml").write_bytes(tiny_experiment)
    result = run("train tiny.yaml --run run --quiet", folder)
    check(result.returncode == 0, f"train: {result}")
    result = run("evaluate run --out open", folder)
    check(result.returncode == 0, f"evaluate: {result}")
    names = sorted(p.name for p in (folder / "open").iterdir() if p.is_file())
    for number, closed in enumerate(("<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-")):
        out = folder / f"closed{number}"
        result = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", program, "evaluate", "run", "--out", str(out)],
                                cwd=folder, capture_output=True, text=True, timeout=120)
        check(result.returncode == 0, f"evaluate {closed}: {result}")
        check(out.exists() and sorted(p.name for p in out.iterdir() if p.is_file()) == names, f"evaluate {closed}: other files")
        for name in ("per_image.csv", "summary.txt", "curves.svg"):
            if (folder / "open" / name).exists():  # a figure only where gnuplot is
                check((out / name).exists() and (out / name).read_bytes() == (folder / "open" / name).read_bytes(),
                      f"evaluate {closed}: another {name}")


def restorations(folder):
    """solve and gradient take other problems, and refuse what does not go with them."""
    values = [0.1 * (i % 7) for i in range(12 * 16)]
    (folder / "z.npy").write_bytes(npy(values, (12, 16)))
    (folder / "clean.npy").write_bytes(npy([0.1 * (i % 5) for i in range(24 * 32)], (24, 32)))
    (folder / "ones.npy").write_bytes(npy([1.0] * 12 * 16, (12, 16)))
    (folder / "k.npy").write_bytes(npy([0.25, 0.5, 0.25], (1, 3)))
    solve = "solve z.npy --lambda 0.1 --iterations 40 --out x.npy"
    for wrong, said in {"--lambda0 0.1": "--lambda0 goes with --regulariser tgv alone", "--regulariser tgv": "give --lambda0",
                        "--mask ones.npy": "--mask goes with", "--operator mask": "give --mask", "--operator blur": "give --kernel",
                        "--factor 2": "--factor goes with", "--operator downsample": "give --factor",
                        "--operator impulses --regulariser tgv --lambda0 1": "--operator impulses goes with --regulariser tv or tv8",
                        "--gain 0.1": "--gain goes with", "--operator poisson": "give --gain", "--read-out 0.1": "--read-out goes with",
                        "--operator poisson --gain 0.1 --mask ones.npy": "--mask goes with",
                        "--threshold 0.1": "--threshold goes with", "--operator blur --kernel k.npy --threshold 0.1": "--threshold goes with",
                        "--operator mask --mask ones.npy --repeat 2": "--repeat goes with"}.items():
        refused(folder, 2, f"{solve} {wrong}", said)
    for wrong, said in {"--operator mask --mask k.npy": "1×3 does not fit", "--operator mask --mask ones.npy --start image": "--start",
                        "--regulariser tgv --lambda0 1 --start image": "--start",
                        "--regulariser tgv --lambda0 1 --norm 2.9": "may diverge above 1.33",
                        "--operator poisson --gain 0.02 --norm 2.9": "may diverge above 1.33",
                        "--operator mask --mask ones.npy --tau 0.4 --sigma 0.45": "may diverge above 1.33",
                        "--operator blur --kernel z.npy": "odd sizes"}.items():
        refused(folder, 1, f"{solve} {wrong}", said)
    for warned in ("--operator poisson --gain 0.02 --norm 3", "--operator mask --mask ones.npy --tau 0.38 --sigma 0.33",
                   "--regulariser tv8 --norm 2.8"):
        result = run(f"{solve} {warned}", folder)
        check(result.returncode == 0 and "classical bound of 1" in result.stderr, f"{warned}: {result}")
    gradient = "gradient z.npy --lambda 0.1 --target z.npy --out d.npy --iterations 8"
    refused(folder, 2, f"{gradient} --operator poisson --gain 0.02 --out-z dz.npy", "--out-z does not go with --operator poisson")
    refused(folder, 2, f"{gradient} --implicit-cap 5", "go with --mode implicit alone")
    tgv_maps(folder, solve)
    result = run(solve, folder)
    plain = (folder / "x.npy").read_bytes()
    check(run(f"{solve} --operator mask --mask ones.npy", folder).returncode == 0 and (folder / "x.npy").read_bytes() == plain,
          "a mask of ones is denoising")
    for options, shape in {"--operator downsample --factor 2": "(24, 32)", "--operator blur --kernel k.npy": "(12, 16)",
                           "--operator impulses --regulariser tv8 --threshold 0.1": "(12, 16)",
                           "--operator poisson --gain 0.02 --read-out 0.1": "(12, 16)",
                           "--regulariser tgv --lambda0 0.2 --boundary neumann --norm auto": "(12, 16)"}.items():
        result = run(f"{solve} {options} --gap 0.5 --trace t.csv", folder)
        check(result.returncode in (0, 3) and shape.encode() in (folder / "x.npy").read_bytes()[:128], f"solve {options}: {result}")
        check("residual of the" in result.stdout and (folder / "t.csv").read_text().startswith("step,image,primal,gap"), f"{result}")
    restoration_states(folder, solve.replace("--iterations 40 ", ""))
    result = run("gradient z.npy --lambda 0.1 --operator downsample --factor 2 --target clean.npy --iterations 20 --out d.npy "
                 "--out-z dz.npy", folder)
    check(result.returncode == 0 and b"(12, 16)" in (folder / "dz.npy").read_bytes()[:128], f"gradient: {result}")
    search = "search z.npy --clean ones.npy --from 0.1 --to 0.3 --count 2 --iterations 20 --json"
    for wrong, said in {"--mask ones.npy": "--mask goes with", "--operator downsample": "give --factor",
                        "--lambda0-ratio 3": "--lambda0-ratio goes with"}.items():
        refused(folder, 2, f"{search} {wrong}", said)
    refused(folder, 1, f"{search} --operator downsample --factor 2", "give the clean image of that size")
    plain = json.loads(run(search, folder).stdout)["images"]
    ones = json.loads(run(f"{search} --operator mask --mask ones.npy", folder).stdout)["images"]
    check([image["psnr"] for image in plain] == [image["psnr"] for image in ones], f"search: {plain}, {ones}")
    for options in ("--operator downsample --factor 2 --clean clean.npy", "--regulariser tgv --lambda0-ratio 3 --norm auto",
                    "--operator blur --kernel k.npy", "--operator impulses", "--operator poisson --gain 0.02"):
        words = search.replace("--clean ones.npy ", "") if "--clean" in options else search
        result = run(f"{words} {options}", folder)
        check(result.returncode == 0 and json.loads(result.stdout)["images"][0]["psnr"]["lambda"] > 0, f"{options}: {result}")


def tgv_maps(folder, solve):
    """All five maps in one array, or two of first and three of second differences; nothing else."""
    values = [0.02 + 0.001 * (i % 13) for i in range(5 * 192)]
    for name, first, last in (("five", 0, 5), ("two", 0, 2), ("three", 2, 5), ("four", 0, 4), ("one", 0, 1)):
        (folder / f"{name}.npy").write_bytes(npy(values[192 * first:192 * last], (last - first, 12, 16)))
    command = solve.replace("--lambda 0.1 ", "") + " --regulariser tgv"
    results = []
    for maps in ("--lambda five.npy", "--lambda two.npy --lambda0 three.npy"):
        result = run(f"{command} {maps}", folder)
        check(result.returncode == 0, f"{maps}: {result}")
        results.append((folder / "x.npy").read_bytes())
    check(results[0] == results[1], "five maps are two and three")
    refused(folder, 2, f"{command} --lambda two.npy", "give --lambda0 too, or 5 maps in one array")
    for first, second in (("four", "0.2"), ("one", "four"), ("five", "0.1"), ("two", "one")):
        second = second if second[0] == "0" else f"{second}.npy"
        refused(folder, 2, f"{command} --lambda {first}.npy --lambda0 {second}", "--lambda, --lambda0: ", "give one and one")


def empty_values(folder):
    """What an unset variable of a shell leaves is no value."""
    (folder / "z.npy").write_bytes(npy([0.1 * (i % 7) for i in range(12 * 16)], (12, 16)))
    solve = ["solve", "z.npy", "--lambda", "0.1", "--out", "x.npy", "--iterations", "8"]
    for option in ("--lambda-y", "--lambda0", "--mask", "--kernel", "--trace", "--state-in", "--state-out", "--norm"):
        refused(folder, 2, [*solve, option, ""], f"{option}")
    refused(folder, 2, ["denoise", "z.npy", "--out", ""], "--out: an empty value")
    refused(folder, 2, ["search", "z.npy", "--clean", "z.npy", "--out="], "--out")


def restoration_states(folder, solve):
    """40 steps and 30 from their state are 70; with --gap a state that is there stops at once; another problem's is refused."""
    problems = {"mask": "--operator mask --mask ones.npy", "blur": "--operator blur --kernel k.npy --regulariser tv8",
                "down": "--operator downsample --factor 2", "tgv": "--regulariser tgv --lambda0 0.2 --boundary neumann --norm auto"}
    for name, options in problems.items():
        for steps in (f"--iterations 70 --state-out whole_{name}", f"--iterations 40 --state-out {name}",
                      f"--iterations 30 --state-in {name} --state-out joined_{name}"):
            result = run(f"{solve} {options} {steps}", folder)
            check(result.returncode == 0, f"{steps}: {result}")
            if "whole" in steps:
                (folder / "whole.npy").write_bytes((folder / "x.npy").read_bytes())
        check((folder / "x.npy").read_bytes() == (folder / "whole.npy").read_bytes(), f"{name}: another result from a state")
        check((folder / f"joined_{name}").read_bytes() == (folder / f"whole_{name}").read_bytes(), f"{name}: another state")
        result = run(f"{solve} {options} --gap 1e-2 --state-in {name} --state-out {name}", folder)
        check(result.returncode == 0, f"{name} to a gap: {result}")
        reached = (folder / "x.npy").read_bytes()
        result = run(f"{solve} {options} --gap 1e-2 --state-in {name} --json", folder)
        check(result.returncode == 0 and json.loads(result.stdout)["steps"] == 0, f"{name} at its gap: {result}")
        check((folder / "x.npy").read_bytes() == reached, f"{name}: a result of 0 steps that is not the state's")
    check(run(f"{solve} --iterations 5 --state-out tv", folder).returncode == 0, "a state of total variation")
    for name, options in problems.items():
        for other in [*problems, "tv"]:
            if other != name:
                refused(folder, 1, f"{solve} {options} --state-in {other}", f"{other}: a state of regulariser", "give a state of the same two")
        refused(folder, 1, f"{solve} --state-in {name}", f"{name}: a state of regulariser", "where this solve has tv and identity")
    refused(folder, 1, f"{solve} {problems['mask']} --state-in none", "none")
    refused(folder, 1, f"{solve.replace('z.npy', 'clean.npy')} {problems['blur']} --state-in blur", "12×16", "24×32")


def operators(folder):
    """A network for an operator trains, is evaluated and used; what its pictures need is asked for."""
    image_folder(os.fsencode(folder / "images"), 3)
    (folder / "tiny.yaml").write_bytes(tiny_experiment)
    picture = sorted((folder / "images").iterdir())[0]
    shape = struct.unpack(">II", picture.read_bytes()[16:24])[::-1]
    (folder / "ones.npy").write_bytes(npy([1.0] * shape[0] * shape[1], shape))
    (folder / "small.npy").write_bytes(npy([1.0] * 6, (2, 3)))
    for operator, needed, grows in (("mask", " --mask ones.npy", 1), ("blur", "", 1), ("downsample", "", 2), ("impulses", "", 1),
                                    ("poisson", " --set solver.poisson.gain=0.02 --set noise.sigma=0.1", 1)):
        more = " --set noise.relative_to=one --set solver.poisson.gain=[0.01,0.05]" if operator == "poisson" else ""
        result = run(f"train tiny.yaml --run {operator} --set solver.operator={operator} --set solver.blur.size=3{more} --quiet", folder)
        check(result.returncode == 0, f"train {operator}: {result}")
        result = run(f"evaluate {operator} --quiet --json", folder)
        check(result.returncode == 0 and "gain" in json.loads(result.stdout), f"evaluate {operator}: {result}")
        denoise = f"denoise {picture} --checkpoint {operator}/checkpoints/last.safetensors --out out_{operator}"
        if operator == "poisson":
            refused(folder, 2, denoise, "--set solver.poisson.gain=")
            refused(folder, 2, f"{denoise}{needed} --colour luminance", "give channels")
        elif needed:
            refused(folder, 2, denoise, "give --mask")
            refused(folder, 1, f"{denoise} --mask small.npy", "2×3 does not fit")
        else:
            refused(folder, 2, f"{denoise} --mask ones.npy", "--mask goes with")
        result = run(denoise + needed, folder)
        made = folder / f"out_{operator}" / f"{picture.stem}.png"
        check(result.returncode == 0, f"denoise {operator}: {result}")
        check(struct.unpack(">II", made.read_bytes()[16:24])[::-1] == tuple(grows * side for side in shape), f"{operator}: size")


def instruction_sets(folder):
    """--isa keeps to one set; the solver has the same bits with each, and a network trains with the least of them."""
    image_folder(os.fsencode(folder / "images"), 3)
    (folder / "image.npy").write_bytes(npy([0.1 * (i % 7) for i in range(12 * 16)], (12, 16)))
    (folder / "tiny.yaml").write_bytes(tiny_experiment)
    best = json.loads(run("info --json", folder).stdout)["instruction_set"]
    refused(folder, 1, "info --isa avx9", "instruction set avx9 is not available on this processor; use one of ", best)
    known = run("info --isa avx9", folder).stderr.strip().rsplit("use one of ", 1)[-1].split(", ")
    check(known[0] == best and "AVX3" not in known, f"instruction sets {known}, the best of them {best}")
    images = set()
    for name in known:
        result = run(f"info --json --isa {name.lower().replace('-', '')}", folder)
        check(result.returncode == 0 and json.loads(result.stdout)["instruction_set"] == name, f"--isa {name}: {result}")
        result = run(f"solve image.npy --lambda 0.1 --out {name}.npy --isa {name}", folder)
        images.add((folder / f"{name}.npy").read_bytes() if result.returncode == 0 else result.stderr)
        result = run(f"train tiny.yaml --run run{name} --isa {name} --quiet", folder)
        check(result.returncode == 0, f"train --isa {name}: {result}")
    check(len(images) == 1, f"solve: other results with other instruction sets: {images}")


with tempfile.TemporaryDirectory() as cache:
    os.environ["XDG_CACHE_HOME"] = cache  # where measured algorithms are kept
    for part in (numbers, folder_names, places, closed_streams, instruction_sets, restorations, operators, empty_values):
        with tempfile.TemporaryDirectory() as name:
            part(Path(name).resolve())
finish()
