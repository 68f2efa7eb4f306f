"""Tables from result files, in Markdown: what was measured, and each target with its figure beside it.

``python -m benchmarks.speed --report-only`` writes ``benchmarks/results/README.md`` and the figures anew. Documentation
takes single tables: :func:`tables` gives each by name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.speed import notes
from benchmarks.speed.contenders import COUPLED, DOUBLED, OURS, PLAIN, TWO
from benchmarks.speed.schema import problems
from benchmarks.speed.timing import ITSELF
from rcproof.files import replacing

Data = dict[str, Any]


def load(path: Path) -> Data:
    """A result file; ValueError if it is not one."""
    data: Data = json.loads(path.read_text(encoding="utf-8"))
    if wrong := problems(data):
        raise ValueError(f"{path.name}: {wrong[0]}")
    return data


def measured(data: Data, group: str, kind: str | None = None) -> list[Data]:
    """The cells of a group that were measured."""
    return [c for c in data["cells"] if c["group"] == group and kind in (None, c["kind"]) and "contenders" in c]


def noise(cell: Data) -> float:
    """How far the ratio of the reference to itself strays from 1: the larger of its offset and its quartiles'."""
    own = cell["contenders"][ITSELF]
    return float(max(abs(own[k] - 1) for k in ("ratio", "ratio_low", "ratio_high")))


def noise_floor(data: Data) -> float:
    """The median of :func:`noise` over all cells."""
    found = sorted(noise(c) for c in data["cells"] if "contenders" in c)
    return found[len(found) // 2] if found else math.nan


def to_limit(cell: Data) -> float | None:
    """Ours over the limit of the cell: the faster conjoined form, or the plain network of 2F channels."""
    times = cell["contenders"]
    if OURS in times and TWO in times:
        return float(times[OURS]["ratio"] / min(times[TWO]["ratio"], times[DOUBLED]["ratio"]))
    if COUPLED in times and PLAIN in times:
        return float(times[COUPLED]["ratio"] / times[PLAIN]["ratio"])
    return None


def memory_to_limit(cell: Data) -> float | None:
    """Peak memory of ours over that of the faster conjoined form, or of the plain network."""
    times = cell["contenders"]
    ours = times.get(OURS) or times.get(COUPLED)
    if ours is None:
        return None
    other = min((times[n] for n in (TWO, DOUBLED) if n in times), key=lambda t: t["ratio"], default=times.get(PLAIN))
    if not ours.get("peak_bytes") or other is None or not other.get("peak_bytes"):
        return None
    return float(ours["peak_bytes"] / other["peak_bytes"])


# -- tables ----------------------------------------------------------------------------------------


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines) + "\n"


def name_of(cell: Data) -> str:
    sizes = "".join(f", {k} {v}" for k, v in cell["sizes"].items() if cell["group"] != "peers")
    extra = "" if (cell["dtype"], cell["mode"]) == ("fp32", "eager") else f", {cell['dtype']} {cell['mode']}"
    return f"{cell['network']}, {cell['batch']} × {cell['length']}{sizes}{extra}"


def seconds(value: float) -> str:
    """A time to three figures."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} µs"


def size(value: float | None) -> str:
    """Bytes in MiB."""
    return "–" if value is None else f"{value / (1 << 20):.3g} MiB"


def group_table(data: Data, group: str, kind: str) -> str:
    """A row a cell, a column a contender: the ratio to the reference, with the quartiles; the reference's own time."""
    cells = measured(data, group, kind)
    names = list(dict.fromkeys(n for c in cells for n in c["contenders"]))
    head = ["batch × length", "reference", *(n for n in names if n != ITSELF), "noise ±", "to the limit"]
    rows = []
    for c in cells:
        times = c["contenders"]
        row = [name_of(c), seconds(times[c["reference"]]["median"])]
        for n in head[2:-2]:
            t = times.get(n)
            row.append("–" if t is None else f"{t['ratio']:.2f} ({t['ratio_low']:.2f}–{t['ratio_high']:.2f})")
        limit = to_limit(c)
        rows.append([*row, f"{noise(c):.2f}", "–" if limit is None else f"{limit:.2f}"])
    return markdown(head, rows)


def peers_table(data: Data, kind: str) -> str:
    """A row a contender, a column a cell: ratios to the plain network of 2F channels."""
    cells = measured(data, "peers", kind)
    names = [n for n in dict.fromkeys(n for c in cells for n in c["contenders"]) if n != ITSELF]
    rows = [
        [n, *("–" if n not in c["contenders"] else f"{c['contenders'][n]['ratio']:.2f}" for c in cells)] for n in names
    ]
    rows.append(["noise ±", *(f"{noise(c):.2f}" for c in cells)])
    return markdown(["", *(name_of(c) for c in cells)], rows)


