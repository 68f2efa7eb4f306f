"""How long ``rcproof check`` takes, beside reading and hashing the same file.

    python benchmarks/checking.py [--channels 1720] [--runs 7]

The network is a profile network (BPNet) of so many channels: 1720 are 53 million parameters. Times are of one process:
the first check, which also replays every lemma that the proof rests on, and later ones, which do not. ``command`` is
the whole command in a process of its own, imports included. Prints JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import rcproof
from rcproof.checking.check import check_file
from rcproof.models import ProfileNet
from rcproof.verify.report import environment


def write(path: Path, channels: int) -> int:
    """A converted network with random weights; how many parameters it has."""
    torch.manual_seed(0)
    net = ProfileNet(length=1346, filters=channels)
    conjoined = rcproof.Conjoined(net, ("reversal", "fixed", "length"), "reversal").eval()
    conversion = rcproof.convert(conjoined, rcproof.ConvertConfig(verify=False))
    rcproof.save(conversion, path)
    return conversion.certificate.parameters["total"]


def read_and_hash(path: Path) -> None:
    hashlib.sha256(path.read_bytes()).hexdigest()


def check(path: Path) -> None:
    verdict = check_file(path)
    assert verdict.passed, verdict.statement


def command(path: Path) -> None:
    subprocess.run([sys.executable, "-m", "rcproof", "check", str(path)], check=True, capture_output=True)


def seconds(run: Callable[[Path], None], path: Path) -> float:
    start = time.perf_counter()
    run(path)
    return time.perf_counter() - start


def measure(path: Path, runs: int) -> dict[str, Any]:
    """Interleaved, so that what else the machine does falls on both alike."""
    read_and_hash(path)
    found: dict[str, Any] = {"first check": seconds(check, path)}
    pairs = [(seconds(read_and_hash, path), seconds(check, path)) for _ in range(runs)]
    read, checked = ([p[i] for p in pairs] for i in (0, 1))
    found |= {
        "read and hash": statistics.median(read),
        "check": statistics.median(checked),
        "check over read and hash": statistics.median(c / r for r, c in pairs),
        "first check over read and hash": found["first check"] / statistics.median(read),
        "command": statistics.median(seconds(command, path) for _ in range(3)),
    }
    return {key: round(value, 3) for key, value in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--channels", type=int, default=1720)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        parameters = write(path, options.channels)
        data = {"parameters": parameters, "bytes": path.stat().st_size, **measure(path, options.runs)}
    print(json.dumps({**data, "environment": environment()}, indent=1))


if __name__ == "__main__":
    main()
