"""What was found, question by question, a line or a few each: the head of the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcproof.experiments import questions
from rcproof.experiments.gaps import COMPARED as GAPS_COMPARED
from rcproof.experiments.gaps import overfitting
from rcproof.experiments.results import Results

#: With fewer, no test tells strategies apart.
FEWEST_SEEDS = 3
#: What p is called significant at.
LEVEL = 0.05
Rows = list[dict[str, Any]]
QUESTIONS = (
    "Do the numbers reproduce the paper's?",
    "Is post-hoc conjoined never worse than conjoined during training, and than its own network on one strand?",
    "Who overfits?",
    "Does it matter which layers are coupled?",
    "Does the warm start beat post-hoc conjoined, and RCPS from scratch?",
    "What should a user do?",
)


def answered(results: Results) -> dict[str, Any]:
    """What the questions find in the results, as numbers."""
    return {
        "1_reproduction": questions.reproduction(results),
        "2_post_hoc": questions.guarantees(results),
        "3_overfitting": overfitting(results),
        "4_coupling_path": questions.coupling_path(results),
        "5_warm_start": questions.warm_start(results),
        "6_guide": questions.guide(results),
    }


def findings(answers: dict[str, Any], over: Rows) -> Rows:
    """The same in words, below each question. A p value is after Holm's correction unless said."""
    words = (
        _reproduction(answers["1_reproduction"]),
        _post_hoc(answers["2_post_hoc"], over),
        _overfitting(answers["3_overfitting"]),
        _coupling_path(answers["4_coupling_path"]),
        _warm_start(answers["5_warm_start"], over),
        _guide(answers["6_guide"]),
    )
    return [
        {"number": str(i), "question": question, "answers": list(lines)}
        for i, (question, lines) in enumerate(zip(QUESTIONS, words, strict=True), 1)
    ]


def summarise(results: Results, lacking: dict[str, Any], found: Rows) -> list[str]:
    """How many runs there are, and every finding with the number of its question."""
    extent = f"{len(results.runs)} runs"
    if lacking["runs"]:
        extent += f"; {lacking['missing']} of the programme's {lacking['runs']} are missing"
    return [f"{extent}.", *(f"{one['number']}. {line}" for one in found for line in one["answers"])]


def number(value: float | None, digits: int = 3) -> str:
    """A number for a page; a dash for none."""
    return "–" if value is None else f"{value:.{digits}g}"


def _reproduction(found: dict[str, Any]) -> Iterable[str]:
    if note := found.get("note"):
        yield str(note)
    for task, order in found["order"].items():
        own = [r for r in found["rows"] if (r["task"], r["metric"]) == (task, "auroc")]
        tested = [r for r in own if r["p_holm"] is not None]
        differ = [f"{r['strategy']} by {r['difference']:+.3g} (p {number(r['p_holm'])})"
                  for r in tested if r["p_holm"] < LEVEL]  # fmt: skip
        most = max(own, key=lambda r: abs(r["difference"]))
        yield f"{task}: " + (
            f"of {len(tested)} strategies, {len(differ)} can be told from the paper's mean AuROC"
            f"{': ' if differ else ''}{', '.join(differ)}."
            if tested
            else f"at most {most['difference']:+.3g} ({most['strategy']}) from the paper's mean, of too few seeds."
        )
        if order["rank_correlation"] is not None:
            yield (f"{task}: the order of the strategies correlates with the paper's by {order['rank_correlation']:g}.")


def _post_hoc(found: dict[str, Any], over: Rows) -> Iterable[str]:
    t9 = found["t9"]
    if t9["checks"]:
        yield (
            f"T9 held in {t9['hold']} of {t9['checks']} checks (every seed, split and post-hoc form); the loss of the "
            f"conjoined network was above that of its own network on one strand in {t9['test_loss_above_own_strand']}."
        )
    for pair in (("post-hoc", "conjoined"), ("post-hoc", "standard-aug")):
        yield from _verdicts(found["comparisons"], over, pair)