def memory_table(data: Data) -> str:
    """Peak memory of a call beyond what is held before it."""
    head = ["", "kind", TWO, DOUBLED, OURS, "to the faster form"]
    rows = []
    for c in measured(data, "converted"):
        sizes = [size(c["contenders"][n].get("peak_bytes")) for n in (TWO, DOUBLED, OURS)]
        ratio = memory_to_limit(c)
        rows.append([name_of(c), c["kind"], *sizes, "–" if ratio is None else f"{ratio:.2f}"])
    return markdown(head, rows)


def cost_table(data: Data) -> str:
    """Predicted operations, bytes and floor of each strategy beside the measured time."""
    head = ["", "kind", "strategy", "Gflop", "MB, all", "MB, products", "floor", "measured", "of the floor"]
    rows = []
    for group in ("converted", "coupled"):
        for c in measured(data, group):
            for n, cost in c["cost"].items():
                floor, took = c["floor"][n]["floor"], c["contenders"][n]["median"]
                numbers = [
                    f"{cost['flops'] / 1e9:.3g}",
                    f"{cost['bytes'] / 1e6:.3g}",
                    f"{cost['product_bytes'] / 1e6:.3g}",
                ]
                rows.append(
                    [name_of(c), c["kind"], n, *numbers, seconds(floor), seconds(took), f"{100 * floor / took:.0f} %"]
                )
    return markdown(head, rows)


def slope(points: list[tuple[float, float]]) -> float:
    """The slope of a straight line through points in log-log, by least squares."""
    if len(points) < 2:
        return math.nan
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread if spread else math.nan


def lines_of(data: Data, kind: str) -> dict[str, list[tuple[float, Data]]]:
    """The scaling cells by axis: what grows, and the cell."""
    found: dict[str, list[tuple[float, Data]]] = {}
    for c in measured(data, "scaling", kind):
        value = c["sizes"].get(c["axis"], c.get(c["axis"], 0))
        found.setdefault(c["axis"], []).append((float(value), c))
    return {axis: sorted(points, key=lambda p: p[0]) for axis, points in found.items()}


def scaling_table(data: Data) -> str:
    """Slopes in log-log: 1 is a straight line through the origin; over all points, and over the last two."""
    head = ["grows", "kind", "from – to", "time", "time, at the end", "flop", "memory, at the end", "why"]
    rows = []
    for kind in ("forward", "step"):
        for axis, points in lines_of(data, kind).items():
            times = [(x, c["contenders"][OURS]["median"]) for x, c in points]
            flops = [(x, c["cost"][OURS]["flops"]) for x, c in points]
            memory = [(x, m) for x, c in points if (m := c["contenders"][OURS].get("peak_bytes"))]
            row = [axis, kind, f"{points[0][0]:g} – {points[-1][0]:g}"]
            row += [f"{slope(p):.2f}" for p in (times, times[-2:], flops[-2:], memory[-2:])]
            rows.append([*row, notes.SCALING.get(axis, "")])
    return markdown(head, rows)


# -- targets ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A target and what was measured: ``met`` is None where nothing was."""

    key: str
    says: str
    found: str
    met: bool | None


