"""The figures of the report, from its numbers: one a question, each in light and dark, as SVG.

Every function takes what :mod:`~rcproof.experiments.questions` found and a :class:`Theme`, and returns a matplotlib
figure, or None where there is nothing to draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

from rcproof.errors import RcproofError
from rcproof.experiments.results import Results, task_of


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    name: str
    background: str
    ink: str
    grid: str
    colours: tuple[str, ...]


#: Colours that people with any colour vision tell apart (Okabe and Ito), lighter on dark.
THEMES = (
    Theme("light", "#ffffff", "#1a1a1a", "#dddddd",
          ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")),
    Theme("dark", "#131416", "#e6e6e6", "#3a3a3a",
          ("#56b4e9", "#ff8c42", "#2fc49b", "#e79bc8", "#f0c04a", "#9ad4ff", "#aaaaaa")),
)  # fmt: skip
#: The colour of a strategy, by its place among these.
COLOURED = ("post-hoc", "conjoined", "rcps", "standard-aug", "standard", "warm-rcps")


def figure(theme: Theme, rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """An empty figure and its axes, in the theme."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise RcproofError("a figure needs matplotlib", fix="pip install 'rcproof[experiments]'") from None
    made = Figure(figsize=size, facecolor=theme.background, layout="constrained")
    axes = []
    for i in range(rows * columns):
        one = made.add_subplot(rows, columns, i + 1, facecolor=theme.background)
        one.tick_params(colors=theme.ink, labelsize=8)
        for spine in one.spines.values():
            spine.set_color(theme.grid)
        one.grid(color=theme.grid, linewidth=0.5)
        one.set_axisbelow(True)
        axes.append(one)
    return made, axes


def say(axes: Any, theme: Theme, title: str, x: str, y: str) -> None:
    """Title and labels in the theme's ink."""
    axes.set_title(title, color=theme.ink, fontsize=10)
    axes.set_xlabel(x, color=theme.ink, fontsize=9)
    axes.set_ylabel(y, color=theme.ink, fontsize=9)


def legend(axes: Any, theme: Theme, **options: Any) -> None:
    """A legend in the theme."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7, facecolor=theme.background, edgecolor=theme.grid, labelcolor=theme.ink, **options)


def colour(theme: Theme, strategy: str) -> str:
    """The colour of a strategy; one for all that have none of their own."""
    return theme.colours[COLOURED.index(strategy)] if strategy in COLOURED else theme.colours[-1]


def reproduction(found: dict[str, Any], theme: Theme) -> Any:
    """1: ours against the paper's, mean and standard deviation, by task."""
    rows = [r for r in found["rows"] if r["metric"] == "auroc"]
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    if not tasks:
        return None
    made, axes = figure(theme, 1, len(tasks), (5.2 * len(tasks), 4.2))
    for one, task in zip(axes, tasks, strict=True):
        own = [r for r in rows if r["task"] == task]
        for i, row in enumerate(own):
            one.errorbar(row["mean"], i + 0.14, xerr=row["sd"] or 0, fmt="o", color=theme.colours[0], markersize=5,
                         label=f"here (n = {row['n']})" if i == 0 else None)  # fmt: skip
            one.errorbar(row["paper_mean"], i - 0.14, xerr=row["paper_sd"], fmt="s", color=theme.colours[1],
                         markersize=4, label="paper (n = 10)" if i == 0 else None)  # fmt: skip
        one.set_yticks(range(len(own)), [r["strategy"] for r in own])
        one.invert_yaxis()
        say(one, theme, task, "test AuROC, mean ± sd over seeds", "")
        legend(one, theme)
    return made


