"""What the numbers were measured on: machine, versions, and its two limits. No host names and no paths."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import rcproof

ROOT = Path(__file__).resolve().parents[2]


def describe(device: torch.device) -> dict[str, Any]:
    """Processor, system, versions and git revision."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else processor(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions(),
        "revision": revision(),
    }


def versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {"rcproof": rcproof.__version__, "torch": torch.__version__}
    for name in ("numpy", "equirc", "rcps_pytorch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def cores() -> int:
    """How many the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def revision() -> str:
    """The last commit that changed what is measured, with a ``+`` where files of it differ."""
    try:
        head = subprocess.run(
            ["git", "log", "-1", "--format=%H", "--", "rcproof", "benchmarks/speed"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "rcproof", "benchmarks/speed"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip()[:12] + ("+" if changed.stdout.strip() else "")


def settle() -> None:
    """Bring glibc's allocator to the state of a long run.

    Its threshold for mapping memory anew grows with the largest block that was freed, to 32 MiB; until then the same
    function can take twice its time, by what ran before it.
    """
    for _ in range(3):
        torch.ones((31 << 20) // 4)


def limits(device: torch.device, dtype: torch.dtype = torch.float32, seconds: float = 1.0) -> dict[str, float]:
    """Copy bandwidth (bytes read and written a second) and matrix-product rate (operations a second), as measured."""
    size = (256 << 20) if device.type == "cuda" else (64 << 20)
    a = torch.ones(size // 4, device=device)
    b = torch.empty_like(a)
    side = 4096 if device.type == "cuda" else 1024
    m = torch.randn(side, side, device=device).to(dtype)
    out = torch.empty_like(m)
    return {
        "copy_bytes_per_second": 2 * size / best(lambda: b.copy_(a), seconds, device),
        "matmul_flops_per_second": 2 * side**3 / best(lambda: torch.matmul(m, m, out=out), seconds, device),
    }


def best(run: Callable[[], Any], seconds: float, device: torch.device) -> float:
    """The shortest of many times: a limit is what the machine can do undisturbed."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        synchronize(device)
        start = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_bytes(run: Callable[[], Any], device: torch.device) -> int | None:
    """Memory that a call takes beyond what is held before it; None where that cannot be told."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated() - before)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        run()
        return _status("VmHWM") - before
    except (OSError, AttributeError, StopIteration):
        return None


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) << 10
