"""The table of tools/gpu-check, from the records of its stages: table.md to read, table.json to go on with."""
import json
import statistics

from gpu_workbench import read_record, write_text


STEPS = ("steps", "contenders")  # the stages with whole training steps


def stage_status(record):
    """failed, unfinished, passed, skipped (each if any item is), or `not run`."""
    found = {item["status"] for item in record["items"].values()} if record else set()
    return next((status for status in ("failed", "unfinished", "passed", "skipped") if status in found), "not run")


def figures(records, *stages):
    """key → values of the items that passed, or that got somewhere before the time was up."""
    items = {key: item for stage in stages if records.get(stage) for key, item in records[stage]["items"].items()}
    return {key: item["values"] for key, item in items.items()
            if item["status"] == "passed" or item["status"] == "unfinished" and item["values"]}


def rows(heads, lines):
    if not lines:
        return []
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads),
            *("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def overview(records):
    lines = []
    for stage, record in records.items():
        items = record["items"].values() if record else []
        count = {status: sum(item["status"] == status for item in items)
                 for status in ("passed", "failed", "skipped", "unfinished")}
        lines.append([stage, f"**{stage_status(record)}**", ", ".join(f"{n} {status}" for status, n in count.items() if n),
                      f"{sum(item['seconds'] for item in items):.0f} s", record["when"] if record else "",
                      ", ".join(sorted({item["machine"] for item in items}))])
    return rows(["stage", "result", "checks", "took", "when", "on"], lines)


def not_passed(records):
    return [f"- {stage}, {key}: {item['status']}: {item['summary']}" for stage, record in records.items() if record
            for key, item in record["items"].items() if item["status"] != "passed"]


def step_comparison(records):
    """(precision, batch) → contender → seconds a step."""
    found, own = {}, {}
    for key, values in figures(records, *STEPS).items():
        if key.startswith("tvmap"):
            own.setdefault((values["precision"], values["batch"]), []).extend(values["all_seconds"])
        else:
            for step in values["steps"]:
                found.setdefault((step["precision"], step["batch"]), {})[f"{step['form']}, {step['mode']}"] = step["seconds"]
    return {case: {"tvmap": statistics.median(seconds)} | found.get(case, {}) for case, seconds in own.items()}


def milliseconds(seconds):
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.001 else f"{seconds * 1e3:.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:.1f} ms"


def step_lines(comparison):
    contenders = list(dict.fromkeys(name for found in comparison.values() for name in found if name != "tvmap"))
    lines = []
    for (precision, batch), found in comparison.items():
        own = found["tvmap"]
        image = f" ({milliseconds(own / batch)} an image)" if batch > 1 else ""
        lines.append([f"{precision}, batch {batch}", milliseconds(own) + image,
                      *(f"{milliseconds(found[name])} (**{found[name] / own:.1f}×**)" if name in found else ""
                        for name in contenders)])
    return rows(["training step", "tvmap", *(f"PyTorch {name}" for name in contenders)], lines)


def solver_lines(records):
    own, others = {}, {}
    for key, values in figures(records, "solver").items():
        if key.startswith("tvmap"):
            own[values["task"]] = values["seconds"]
        else:
            others[key] = {task["task"]: task["seconds"] for task in values["tasks"]}
    lines = [[task, milliseconds(seconds), *(f"{milliseconds(found[task])} (**{found[task] / seconds:.1f}×**)"
                                             if task in found else "" for found in others.values())]
             for task, seconds in own.items()]
    return rows(["solver alone", "tvmap", *others], lines)


def memory_lines(records):
    lines = []
    for key, values in figures(records, *STEPS).items():
        if key.startswith("tvmap again"):
            continue
        if key.startswith("tvmap"):
            lines.append([key, f"{values['memory']['predicted'] / 1e6:.0f} MB", f"{values['memory']['measured'] / 1e6:.0f} MB"])
        else:
            lines += [[f"{key}, {step['precision']} batch {step['batch']}", "", f"{step['reserved_bytes'] / 1e6:.0f} MB"]
                      for step in values["steps"] if "reserved_bytes" in step]
    return rows(["device memory above the context", "predicted", "measured"], lines)


def kernel_lines(records):
    found = [values for values in figures(records, "bench").values()]
    lines = [[kernel["kernel"], kernel["shape"], f"{kernel['seconds'] * 1e3:.4f}", f"{kernel['bytes_per_second'] * 1e-9:.0f}",
              f"{100 * kernel['memory_share']:.0f} %", f"{kernel['operations_per_second'] * 1e-9:.0f}",
              f"{100 * kernel['arithmetic_share']:.0f} %"] for values in found for kernel in values["kernels"]]
    return rows(["kernel", "shape", "ms", "GB/s", "of memory", "GFLOP/s", "of fp32"], lines)


def experiment_lines(records):
    trained, lines = figures(records, "experiment"), []
    for key, values in trained.items():
        run, _, what = key.partition(": ")
        if what == "training":
            best = "" if values["best_psnr"] is None else f", validation {values['best_psnr']:.2f} dB"
            lines.append([run, f"{values['epochs']} epochs, {values['steps']} steps in {values['seconds'] / 60:.1f} min{best}",
                          "", "", "", ""])
        else:
            cells = [f"{values[who]['psnr']['mean']:.2f} dB, {values[who]['ssim']['mean']:.3f}"
                     for who in ("noisy", "scalar", "map")]
            lines.append([run, f"{what}, {values['images']} images", *cells,
                          f"**{values['gain']['psnr']:+.2f} dB, {values['gain']['ssim']:+.3f}**"])
    return rows(["experiment", "", "noisy", "best scalar λ", "map Λ", "gain"], lines)


def write(out, stages):
    """Writes both; returns what is read."""
    records = {stage: read_record(out, stage) for stage in stages}
    lines = ["# tvmap, checked on a GPU", ""]
    places = records["device"]["items"].values() if records["device"] else []
    lines += [f"- {item['summary']}" for item in places if item["status"] == "passed"] + ([""] if places else [])
    lines += overview(records)
    builds = {record["build"] for record in records.values() if record}
    if len(builds) > 1:
        lines += [f"The results are of {len(builds)} builds: {', '.join(sorted(builds))}.", ""]
    if any(build.endswith("-quick") for build in builds):
        lines += ["Taken with --quick: figures of speed are rough, the experiments cut short.", ""]
    if left := not_passed(records):
        lines += ["## Not passed", "", *left, ""]
    comparison = step_comparison(records)
    for title, part, note in (
            ("Training step", step_lines(comparison),
             "256×256, T = 256, medians in one run on one GPU. tvmap: with noise, batches and bookkeeping; PyTorch: with "
             "images that lie on the GPU. compile: network and solver's step by torch.compile; graph: the whole step recorded "
             "as a CUDA graph."),
            ("Solver", solver_lines(records), "256×256, T = 256, batch 1; gradient: forward and ∂MSE/∂Λ; search: 81 scalars."),
            ("Memory", memory_lines(records), "PyTorch's is what its allocator reserved."),
            ("Experiments", experiment_lines(records), "PSNR and SSIM (Gaussian), means over the test images."),
            ("Kernels", kernel_lines(records), "")):
        if part:
            lines += [f"## {title}", "", *part, *([note, ""] if note else [])]
    text = "\n".join(lines).rstrip() + "\n"
    write_text(out / "table.md", text)
    write_text(out / "table.json", json.dumps(
        {"stages": {stage: {"status": stage_status(record), **(record or {"items": {}})} for stage, record in records.items()},
         "steps": [{"precision": precision, "batch": batch, "seconds": found}
                   for (precision, batch), found in comparison.items()]},
        indent=1, ensure_ascii=False) + "\n")
    return text