def worst(values: list[tuple[float, Data]], limit: float) -> tuple[str, bool | None]:
    """Largest and median value, and where it is above the limit."""
    if not values:
        return "not measured", None
    ordered = sorted(values, key=lambda v: v[0])
    above = [(v, c) for v, c in ordered if v > limit]
    middle, largest = ordered[len(ordered) // 2][0], ordered[-1][0]
    text = f"median {middle:.2f}, largest {largest:.2f}, {len(above)} of {len(ordered)} above"
    if above:
        text += ": " + "; ".join(f"{name_of(c)} {v:.2f} (noise ±{noise(c):.2f})" for v, c in above[::-1])
    return text, not above


def targets(data: Data) -> list[Target]:
    """Every target of the project that this file can answer."""
    found = []

    def add(key: str, says: str, values: list[tuple[float, Data]], limit: float) -> None:
        text, met = worst(values, limit)
        found.append(Target(key, says, text, met))

    for kind in ("forward", "step"):
        for group, limit, what in (
            ("converted", 1.03, "the faster conjoined form"),
            ("coupled", 1.02, "a plain network of 2F channels"),
        ):
            values = [(v, c) for c in measured(data, group, kind) if (v := to_limit(c)) is not None]
            add(f"{group}.{kind}", f"{group}, {kind}: at most {limit} × {what}", values, limit)
    values = [(v, c) for c in measured(data, "converted") if (v := memory_to_limit(c)) is not None]
    add("converted.memory", "converted: memory no higher than the faster conjoined form", values, 1.0)
    for kind in ("forward", "step"):
        for ours, others in notes.RIVALS.items():
            values = []
            for c in measured(data, "peers", kind):
                times = c["contenders"]
                rivals = [times[n]["ratio"] for n in others if n in times]
                if ours in times and rivals:
                    values.append((times[ours]["ratio"] / min(rivals) - noise(c), c))
            says = f"{ours}, {kind}: ahead of {', '.join(others)}, or within noise (ratio less noise at most 1)"
            add(f"peers.{ours}.{kind}", says, values, 1.0)
    found += _surroundings(data)
    if data["device"] != "cuda":
        found.append(Target("gpu", notes.GPU_TARGET, "not measured: no GPU was available", None))
    return found


def _surroundings(data: Data) -> list[Target]:
    found = []
    if "conversion" in data:
        c = data["conversion"]
        for what in ("unchecked", "checked"):
            time, memory = c[what]["seconds"] / c["load_seconds"], c[what]["peak_bytes"] / c["size_bytes"]
            text = f"{time:.2f} × the load time of {c['load_seconds']:.1f} s, {memory:.2f} × its size in memory"
            label = "without" if what == "unchecked" else "with"
            says = f"conversion of {c['parameters'] / 1e6:.0f} M parameters, {label} the numerical check: 2 ×, 2.2 ×"
            found.append(Target(f"conversion.{what}", says, text, time <= 2 and memory <= 2.2))
    if "start_up" in data:
        for name, t in data["start_up"].items():
            text = f"{t['median']:.2f} s, torch {'' if t['torch'] else 'not '}imported"
            limited = name == "import rcproof"
            says = f"`{name}`: {'under 1 s, ' if limited else ''}without torch"
            found.append(Target(f"start.{name}", says, text, not t["torch"] and (not limited or t["median"] < 1)))
    return found


def targets_table(data: Data) -> str:
    """Each target, its figure, and for a miss the reason and the next thing to try."""
    rows = []
    for t in targets(data):
        state = "not measured" if t.met is None else "met" if t.met else "missed"
        rows.append([t.says, t.found, state, "" if t.met else notes.MISSES.get(t.key, "")])
    return markdown(["target", "measured", "", "why, and what next"], rows)


# -- pages -----------------------------------------------------------------------------------------

TABLES: dict[str, Callable[[Data], str]] = {
    "targets": targets_table,
    "converted, forward": lambda d: group_table(d, "converted", "forward"),
    "converted, step": lambda d: group_table(d, "converted", "step"),
    "coupled, forward": lambda d: group_table(d, "coupled", "forward"),
    "coupled, step": lambda d: group_table(d, "coupled", "step"),
    "peers, forward": lambda d: peers_table(d, "forward"),
    "peers, step": lambda d: peers_table(d, "step"),
    "memory": memory_table,
    "scaling": scaling_table,
    "costs": cost_table,
}


def tables(data: Data) -> dict[str, str]:
    """Every table of a result file, by name, in Markdown."""
    return {name: make(data) for name, make in TABLES.items()}


def header(data: Data) -> str:
    """One paragraph: on what, when, and with what."""
    m, limits = data["machine"], data["limits"]
    others = [c["others"] for c in data["cells"] if c.get("others") is not None]
    busy = f", other programs kept {max(others):.2f} processors busy at most" if others else ""
    return (
        f"{m['device']}, {m['threads']} threads of {m['cores']} cores, {m['system']}, Python {m['python']}, torch "
        f"{m['versions']['torch']}, revision {m['revision']}, seed {data['seed']}, {data['started'][:10]}{busy}. Copy "
        f"{limits['copy_bytes_per_second'] / 1e9:.1f} GB/s, matrix product "
        f"{limits['matmul_flops_per_second'] / 1e9:.0f} Gflop/s. Noise floor: the same function against itself strays "
        f"±{noise_floor(data):.2f} (median over cells; each cell has its own).\n"
    )


def page(files: dict[str, Data]) -> str:
    """The page of a results folder."""
    parts = [notes.INTRODUCTION]
    for stem, data in files.items():
        state = "" if data["complete"] else " (unfinished)"
        parts.append(f"## {data['suite']} suite on {data['device']}{state}\n\n{header(data)}")
        for name, table in tables(data).items():
            if len(table.splitlines()) > 2:
                parts.append(f"### {name[:1].upper()}{name[1:]}\n\n{notes.CAPTIONS.get(name, '')}\n\n{table}")
        parts += [f"![{what}]({stem}-{what}-light.svg)\n" for what in ("ratios", "roofline", "scaling")]
    return "\n".join(parts)


def write_all(folder: Path) -> None:
    """The page and the figures of every result file in a folder."""
    from benchmarks.speed import figures

    files = {p.stem: load(p) for p in sorted(folder.glob("speed-*.json"))}
    for stem, data in files.items():
        figures.draw_all(data, folder, stem)
    with replacing(folder / "README.md") as new:
        Path(new).write_text(page(files), encoding="utf-8")