def _overfitting(found: dict[str, Any]) -> Iterable[str]:
    for a, b in GAPS_COMPARED:
        some = [c for c in found["comparisons"] if (c["a"], c["b"]) == (a, b) and c["n"] >= FEWEST_SEEDS]
        if some:
            shown = [f"{c['set']} {_shown(c)}" for c in some]
            above = sum(c["mean_difference"] > 0 for c in some)
            yield (
                f"The gap between test and training loss is larger for {a} than for {b} in {above} of {len(some)} "
                f"tasks; told from chance in {_significant(some)}: {'; '.join(shown)}."
            )
    for task, axis in dict.fromkeys((c["set"], c["axis"]) for c in found["trends"]):
        own = [c for c in found["trends"] if (c["set"], c["axis"]) == (task, axis)]
        for of, words in (("gap", "gap in the loss"), ("last gap", "gap in the loss at the last epoch"),
                          ("lead", "lead in the test metric")):  # fmt: skip
            shown = [f"{c['a']}{' over ' + c['b'] if c['b'] else ''} {_shown(c)}" for c in own if c["of"] == of]
            if shown:
                yield f"{task}: {words}, change per {own[0]['per']}: {'; '.join(shown)}."


def _shown(c: dict[str, Any]) -> str:
    return f"{c['mean_difference']:+.3g} ({c['a_higher']} of {c['n']}, p {number(c['p_holm'])})"


def _significant(comparisons: Rows) -> int:
    return sum(c["p_holm"] is not None and c["p_holm"] < LEVEL for c in comparisons)


def _coupling_path(found: dict[str, Any]) -> Iterable[str]:
    some = [c for c in found["comparisons"] if c["n"] >= FEWEST_SEEDS]
    if some:
        tested = [c for c in some if c["p_t"] is not None]
        least = min(tested, key=lambda c: c["p_t"], default=None)
        smallest = (
            f"; the smallest p is {number(least['p_t'])} uncorrected, {number(least['p_holm'])} corrected "
            f"({least['set']}, {least['a']}, {least['mean_difference']:+.3g} {least['metric']})"
            if least is not None else ""
        )  # fmt: skip
        yield (
            f"Of {len(some)} comparisons of coupled layers with none coupled (cj-rcps-all), at equal width and at "
            f"equal parameters, {_significant(some)} can be told from chance{smallest}."
        )


def _warm_start(found: dict[str, Any], over: Rows) -> Iterable[str]:
    for pair in (("warm-rcps", "post-hoc"), ("warm-rcps", "warm-conjoined"), ("warm-rcps", "rcps")):
        yield from _verdicts(found["comparisons"], over, pair)
    moved = [m for m in found["movement"] if (m["strategy"], m["weights"]) == ("warm-rcps", "last")]
    if moved:
        shortest, longest = (choose(moved, key=lambda m: m["cross"]) for choose in (min, max))
        ahead = sum(m["cross"] > m["own"] for m in moved)
        yield (
            f"After the last epoch the cross-strand weights of warm-rcps, which began at 0, have "
            f"{number(shortest['cross'])} ({shortest['task']} {shortest['layer']}) to {number(longest['cross'])} "
            f"({longest['task']} {longest['layer']}) of the norm of the layer's own weights at the start; they moved "
            f"farther than the layer's own in {ahead} of {len(moved)} layers."
        )


def _guide(found: dict[str, Any]) -> Iterable[str]:
    for task, row in found["tasks"].items():
        yield (
            f"{task}: best {row['best']}; not told from it: {', '.join(row['not_told_from_best']) or 'none'}."
            if row["seeds"] >= FEWEST_SEEDS
            else f"{task}: best {row['best']} of {row['seeds']} seed(s), too few to tell strategies apart."
        )


def _verdicts(comparisons: Rows, over: Rows, pair: tuple[str, str]) -> Iterable[str]:
    own = [c for c in comparisons if (c["a"], c["b"]) == pair and c["metric"] != "loss"]
    for c in own:
        if c["n"] >= FEWEST_SEEDS:
            yield (
                f"{c['set']}: {c['a']} − {c['b']} = {number(c['mean_difference'])} {c['metric']} over "
                f"{c['n']} seeds, higher in {c['a_higher']} (p = {number(c['p_t'])}, Holm {number(c['p_holm'])}; "
                f"signed ranks {number(c['p_wilcoxon'])})."
            )
    few = [f"{c['set']} {c['mean_difference']:+.3g}" for c in own if c["n"] < FEWEST_SEEDS]
    if few:
        yield (f"{pair[0]} − {pair[1]} of fewer than {FEWEST_SEEDS} seeds, too few to test: {', '.join(few)}.")
    for c in over:
        if (c["a"], c["b"]) == pair:
            yield (
                f"All {c['kind']} tasks: {c['a']} − {c['b']} = {number(c['mean_difference'])} "
                f"{c['metric']} over {c['tasks']} tasks, higher in {c['a_higher']} (signed ranks "
                f"{number(c['p_wilcoxon'])}, Holm {number(c['p_holm'])})."
            )
