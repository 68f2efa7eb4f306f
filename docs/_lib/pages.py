"""What the cells of several pages share: the example network, DNA, and a replay of proofs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

import torch
from IPython import get_ipython
from torch import Tensor, nn

import rcproof
from rcproof.symbolic.statements import Outcome
from rcproof.symbolic.theorems import prove

ROOT = Path(__file__).resolve().parents[2]
IRF1 = ROOT / "examples" / "binary_irf1_conjoined.safetensors"


def irf1(dtype: torch.dtype = torch.float64) -> nn.Module:
    """The conjoined network of ``examples/``, trained on IRF1 ChIP-seq; sequences of 400 positions."""
    torch.set_grad_enabled(False)  # pages that differentiate turn it on again
    return rcproof.load(IRF1).to(dtype)


def dna(count: int, length: int = 400, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Random one-hot sequences (count, 4, length)."""
    codes = torch.randint(0, 4, (count, length), generator=torch.Generator().manual_seed(seed))
    return nn.functional.one_hot(codes, 4).mT.to(dtype)


def scratch() -> None:
    """Go to an empty folder that has the repository's ``examples/``, for commands as one would type them there."""
    folder = Path(tempfile.mkdtemp())
    (folder / "examples").symlink_to(ROOT / "examples")
    os.chdir(folder)


def shell(line: str, commands: str) -> None:
    """``%%shell``: run commands as one would in a terminal, and print what they print. With ``any`` they may fail."""
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")}
    done = subprocess.run(
        ["bash", *([] if line == "any" else ["-e"]), "-c", commands],
        env={**plain, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "92"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        check=False,
    )
    print("\n".join(row.rstrip() for row in done.stdout.rstrip().splitlines()))
    if done.returncode and line != "any":
        raise RuntimeError(f"exit code {done.returncode}")


if get_ipython() is not None:
    get_ipython().register_magic_function(shell, "cell", "shell")


def replay(label: str) -> list[Outcome]:
    """Have the checker replay every statement of a theorem, and say what it found."""
    outcomes = list(prove([label]))
    kinds = Counter(o.kind.partition(":")[0] for o in outcomes)
    held = sum(o.status == "holds" for o in outcomes)
    steps = sum(o.steps for o in outcomes if o.kind == "all sizes")
    print(f"{label}: {held} of {len(outcomes)} statements hold ({', '.join(f'{n} {k}' for k, n in kinds.items())})")
    if steps:
        print(f"steps of proof that the checker verified: {steps}")
    return outcomes
