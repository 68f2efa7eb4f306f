"""Interleaved timing: every round runs each contender once, in a new order, and ratios are taken within rounds.

A machine that slows down, or is shared, slows all contenders of a round alike. The noise floor is the ratio of a
function to itself, measured as if it were two contenders.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Run = Callable[[], Any]

#: The name under which the reference is timed a second time.
ITSELF = "itself"


class Clock:
    """Wall time; a stand-in is used in the tests."""

    def now(self) -> float:
        return time.perf_counter()

    def others(self) -> float | None:
        """Seconds of processor time that other processes have used so far, or None where that cannot be told."""
        try:
            fields = [int(v) for v in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        except (OSError, ValueError):
            return None
        busy = sum(fields[i] for i in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")
        return busy - sum(os.times()[:4])


def interleave(
    runs: Mapping[str, Run],
    reference: str,
    seconds: float,
    least: int = 5,
    most: int = 2000,
    warm: int = 2,
    seed: int = 0,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Time ``runs`` and, as ``itself``, the reference once more.

    Returns ``rounds``, ``others`` (processors that other processes kept busy meanwhile, or None) and ``times``: for
    each run its ``median``, ``low`` and ``high`` quartile in seconds, and ``ratio``, ``ratio_low``, ``ratio_high``: the
    median and quartiles of its time over the reference's of the same round.
    """
    clock, rng = clock or Clock(), random.Random(seed)
    entries = [*runs.items(), (ITSELF, runs[reference])]
    for _, run in entries:
        for _ in range(warm):
            run()
    taken: dict[str, list[float]] = {name: [] for name, _ in entries}
    begin, others = clock.now(), clock.others()
    while len(taken[reference]) < most and (len(taken[reference]) < least or clock.now() - begin < seconds):
        rng.shuffle(entries)
        for name, run in entries:
            start = clock.now()
            run()
            taken[name].append(clock.now() - start)
    wall, after = clock.now() - begin, clock.others()
    busy = None if others is None or after is None or not wall else max(0.0, (after - others) / wall)
    return {
        "rounds": len(taken[reference]),
        "others": None if busy is None else round(busy, 3),
        "times": {name: summary(taken[name], taken[reference]) for name in [*runs, ITSELF]},
    }


def summary(times: list[float], reference: list[float]) -> dict[str, float]:
    """Median and quartiles of times and of ratios within rounds."""
    ratios = [t / r for t, r in zip(times, reference, strict=True)]
    low, mid, high = quartiles(times)
    ratio_low, ratio, ratio_high = quartiles(ratios)
    return {"median": mid, "low": low, "high": high, "ratio": ratio, "ratio_low": ratio_low, "ratio_high": ratio_high}


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, mid, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, mid, high
