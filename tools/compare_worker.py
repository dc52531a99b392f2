"""What a measuring process of tools/compare does: it times one piece of work, once or whenever it is asked, and says so in lines
of JSON on standard output."""
import json
import re
import sys
import time


def resident(key):
    """A figure of /proc/self/status in bytes: VmRSS (now) or VmHWM (the peak so far)."""
    with open("/proc/self/status", encoding="ascii") as status:
        return int(re.search(rf"^{key}:\s*(\d+) kB", status.read(), re.MULTILINE)[1]) * 1024


def median(values):
    """The middle one; of an even number the greater of the two."""
    return sorted(values)[len(values) // 2]


def timed(run):
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def requests(serve):
    """Something to do: once or, to `serve`, after a line that says that all is warm, for each line of standard input."""
    if not serve:
        yield
        return
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        yield


def measure(run, warm_up, repeat=1, serve=False):
    """Yields for each request the times of `repeat` runs. Before the first, warm_up() runs (libraries choose their kernels then)
    and, where runs are repeated, run() once. Memory is the peak above what was resident after warm_up()."""
    warm_up()
    start = resident("VmRSS")
    if repeat > 1:
        run()
    for _ in requests(serve):
        seconds = [timed(run) for _ in range(repeat)]
        peak = resident("VmHWM")
        yield {"seconds": median(seconds), "all_seconds": seconds, "peak_bytes_above_start": peak - start, "peak_bytes": peak}


def answer(results):
    for result in results:
        print(json.dumps(result), flush=True)
