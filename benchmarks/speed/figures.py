"""Figures of a result file, light and dark: ratios to the limit, roofline, scaling (matplotlib, extra ``plots``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed import report
from benchmarks.speed.contenders import COUPLED, DOUBLED, OURS, PLAIN, TWO
from rcproof.files import replacing

Data = dict[str, Any]

THEMES = {"light": ("#1b1b1b", "#ffffff", "#d0d0d0"), "dark": ("#e6e6e6", "#131416", "#3c3f44")}
COLOURS = ("#3b7dd8", "#e0802b", "#3aa76d", "#c8509b", "#8f7ee6", "#b8a13a", "#56b4c9")


def draw_all(data: Data, folder: Path, stem: str) -> list[Path]:
    """``<stem>-ratios-light.svg`` and so on; the paths written."""
    written = []
    for theme in THEMES:
        for what, draw in (("ratios", ratios), ("roofline", roofline), ("scaling", scaling)):
            figure = draw(data, theme)
            path = folder / f"{stem}-{what}-{theme}.svg"
            with replacing(path) as new:
                figure.savefig(new, format="svg", metadata={"Date": None, "Creator": "benchmarks.speed"})
            written.append(path)
    return written


def _figure(theme: str, columns: int, height: float = 3.4) -> tuple[Any, list[Any]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ink, paper, grid = THEMES[theme]
    mpl.rcParams["svg.hashsalt"] = "benchmarks.speed"
    figure = Figure(figsize=(4.4 * columns, height), layout="constrained", facecolor=paper)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.set_facecolor(paper)
        ax.grid(visible=True, which="major", color=grid, linewidth=0.6)
        ax.tick_params(colors=ink, which="both", labelsize=8)
        for spine in ax.spines.values():
            spine.set_color(grid)
        for label in (ax.xaxis.label, ax.yaxis.label, ax.title):
            label.set_color(ink)
    return figure, axes


def _legend(ax: Any, theme: str) -> None:
    if ax.get_legend_handles_labels()[0]:
        ink, paper, grid = THEMES[theme]
        ax.legend(fontsize=7, labelcolor=ink, facecolor=paper, edgecolor=grid)


def ratios(data: Data, theme: str = "light") -> Any:
    """Time over the limit's against batch (published lengths) and against length (batch 1)."""
    figure, axes = _figure(theme, 2)
    for ax, grows, title in zip(axes, ("batch", "length"), ("against batch", "against length, batch 1"), strict=True):
        lines: dict[str, list[tuple[float, float, float, float]]] = {}
        for c in data["cells"]:
            plain = (c["dtype"], c["mode"]) == ("fp32", "eager") and "contenders" in c
            limit = report.to_limit(c) if plain and c["group"] in ("converted", "coupled") else None
            if limit is None or (grows == "length" and c["batch"] != 1) or (grows == "batch" and c["length"] > 4000):
                continue
            t = c["contenders"].get(OURS) or c["contenders"][COUPLED]
            spread = (limit * t["ratio_low"] / t["ratio"], limit * t["ratio_high"] / t["ratio"])
            key = f"{c['network']}, {c['group']}, {c['kind']}" if grows == "batch" else f"{c['group']}, {c['kind']}"
            lines.setdefault(key, []).append((c[grows], limit, *spread))
        for (name, points), colour in zip(sorted(lines.items()), COLOURS * 3, strict=False):
            points.sort()
            xs, ys = [p[0] for p in points], [p[1] for p in points]
            errors = [[max(0.0, p[1] - p[2]) for p in points], [max(0.0, p[3] - p[1]) for p in points]]
            style = "--" if "step" in name else "-"
            ax.errorbar(
                xs, ys, yerr=errors, color=colour, marker="o", markersize=3, linewidth=1.2, linestyle=style, label=name
            )
        ax.axhline(1.0, color=THEMES[theme][0], linewidth=0.8)
        ax.set_xscale("log")
        ax.set_xlabel(grows)
        ax.set_ylabel("time / limit")
        ax.set_title(title, fontsize=9)
        _legend(ax, theme)
    return figure


def roofline(data: Data, theme: str = "light") -> Any:
    """Operations a second against operations a byte of products, under the machine's two limits."""
    figure, (ax,) = _figure(theme, 1, 4.2)
    bandwidth, rate = data["limits"]["copy_bytes_per_second"], data["limits"]["matmul_flops_per_second"]
    shown = {OURS: COLOURS[0], COUPLED: COLOURS[2], TWO: COLOURS[1], DOUBLED: COLOURS[5], PLAIN: COLOURS[3]}
    seen: list[float] = []
    for name, colour in shown.items():
        xs, ys = [], []
        for c in data["cells"]:
            if name in c.get("cost", {}) and c["cost"][name]["product_bytes"]:
                cost = c["cost"][name]
                xs.append(cost["flops"] / cost["product_bytes"])
                ys.append(cost["flops"] / c["contenders"][name]["median"])
        seen += xs
        ax.scatter(xs, ys, s=9, color=colour, label=name, alpha=0.8, linewidths=0)
    low, high = (min(seen) / 2, max(seen) * 2) if seen else (0.1, 100.0)
    xs = [low * (high / low) ** (i / 60) for i in range(61)]
    ax.plot(xs, [min(rate, bandwidth * x) for x in xs], color=THEMES[theme][0], linewidth=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("operations per byte of products")
    ax.set_ylabel("operations per second")
    ax.set_title("roofline: measured copy bandwidth and matrix-product rate", fontsize=9)
    _legend(ax, theme)
    return figure


def scaling(data: Data, theme: str = "light") -> Any:
    """Time of one call against length, filters, depth and batch, with lines of slope 1 (2 for filters) beside."""
    kinds = {k: report.lines_of(data, k) for k in ("forward", "step")}
    axes_names = list(dict.fromkeys(a for lines in kinds.values() for a in lines)) or ["length"]
    figure, axes = _figure(theme, len(axes_names))
    for ax, axis in zip(axes, axes_names, strict=True):
        for kind, style in (("forward", "-"), ("step", "--")):
            points = kinds[kind].get(axis, [])
            for name, colour in ((OURS, COLOURS[0]), (TWO, COLOURS[1]), (DOUBLED, COLOURS[5])):
                xs = [x for x, c in points if name in c["contenders"]]
                ys = [c["contenders"][name]["median"] for _, c in points if name in c["contenders"]]
                if xs:
                    label = f"{name}, {kind}"
                    ax.plot(xs, ys, style, color=colour, marker="o", markersize=3, linewidth=1.2, label=label)
            if points and kind == "forward":
                x0, y0 = points[-1][0], points[-1][1]["contenders"][OURS]["median"]
                power = 2 if axis == "filters" else 1
                xs = [x for x, _ in points]
                ax.plot(xs, [y0 * (x / x0) ** power for x in xs], ":", color=THEMES[theme][0], linewidth=0.9)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlabel(axis.replace("_", " "))
        ax.set_ylabel("seconds")
        _legend(ax, theme)
    return figure
