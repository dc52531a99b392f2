"""The tables of tools/compare, from what was measured.

A row: {"name", "unit": seconds or bytes, "found": {contender: {"median", "all", …} or {"failed": why}}}. A contender that takes
no part in a row is not in it."""
import statistics


def summary(results, key):
    """Of the rounds of one contender: what the last one says, and all figures called `key` with their median."""
    values = [result[key] for result in results]
    return {**results[-1], "median": statistics.median(values), "all": values}


def digits(value):
    """Three significant digits, of more the whole number."""
    rounded = float(f"{value:.3g}")
    if rounded >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if rounded >= 10 else 2}f}"


def scale(value, unit):
    """(factor, unit) that a figure is shown in."""
    if unit == "bytes":
        return 1e-6, "MB"
    return (1, "s") if value >= 1 else (1e3, "ms")


def shown(found, unit):
    """The median and, of several rounds, the least and the greatest figure."""
    factor, name = scale(found["median"], unit)
    text = f"{digits(found['median'] * factor)} {name}"
    if len(found["all"]) > 1:
        text += f" ({digits(min(found['all']) * factor)} … {digits(max(found['all']) * factor)})"
    return text


def times(ratio):
    return f"{ratio:,.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"


def cell(found, own, unit):
    """What one contender took, and how many times that is what the program took."""
    if found is None:
        return "–"
    if "failed" in found:
        return "failed"
    if found is own:
        return shown(found, unit)
    return f"{shown(found, unit)} **{times(found['median'] / own['median'])}**"


def lines(heads, rows):
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *("| " + " | ".join(row) + " |" for row in rows)]


def table(head, rows, titles):
    """titles: contender → its head, without the program's own."""
    return lines([head, "tvmap", *titles.values()],
                 [[row["name"], *(cell(row["found"].get(name), row["found"]["tvmap"], row["unit"]) for name in ("tvmap", *titles))]
                  for row in rows])


def denoising_table(found, titles):
    """Of the solvers alone, each with its best weight. The first is the one that the others are compared with."""
    own, rows = found[next(iter(titles))], []
    for name, title in titles.items():
        result = found[name]
        if "failed" in result:
            rows.append([title, "failed", "", "", ""])
            continue
        stop = f", tolerance {result['tolerance']:g}, at most {result['limit']}" if "tolerance" in result else ""
        rows.append([title, cell(result, own, "seconds"), f"{result['iterations']}{stop}", f"{result['weight']:.2f}",
                     f"{result['psnr']:.2f} dB"])
    return lines(["TV denoising alone, one scalar", "time", "iterations", "weight", "PSNR"], rows)


def memory_formats(found, titles):
    """Which order of channels and pixels each PyTorch ran the network in, and what the other one took."""
    parts = []
    for name, result in found.items():
        if "memory_format" not in result:
            continue
        chosen, seconds = result["memory_format"], result["seconds_by_format"]
        others = [f"{other} takes {seconds[other] / seconds[chosen]:.2f} times as long" for other in seconds if other != chosen]
        parts.append(f"{titles[name]}: {chosen} ({', '.join(others)})")
    return "; ".join(parts)


def failures(rows, titles):
    """A sentence for every contender that failed in a row."""
    return [f"{titles.get(name, name)} failed in “{row['name']}”: {found['failed']}" for row in rows
            for name, found in row["found"].items() if "failed" in found]


def page(tables, notes):
    """All of it as Markdown."""
    return "\n\n".join("\n".join(part) for part in tables if part) + "\n\n" + "\n".join(f"- {note}" for note in notes) + "\n"
