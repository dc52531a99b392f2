"""A small run for the tests of figures and reports: phantoms, a short training, an evaluation. One test image has a name that
no shell, page, figure or table may take for its own."""
import csv

from program import check, run

hostile = "<b>&\"'$(x)`, λ"
experiment = """data: {train: images, val: images, test: images, size: 32, limit: {train: 8, val: 2, test: 12}}
network: {channels: [4, 4]}
solver: {iterations: 8}
map: {kind: KIND}
train: {epochs: 3, batch: 4}
optimiser: {rate: 1e-3}
evaluate: {sigma: SIGMA, iterations: 8, search: {from: 0, to: 0.2, count: 9}}
"""


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def make(folder, name="run", kind="separate", sigma="[0.1, 0.5]", pictures=2):
    """The run's folder; its first test image is the hostile one."""
    images = folder / "images"
    if not images.exists():
        succeeds("phantoms --out images --count 12 --size 32 --seed 5", folder)
        first = sorted(images.iterdir())[0]
        first.rename(images / (hostile + first.suffix))
    (folder / "experiment.yaml").write_text(experiment.replace("KIND", kind).replace("SIGMA", sigma))
    succeeds(["train", "experiment.yaml", "--run", name, "--threads", "1"], folder)
    said = succeeds(["evaluate", name, "--threads", "1", "--pictures", str(pictures)], folder)
    return folder / name, said


def succeeds(arguments, folder):
    result = run(arguments, folder)
    check(result.returncode == 0, f"tvmap {arguments}: exit {result.returncode}, {result.stderr}")
    return result
