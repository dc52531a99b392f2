"""The stages of tools/gpu-check that run the tests with the label `gpu`, as they are and under compute-sanitizer. Of one that
fails, everything it says is kept (the first wrong values among it), and compute-sanitizer looks at the failing cases at once.
Its inputs need not be kept: they follow from seeds in the test, and the same test runs emulated on any machine."""
import functools
import re
import shutil

from gpu_workbench import Failed, Skipped, Unfinished

TOOLS = ("memcheck", "racecheck")
# Kernels that are ours alone; compute-sanitizer would spend its time on cuDNN's in the other tests.
OWN_KERNELS = re.compile("pdhg|layers|training|step_sizes")
ONE_TEST, ONE_FAILURE = 600, 60  # the most that a test, and compute-sanitizer on the failing cases of one, may take, in seconds


def assertions(output):
    """What doctest says last of its assertions; a test that checked nothing has not passed."""
    found = re.search(r"assertions:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed", output)
    if not found or int(found[1]) == 0:
        raise Failed("it reports no assertion")
    return f"{int(found[1]):,} assertions"


def no_tests():
    raise Skipped("no tests for the GPU here: configure with TVMAP_TESTS=ON, or bundle them by tools/bundle --with-tests")


def failures(output):
    """(test case, first words on what is wrong there) of what doctest says; one line each."""
    found = {}
    for block in re.split(r"^={20,}$", output, flags=re.MULTILINE):
        case, error = re.search(r"^TEST CASE:\s+(.+)$", block, re.MULTILINE), re.search(r"ERROR: (.*(?:\n\s+.*)?)", block)
        if case and error:
            found.setdefault(case[1].strip(), " ".join(error[1].split()))
    return found


def tests(workbench):
    def test(name, executable):
        code, output = workbench.run([executable], name, ONE_TEST)
        if code == 77:
            raise Skipped(workbench.said(name))
        if code != 0:
            wrong = failures(output)
            said = [f"{case}: {words}" for case, words in wrong.items()] or [workbench.said(name)]
            checked = [f"{tool}: {judgement(tool, name, executable, wrong)}" for tool in TOOLS]
            raise Failed(f"ended with {code}: " + "; ".join(said[:3] + checked) + f": see {name}.txt")
        return {"summary": assertions(output)}

    def judgement(tool, name, executable, cases):
        """compute-sanitizer's words on the cases of a test that has failed."""
        # (doctest separates the names of cases by commas.)
        chosen = ["--test-case=" + ",".join(case.replace(",", "?") for case in cases)] if cases else []
        try:
            return sanitize(workbench, tool, [executable, *chosen], f"{name}-{tool}", ONE_FAILURE)
        except (Failed, Skipped, Unfinished) as words:
            return str(words)

    return [(name, functools.partial(test, name, executable)) for name, executable in workbench.binaries.tests.items()] or \
        [("tests", no_tests)]


def sanitize(workbench, tool, command, log, limit):
    checker = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if not checker:
        raise Skipped("compute-sanitizer is not there")
    code, _ = workbench.run([checker, "--tool", tool, "--error-exitcode", 99, *command], log, limit)
    said = (workbench.logs / f"{log}.txt").read_text(encoding="utf-8", errors="replace")
    if found := re.search(r"ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard", said):
        count = int(found[1] or found[2])
        if code == 0 and count == 0:
            return "no error"
        first = re.search(r"^=+ (?!COMPUTE-SANITIZER|ERROR SUMMARY|RACECHECK SUMMARY)(\S.*)$", said, re.MULTILINE)
        raise Failed(f"{count} found, ended with {code}{': ' + first[1] if first else ''}: see {log}.txt")
    # It has not got as far as checking: no word on the kernels.
    if code == 77 or re.search("not supported|Unable to|Failed to initialize", said):
        raise Skipped(workbench.said(log))
    raise Failed(f"ended with {code}: see {log}.txt")


def sanitizer(workbench):
    def check(tool, name, executable):
        return {"summary": sanitize(workbench, tool, [executable], f"{tool}-{name}", ONE_TEST)}

    own = {name: executable for name, executable in workbench.binaries.tests.items() if OWN_KERNELS.search(name)}
    tools = TOOLS[:1] if workbench.quick else TOOLS
    return [(f"{tool} {name}", functools.partial(check, tool, name, executable))
            for tool in tools for name, executable in own.items()] or [("tests", no_tests)]