def guarantees(found: dict[str, Any], theme: Theme) -> Any:
    """2: the loss of the mean against the mean of the losses of both strands, a point a seed: below the line."""
    rows = [r for r in found["t9"]["rows"] if r["split"] == "test"]
    sets = list(dict.fromkeys(r["set"] for r in rows if "@" not in r["set"]))
    if not sets:
        return None
    columns = min(4, len(sets))
    lines = -(-len(sets) // columns)
    made, axes = figure(theme, lines, columns, (3.8 * columns, 3.6 * lines))
    for one, name in zip(axes, sets, strict=False):
        for k, strategy in enumerate(dict.fromkeys(r["strategy"] for r in rows)):
            own = [r for r in rows if r["set"] == name and r["strategy"] == strategy]
            one.plot([r["bound"] for r in own], [r["loss"] for r in own], "o", markersize=4,
                     color=theme.colours[k % len(theme.colours)], label=strategy)  # fmt: skip
        ends = [v for r in rows if r["set"] == name for v in (r["bound"], r["loss"])]
        one.plot([min(ends), max(ends)], [min(ends), max(ends)], "-", color=theme.ink, linewidth=0.8)
        say(one, theme, name, "mean loss of the two strands", "loss of the conjoined network")
    legend(axes[0], theme)
    for one in axes[len(sets) :]:
        one.set_visible(False)
    return made


def curves(results: Results, theme: Theme) -> Any:
    """3a: losses of the training set and of held-out data by epoch, the mean over seeds as long as any trains."""
    tasks = [t for t in results.tasks if any(results.seeds(t, s) for s in ("conjoined", "rcps", "standard-aug"))]
    if not tasks:
        return None
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    made, axes = figure(theme, lines, columns, (4.6 * columns, 3.6 * lines))
    for one, name in zip(axes, tasks, strict=False):
        for strategy in ("standard-aug", "conjoined", "rcps"):
            runs = [r["curves"] for r in results.seeds(name, strategy).values()]
            noisy = bool(runs) and "valid_other_loss" in runs[0]
            for curve, style in (("fit_loss", "-"), ("valid_other_loss" if noisy else "valid_loss", "--")):
                means = _by_epoch([r[curve] for r in runs])
                if means:
                    what = "train" if curve == "fit_loss" else "held out"
                    one.plot(range(1, len(means) + 1), means, style, linewidth=1.3, color=colour(theme, strategy),
                             label=f"{strategy}, {what}")  # fmt: skip
        say(one, theme, name, "epoch", "loss")
    legend(axes[0], theme)
    for one in axes[len(tasks) :]:
        one.set_visible(False)
    return made


def gaps(found: dict[str, Any], theme: Theme) -> Any:
    """3b: how much lower the training loss is than the held-out loss, against training-set size and label noise."""
    rows = [r for r in found["rows"] if r["metric"] == "loss"]
    panels = []
    for name in dict.fromkeys(task_of(r["set"]) for r in rows):
        own = [r for r in rows if task_of(r["set"]) == name]
        base = next((r for r in own if "@" not in r["set"]), None)
        if base is None:
            continue
        by_size = [r for r in own if r["noise"] == base["noise"]]
        by_noise = [r for r in own if r["fraction"] == 1.0]
        for x, some in (("fraction", by_size), ("noise", by_noise)):
            if len({r[x] for r in some}) > 1:
                panels.append((name, x, some))
    if not panels:
        return None
    made, axes = figure(theme, 2, len(panels), (4.4 * len(panels), 7.0))
    labels = {"fraction": "part of the training set", "noise": "probability of a wrong training label"}
    # Above at the weights kept; below at the last epoch, where noise is learnt by heart.
    what = ("gap", "test loss − training loss"), ("last_gap", "validation loss − training loss, last epoch")
    for one, ((key, gap), (name, x, some)) in zip(axes, product(what, panels), strict=True):
        for strategy in dict.fromkeys(r["strategy"] for r in some):
            own = sorted((r for r in some if r["strategy"] == strategy and r[key] is not None), key=lambda r: r[x])
            one.errorbar([r[x] for r in own], [r[key] for r in own], yerr=[r[f"{key}_sd"] or 0 for r in own],
                         fmt="o-", markersize=4, color=colour(theme, strategy), label=strategy)  # fmt: skip
        if x == "fraction":
            at = sorted({r[x] for r in some})
            one.set_xscale("log", base=2)
            one.set_xticks(at, [f"{v:g}" for v in at])
            one.minorticks_off()
        say(one, theme, name, labels[x], gap)
    legend(axes[0], theme)
    return made


def coupling_path(found: dict[str, Any], theme: Theme) -> Any:
    """4: the metric against the set of coupled layers, at equal width and at equal parameters."""
    rows = found["rows"]
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    if not tasks:
        return None
    columns = min(3, len(tasks))
    lines = -(-len(tasks) // columns)
    made, axes = figure(theme, lines, columns, (4.6 * columns, 3.8 * lines))
    for one, task in zip(axes, tasks, strict=False):
        own = [r for r in rows if r["task"] == task]
        names = list(dict.fromkeys(_set_name(r["coupled"]) for r in own))
        for k, at in enumerate(("equal", "equal parameters")):
            some = [r for r in own if r["at"] == at]
            one.errorbar([names.index(_set_name(r["coupled"])) + 0.06 * (2 * k - 1) for r in some],
                         [r["mean"] for r in some], yerr=[r["sd"] or 0 for r in some], fmt="os"[k] + "-",
                         markersize=5, color=theme.colours[k],
                         label="equal width" if k == 0 else at)  # fmt: skip
        one.set_xticks(range(len(names)), names, rotation=20, ha="right")
        say(one, theme, task, "coupled layers", f"test {own[0]['metric']}, mean ± sd")
    legend(axes[0], theme)
    for one in axes[len(tasks) :]:
        one.set_visible(False)
    return made


def warm_start(found: dict[str, Any], theme: Theme) -> Any:
    """5: differences over the same seeds with 95 % intervals; and how far the weights moved."""
    rows = [c for c in found["comparisons"] if c["metric"] != "loss" and c["interval95"]]
    if not rows:
        return None
    sets = list(dict.fromkeys(c["set"] for c in rows))
    made, axes = figure(theme, 1, len(sets) + 1, (4.6 * (len(sets) + 1), 4.0))
    for one, name in zip(axes, sets, strict=False):
        own = [c for c in rows if c["set"] == name]
        for i, c in enumerate(own):
            one.plot(list(c["by_seed"].values()), [i] * c["n"], ".", color=theme.colours[-1], markersize=4)
            low, high = c["interval95"]
            one.plot([low, high], [i, i], "-", color=theme.colours[0], linewidth=2)
            one.plot(c["mean_difference"], i, "o", color=theme.colours[0])
        one.axvline(0, color=theme.ink, linewidth=0.8)
        one.set_yticks(range(len(own)), [f"{c['a']} − {c['b']}" for c in own])
        one.invert_yaxis()
        say(one, theme, name, f"difference of test {own[0]['metric']}", "")
    moved, last = [m for m in found["movement"] if (m["strategy"], m["weights"]) == ("warm-rcps", "last")], axes[-1]
    for i, m in enumerate(moved):
        last.barh(
            i - 0.2, m["cross"], 0.38, color=theme.colours[0], label="cross-strand, |B| / |A₀|" if i == 0 else None
        )
        last.barh(i + 0.2, m["own"], 0.38, color=theme.colours[1], label="own, |A − A₀| / |A₀|" if i == 0 else None)
    last.set_yticks(range(len(moved)), [f"{m['task']} {m['layer']}" for m in moved])
    last.invert_yaxis()
    say(last, theme, "how far the weights moved in 20 epochs", "", "")
    legend(last, theme)
    return made


def overview(results: Results, theme: Theme) -> Any:
    """6: every strategy's difference from post-hoc conjoined in every task, mean and 95 % interval; right is better."""
    from rcproof.experiments.results import HIGHER_IS_BETTER, PRIMARY, compare

    panels = []
    for name in results.tasks:
        metric = PRIMARY[results.kind(name)]
        some = [c for s in results.strategies(name) if s != "post-hoc"
                and (c := compare(results, name, s, "post-hoc", metric)) is not None]  # fmt: skip
        if some:
            panels.append((name, metric, 1 if metric in HIGHER_IS_BETTER else -1, some))
    if not panels:
        return None
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    made, axes = figure(theme, lines, columns, (4.8 * columns, 4.8 * lines))
    for one, (name, metric, sign, some) in zip(axes, panels, strict=False):
        for i, c in enumerate(some):
            interval = c.interval
            if interval is not None:
                one.plot([sign * v for v in interval], [i, i], "-", color=colour(theme, c.a), linewidth=1.6)
            one.plot(sign * c.mean, i, "o", color=colour(theme, c.a), markersize=4)
        one.axvline(0, color=theme.ink, linewidth=0.8)
        one.set_yticks(range(len(some)), [c.a for c in some])
        one.invert_yaxis()
        what = f"{metric} above post-hoc" if sign > 0 else f"{metric} below post-hoc"
        say(one, theme, f"{name} (n = {len(some[0].differences)})", what, "")
    for one in axes[len(panels) :]:
        one.set_visible(False)
    return made


def _by_epoch(series: list[list[float | None]]) -> list[float]:
    """The mean at every epoch of the runs that reached it, as long as half of them did."""
    means = []
    for epoch in range(max(map(len, series), default=0)):
        values = [s[epoch] for s in series if epoch < len(s) and s[epoch] is not None]
        if 2 * len(values) < len(series):
            break
        means.append(sum(v for v in values if v is not None) / len(values))
    return means


def _set_name(layers: list[str]) -> str:
    if len(layers) > 3:
        return f"{layers[0]} … {layers[-1]}"
    return ", ".join(layers) or "none (conjoined)"
