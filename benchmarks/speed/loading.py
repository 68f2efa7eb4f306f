"""What surrounds the running: importing, answering ``--help``, converting a large network; each in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.speed.machine import ROOT
from benchmarks.speed.timing import quartiles

_IMPORT = """
import json, sys, time
t = time.perf_counter()
{code}
print(json.dumps({{"seconds": time.perf_counter() - t, "torch": "torch" in sys.modules}}))
"""

#: What is timed, by name: none of these may import torch.
_COMMAND = """
import contextlib, io
from rcproof.cli import main
with contextlib.redirect_stdout(io.StringIO()):
    main({words}, standalone_mode=False)
"""
STARTS = {
    "import rcproof": "import rcproof",
    "rcproof --help": _COMMAND.format(words=["--help"]),
    "rcproof prove T1": _COMMAND.format(words=["prove", "T1"]),
}

# A conjoined network of about ``millions`` million parameters: convolutions of width 1024. Load: the state dict of the
# network from a safetensors file into the network, as a user would; convert: without and with the numerical check.
_CONVERT = """
import json, resource, sys, tempfile, time
from pathlib import Path
import torch
from torch import nn
from safetensors.torch import load_file, save_file
import rcproof, rcproof.convert
torch.manual_seed({seed}); torch.set_num_threads(2)
width, depth = {width}, {depth}
def build():
    layers = [nn.Conv1d(4, width, 15), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv1d(width, width, 9, padding=4), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, 1))
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) << 10
def reset():
    Path("/proc/self/clear_refs").write_text("5")
# The first conversion of a process imports what converting needs.
small = rcproof.Conjoined(nn.Conv1d(4, 1, 3), outputs="length").eval()
rcproof.convert(small, rcproof.ConvertConfig(input_shapes=((4, 9),)))
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "weights.safetensors"
    save_file({{k: v.contiguous() for k, v in build().state_dict().items()}}, path)
    base = status("VmRSS")
    times = []
    for _ in range(2):
        net = None
        t = time.perf_counter()
        net = build()
        net.load_state_dict(load_file(path))
        times.append(time.perf_counter() - t)
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    conjoined = rcproof.Conjoined(net).eval()
    result = {{"parameters": sum(p.numel() for p in net.parameters()), "size_bytes": size, "load_seconds": min(times)}}
    for name, verify in (("unchecked", False), ("checked", True)):
        reset()
        before = status("VmRSS")
        t = time.perf_counter()
        conversion = rcproof.convert(conjoined, rcproof.ConvertConfig(input_shapes=((4, 64),), verify=verify))
        result[name] = {{"seconds": time.perf_counter() - t, "peak_bytes": status("VmHWM") - before + size}}
        del conversion
print(json.dumps(result))
"""


def start_up(seed: int = 0, repeats: int = 5) -> dict[str, Any]:
    """Seconds (quartiles of several new processes) and whether torch was imported, for each of :data:`STARTS`."""
    found = {}
    for name, code in STARTS.items():
        runs = [_python(_IMPORT.format(code=code)) for _ in range(repeats)]
        low, median, high = quartiles([r["seconds"] for r in runs])
        found[name] = {"low": low, "median": median, "high": high, "torch": any(r["torch"] for r in runs)}
    return found


def conversion(seed: int = 0, width: int = 1024, depth: int = 26) -> dict[str, Any]:
    """Seconds and peak memory of converting a network of 250 million parameters (9.4 a layer), beside loading it.

    ``peak_bytes`` counts the network itself: the source is held throughout.
    """
    return _python(_CONVERT.format(seed=seed, width=width, depth=depth))


def _python(code: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


#: What a run measures besides its cells, given its seed and suite. A ``quick`` run converts 19 million parameters.
EXTRAS: dict[str, Callable[[int, str], dict[str, Any]]] = {
    "start_up": lambda seed, suite: start_up(seed),
    "conversion": lambda seed, suite: conversion(seed, depth=26 if suite == "full" else 2),
}
