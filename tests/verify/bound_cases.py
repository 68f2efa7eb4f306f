"""Random pairs of networks in random precisions, and whether their difference ever exceeds its bounds.

    python -m tests.verify.bound_cases --count 10000 --log cases.jsonl

A case is one network, conjoined and converted, one input and one precision. Prints the figures as JSON. What was found
is appended to the log after every network; started again with the same log, it goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig
from rcproof.convert.api import convert
from rcproof.network.network import Network
from rcproof.verify import draw_inputs
from rcproof.verify.bounds import BoundsFound, bound_network, check_bounds, smallest_boxes
from rcproof.verify.exact import evaluate_exact
from rcproof.verify.exact_numbers import Numbers
from rcproof.verify.inputs import KINDS
from rcproof.verify.intercept import NotCovered
from rcproof.verify.precision import PRECISIONS

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Softplus, nn.Hardtanh, nn.PReLU, nn.SELU)
FINALS = (None, "sigmoid", "tanh", "softplus", "softmax", "log_softmax")


class Draw:
    """Random choices from a seed."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def whole(self, low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def real(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def one(self, items):  # type: ignore[no-untyped-def]
        return items[self.whole(0, len(items) - 1)]


class Residual(nn.Module):
    """x + f(x), for a convolution that keeps the length; or the crop of x and a valid convolution."""

    def __init__(self, channels: int, dilation: int, crop: bool) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, 3, padding=0 if crop else dilation, dilation=dilation)
        self.cut = dilation if crop else 0

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).relu()
        return y + (x[:, :, self.cut : -self.cut] if self.cut else x)


def random_branch(seed: int) -> tuple[nn.Module, tuple[int, int], bool]:
    """A network of one strand, its input shape, and whether it ends in a profile (of reversed channels)."""
    draw = Draw(seed)
    length, channels, pooled = draw.whole(56, 80), 4, False
    steps: list[nn.Module] = []
    for _ in range(draw.whole(1, 3)):
        width, kernel = draw.whole(1, 12), draw.whole(1, 7)
        padding, bias = draw.whole(0, 1) * (kernel // 2), draw.whole(0, 3) > 0
        steps.append(nn.Conv1d(channels, width, kernel, padding=padding, bias=bias))
        channels = width
        if draw.whole(0, 1):
            steps.append(nn.BatchNorm1d(channels))
        steps.append(draw.one(ACTIVATIONS)())
        extra = draw.whole(0, 5)
        if extra == 0 and not pooled:
            pooled = True
            steps.append(nn.MaxPool1d(2))
        elif extra == 1:
            steps.append(nn.AvgPool1d(3, 1))
        elif extra == 2:
            steps.append(Residual(channels, draw.whole(1, 2), bool(draw.whole(0, 1))))
    profile = draw.whole(0, 3) == 0
    if profile:
        steps.append(nn.Conv1d(channels, 2, 3))
    else:
        steps += [draw.one((nn.AdaptiveMaxPool1d, nn.AdaptiveAvgPool1d))(draw.whole(1, 3)), nn.Flatten()]
    net = nn.Sequential(*steps).eval()
    with torch.no_grad():
        if not profile:
            features = net(torch.zeros(1, 4, length)).shape[1]
            net.append(nn.Linear(features, draw.whole(1, 3)))
        scale = 10 ** draw.real(-2, 1)
        for p in net.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=draw.generator))
        for m in net.modules():
            if isinstance(m, nn.BatchNorm1d):
                m.running_mean.normal_(0, scale, generator=draw.generator)
                m.running_var.uniform_(0.01, 4, generator=draw.generator)
            elif isinstance(m, nn.PReLU):
                m.weight.uniform_(0, 2, generator=draw.generator)
    return net.eval(), (4, length), profile


def random_pair(seed: int) -> tuple[Conjoined, Network, tuple[int, int]]:
    """A conjoined network and its RCPS form."""
    net, shape, profile = random_branch(seed)
    draw = Draw(seed + 1_000_000)
    merge = draw.one(("mean", "sum", "max"))
    final = None if profile else draw.one(FINALS)
    source = Conjoined(net, outputs="reversal" if profile else None, merge=merge, final=final).eval()
    return source, convert(source, ConvertConfig(input_shapes=(shape,), verify=False)).model, shape


#: Inputs that run together; and how b runs, in turn: where it runs as a does, nothing differs.
BATCH = 8
LAYOUTS = ("stacked", "auto", "stacked", "batched")


def random_cases(first: int, networks: int, precisions: tuple[str, ...] = tuple(PRECISIONS)) -> Iterator[BoundsFound]:
    """For each network and precision, bounds of all four kinds on eight inputs of one kind."""
    for seed in range(first, first + networks):
        source, result, shape = random_pair(seed)
        for index, name in enumerate(precisions):
            kind = KINDS[(seed + index) % len(KINDS)]
            cases = list(draw_inputs([shape], ["reversal"], kinds=(kind,), batch=BATCH, seed=seed))
            layout = LAYOUTS[(seed + index) % 4]
            source.passes = 2 if layout == "batched" else 1  # half as many rows at a time than b has
            yield check_bounds(source, result, cases, prec=name, layout=layout, pulled=4, seed=seed)


