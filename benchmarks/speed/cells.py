"""The suites: which networks, at which sizes, in which modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

GROUPS = ("converted", "coupled", "peers", "scaling")


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        group: ``converted`` (against both conjoined forms), ``coupled`` (against plain torch of 2F channels), ``peers``
            or ``scaling``.
        network: ``simulated``, ``binary``, ``profile`` (the paper's), or a trunk of :mod:`benchmarks.speed.peers`.
        kind: ``forward`` (eval, no gradients) or ``step`` (train mode, forward and backward).
        batch, length: of the input.
        sizes: further arguments of the network.
        dtype: ``fp32``, ``tf32`` or ``bf16``.
        mode: ``eager``, ``compile`` or ``graphs`` (CUDA graphs).
        axis: of a scaling cell: what grows along its line.
    """

    group: str
    network: str
    kind: str
    batch: int
    length: int
    sizes: tuple[tuple[str, int], ...] = ()
    dtype: str = "fp32"
    mode: str = "eager"
    axis: str = ""
    seconds: float = field(default=2.0, compare=False)

    @property
    def id(self) -> str:
        sizes = ",".join(f"{k}={v}" for k, v in self.sizes)
        parts = [self.group, self.axis, self.network, sizes, self.kind, f"N={self.batch}", f"L={self.length}"]
        return " ".join([*(p for p in parts if p), self.dtype, self.mode])

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id, "group": self.group, "network": self.network, "kind": self.kind, "batch": self.batch,
            "length": self.length, "sizes": dict(self.sizes), "dtype": self.dtype, "mode": self.mode,
            "axis": self.axis,
        }  # fmt: skip


KINDS = ("forward", "step")
LENGTHS = {"simulated": 200, "binary": 1000, "profile": 1346, "bpnet": 1346}


def suite(name: str, device: str) -> list[Cell]:
    """The cells of ``tiny``, ``quick`` or ``full`` on ``cpu`` or ``cuda``, shortest first within a group."""
    if name == "tiny":
        return list(_tiny(device))
    cells = list(_cuda(name) if device == "cuda" else _cpu(name))
    return list({c.id: c for c in cells}.values())


def _tiny(device: str) -> Iterator[Cell]:
    """Every group, kind and mode at sizes that take no time: for the tests, on any device."""
    small = (("filters", 4),)
    for kind in KINDS:
        yield Cell("converted", "simulated", kind, 2, 200, small, seconds=0.01)
        yield Cell("coupled", "profile", kind, 1, 400, (*small, ("dilated_layers", 2)), seconds=0.01)
        yield Cell("peers", "binary", kind, 1, 60, small, seconds=0.01)
        yield Cell("peers", "bpnet", kind, 1, 330, small, seconds=0.01)
    for length in (400, 800):
        yield Cell(
            "scaling", "profile", "forward", 1, length, (*small, ("dilated_layers", 2)), axis="length", seconds=0
        )
    yield Cell("converted", "simulated", "forward", 2, 200, small, "bf16", seconds=0.01)
    yield Cell("converted", "simulated", "forward", 2, 200, small, "tf32", seconds=0.01)
    if device == "cuda":
        yield Cell("converted", "simulated", "forward", 2, 200, small, mode="graphs", seconds=0.01)


def _cpu(name: str) -> Iterator[Cell]:
    quick = name == "quick"
    time = 1.0 if quick else 1.5
    batches = {
        "simulated": (64,) if quick else (1, 64, 1024),
        "binary": (1, 64) if quick else (1, 16, 64, 256),
        "profile": (1, 8) if quick else (1, 4, 16, 64),
    }
    coupled = {"binary": (16,) if quick else (1, 16, 128), "profile": (4,) if quick else (1, 4, 16)}
    peers = {"binary": (16,) if quick else (16, 64), "bpnet": (2,) if quick else (2, 8)}
    for kind in KINDS:
        for net, sizes in batches.items():
            for batch in sizes:
                if batch * LENGTHS[net] < 60_000 or net != "profile" or kind == "forward":
                    yield Cell("converted", net, kind, batch, LENGTHS[net], seconds=time)
        for net, sizes in coupled.items():
            for batch in sizes:
                yield Cell("coupled", net, kind, batch, LENGTHS[net], seconds=time)
        for net, sizes in peers.items():
            for batch in sizes:
                filters = (("filters", 16 if net == "binary" else 64),)
                yield Cell("peers", net, kind, batch, LENGTHS[net], filters, seconds=1.5 * time)
        for length in () if quick else (20_000, 100_000) if kind == "forward" else (20_000,):
            yield Cell("converted", "profile", kind, 1, length, seconds=time)
        if kind == "forward" or not quick:
            yield from _scaling(quick, kind, 0.5)


def _scaling(quick: bool, kind: str, time: float) -> Iterator[Cell]:
    """Lines on which one size grows and the others stay: the profile net, 16 filters a strand, unless said."""
    base = (("filters", 16), ("dilated_layers", 6))
    lengths = (2_000, 8_000, 32_000) if quick else (1_000, 8_000, 64_000, 250_000, 1_000_000)
    for length in lengths:
        if kind == "forward" or length <= 64_000:
            yield Cell("scaling", "profile", kind, 1, length, base, axis="length", seconds=time)
    for filters in (8, 16, 32) if quick else (8, 16, 32, 64, 128):
        sizes = (("filters", filters), ("dilated_layers", 6))
        yield Cell("scaling", "profile", kind, 4, 1_346, sizes, axis="filters", seconds=time)
    if kind == "step":
        return
    for depth in (2, 4, 6) if quick else (2, 4, 6, 8):
        sizes = (("filters", 16), ("dilated_layers", depth))
        yield Cell("scaling", "profile", kind, 4, 3_000, sizes, axis="dilated_layers", seconds=time)
    for batch in (1, 4, 16) if quick else (1, 4, 16, 64):
        yield Cell("scaling", "profile", kind, batch, 1_346, base, axis="batch", seconds=time)


def _cuda(name: str) -> Iterator[Cell]:
    """Batch 1 to 4096, lengths 200 to 100 000, three precisions, three modes; what does not fit is recorded as such."""
    quick = name == "quick"
    dtypes = ("fp32", "bf16") if quick else ("fp32", "tf32", "bf16")
    modes = ("eager", "graphs") if quick else ("eager", "compile", "graphs")
    batches = (1, 16, 256) if quick else (1, 4, 16, 64, 256, 1024, 4096)
    time = 0.5 if quick else 1.0
    nets = [("simulated", 200), ("binary", 1000), ("profile", 1346)]
    if not quick:
        nets += [("profile", 10_000), ("profile", 100_000)]
    for net, length in nets:
        for batch in batches:
            if batch * length > 6_000_000:
                continue
            for kind in KINDS:
                for dtype in dtypes:
                    for mode in modes:
                        if mode == "compile" and batch not in (1, 64, 1024):  # a minute each
                            continue
                        base = Cell("converted", net, kind, batch, length, (), dtype, mode, seconds=time)
                        yield base
                        if net != "simulated" and length < 10_000:
                            yield replace(base, group="coupled")
    for kind in KINDS:
        for net in ("binary", "bpnet"):
            for batch in (16,) if quick else (16, 256):
                sizes = (("filters", 16 if net == "binary" else 64),)
                yield Cell("peers", net, kind, batch, LENGTHS[net], sizes, seconds=2 * time)
    yield from _scaling(quick, "forward", time)
