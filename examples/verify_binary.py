"""Convert a trained conjoined network and compare the two on held-out ChIP-seq; exit code 1 if they disagree.

    python examples/verify_binary.py --data DATA

Reads the checkpoint, converts it to RCPS weights (or reads them from ``--converted``), and prints held-out
AuROC of both and the largest difference of their predictions: in float64 and float32, and in both layouts.
``batched`` runs the two strands through the source's own operations, so it may agree to the last bit;
``stacked`` runs the tied weights of the paper's RCPS layers, which add in another order.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import torch
from data import SETS, auroc
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from train_binary import predict

import rcproof
from rcproof.checkpoints import read_header
from rcproof.network.network import Network
from rcproof.verify import tolerance_for

HERE = Path(__file__).parent
CHECKPOINT = HERE / "binary_irf1_conjoined.safetensors"


@dataclass(frozen=True)
class Agreement:
    """Two networks on one set of sequences, the RCPS one in one layout, both in one dtype."""

    dtype: torch.dtype
    layout: str
    auroc: tuple[float, float]
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance  # False for NaN


def compare(conjoined: nn.Module, rcps: Network, x: Tensor, y: Tensor, dtype: torch.dtype, layout: str) -> Agreement:
    """Predictions of both on one-hot DNA (N, 4, L) with labels (N,)."""
    rcps.set_layout(layout)
    a, b = (predict(model.to(dtype), x.to(dtype)) for model in (conjoined, rcps))
    difference, size = (a - b).abs().max().item(), a.abs().max().item()
    return Agreement(dtype, layout, (auroc(y, a), auroc(y, b)), difference, tolerance_for(dtype).relative * size)


@click.command()
@click.option("--data", envvar="RCPROOF_DATA", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--checkpoint", default=CHECKPOINT, type=click.Path(exists=True, path_type=Path))
@click.option("--converted", type=click.Path(exists=True, path_type=Path), help="RCPS weights, if not made here.")
def main(data: Path, checkpoint: Path, converted: Path | None) -> None:
    """Print the table; exit code 1 if the networks disagree."""
    torch.set_num_threads(1)
    conjoined = rcproof.load(checkpoint)
    rcps = rcproof.convert(conjoined).model if converted is None else rcproof.load(converted)
    stated = read_header(checkpoint).metadata
    chosen = SETS[stated["data_set"]]
    x, y = chosen.read(data, "test")
    # float64 first: float32 weights are exact in it, not the other way round.
    pairs = product((torch.float64, torch.float32), ("stacked", "batched"))
    results = [compare(conjoined, rcps, x, y, dtype, layout) for dtype, layout in pairs]
    table = Table(title=f"{chosen.title}: {len(y)} held-out sequences")
    for column in ("dtype", "layout", "AuROC conjoined", "AuROC RCPS", "largest difference", "allowed", "agree"):
        table.add_column(column, justify="right")
    for r in results:
        name = str(r.dtype).removeprefix("torch.")
        scores = [f"{v:.6f}" for v in r.auroc]
        table.add_row(name, r.layout, *scores, f"{r.difference:.2e}", f"{r.tolerance:.0e}", "yes" if r.agrees else "NO")
    Console(width=100).print(table)
    click.echo(f"held-out AuROC stated in the checkpoint: {stated['held_out_auroc']}")
    sys.exit(0 if all(r.agrees for r in results) else 1)


if __name__ == "__main__":
    main()