def against_exact(seed: int, name: str) -> tuple[float, str]:
    """The largest share of its bound by which either network alone is from its exact function, and of which kind.

    The exact function is evaluated in exact arithmetic where it is covered, else in float64 for shorter precisions.
    """
    source, result, shape = random_pair(seed)
    prec, worst, where = PRECISIONS[name], 0.0, ""
    (case,) = draw_inputs([shape], ["reversal"], kinds=(KINDS[seed % len(KINDS)],), batch=1, seed=seed)
    x = case.tensors[0].to(prec.dtype)
    for model in (source, result.set_layout("stacked")):
        rounded = copy.deepcopy(model).to(prec.dtype)
        run = bound_network(rounded, [x.double()], prec, "run")
        (output,) = run.outputs.values()
        computed = output.computed.double()
        try:
            (found,) = evaluate_exact(rounded, [x.double()]).values()
            if found.symbols or found.head:
                raise NotCovered("no numbers")
            error = torch.from_numpy(abs((found.numbers - Numbers.of(computed.numpy())).floats())) * (1 - 1e-12)
        except NotCovered:
            if prec.dtype == torch.float64:
                continue
            with torch.no_grad():
                exact = copy.deepcopy(rounded).double()(x.double())
            error = (computed - exact).abs() - 1e-11 * exact.abs().max()
        bounds = {"run": output.error}
        bounds["input"] = next(iter(bound_network(rounded, [x.double()], prec, "input").outputs.values())).error
        bounds["box"] = next(
            iter(bound_network(rounded, smallest_boxes([case]), prec, "box", shapes=[shape]).outputs.values())
        ).error
        for kind, bound in bounds.items():
            share = float(torch.where(error > 0, error / bound, 0.0).max())
            if not share <= worst:
                worst, where = share, f"{kind} of {type(model).__name__}"
    return worst, where


def row(found: BoundsFound) -> dict[str, Any]:
    """What one network in one precision showed, in plain values."""
    kinds: dict[str, dict[str, Any]] = {}
    for s in found.samples:
        kind = kinds.setdefault(s.kind, {"share": 0.0, "times": []})
        if math.isfinite(s.tightness):
            kind["times"].append(s.tightness)
    excess = 0.0
    for c in found.report.checks:
        if "within the model" in c.name:
            excess = max(excess, c.error)
        elif (kind := c.name.rpartition(", ")[2]) in kinds:
            kinds[kind]["share"] = max(kinds[kind]["share"], c.error)
    names = {s.case for s in found.samples}
    differing = {s.case for s in found.samples if max(s.observed) > 0}
    return {
        "seed": found.report.seed,
        "precision": found.precision,
        "cases": BATCH * len(names),
        "runs": len(names),
        "differ": len(differing),
        "paired": found.report.facts.get("paired steps", ""),
        "exceeded": [str(c) for c in found.report.failures],
        "excess": excess,
        "kinds": kinds,
    }


def figures(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """How many cases were run, how many exceeded a bound, and by how much bounds are larger, by precision and kind.

    ``largest share``: of a bound that any difference took. ``differ``: batches of eight with any difference at all.
    """
    rows = list(rows)
    shown: dict[str, Any] = {}
    for name in dict.fromkeys(r["precision"] for r in rows):
        mine = [r for r in rows if r["precision"] == name]
        kinds: dict[str, Any] = {}
        for kind in dict.fromkeys(k for r in mine for k in r["kinds"]):
            times = sorted(t for r in mine for t in r["kinds"][kind]["times"])
            kinds[kind] = {
                "largest share": max(r["kinds"][kind]["share"] for r in mine),
                "least": times[0] if times else None,
                "median": times[len(times) // 2] if times else None,
            }
        shown[name] = {
            "cases": sum(r["cases"] for r in mine),
            "batches": sum(r["runs"] for r in mine),
            "differ": sum(r["differ"] for r in mine),
            "rounding over model": max(r["excess"] for r in mine),
            "bounds": kinds,
        }
    exceeded = [f"seed {r['seed']} {r['precision']}: {e}" for r in rows for e in r["exceeded"]]
    networks = len({r["seed"] for r in rows})
    return {"cases": sum(r["cases"] for r in rows), "networks": networks, "exceeded": exceeded, "precisions": shown}


def logged(log: Path | None) -> list[dict[str, Any]]:
    """The rows of whole networks in a log; a line or network that was cut short is dropped from the file."""
    if log is None or not log.exists():
        return []
    rows = []
    for line in log.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    found = [r for r in rows if sum(other["seed"] == r["seed"] for other in rows) == len(PRECISIONS)]
    part = log.with_name(f"{log.name}.part")
    part.write_text("".join(json.dumps(r) + "\n" for r in found))
    part.replace(log)
    return found


def gathered(count: int, first: int, log: Path | None) -> list[dict[str, Any]]:
    """The rows of as many networks as make ``count`` cases, those in the log first."""
    rows = [r for r in logged(log) if r["seed"] >= first]
    seed = max((r["seed"] + 1 for r in rows), default=first)
    cases = sum(r["cases"] for r in rows)
    while cases < count:
        new = [row(found) for found in random_cases(seed, 1)]
        if log is not None:
            with log.open("a") as file:
                file.write("".join(json.dumps(r) + "\n" for r in new))
        rows, seed, cases = rows + new, seed + 1, cases + sum(r["cases"] for r in new)
        print(f"{cases} cases, {sum(len(r['exceeded']) for r in rows)} exceeded", file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(figures(gathered(options.count, options.first, options.log)), indent=1))


if __name__ == "__main__":
    main()
