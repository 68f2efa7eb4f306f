"""Train the paper's binary net, conjoined during training, on one of the open ChIP-seq sets, and save it.

    python examples/train_binary.py --data DATA --set irf1 --out examples/binary_irf1_conjoined.safetensors

Logits of both strands are averaged, then the sigmoid: the paper's conjoined binary network. Adam 1e-3, binary
cross-entropy, early stopping on the validation loss, the weights of the best validation AuROC. One seed decides
everything; on one thread of one machine two runs give the same weights.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import click
import torch
from data import SETS, auroc
from torch import Tensor, nn

import rcproof
from rcproof.models import build


def predict(model: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """Probabilities (N,), in eval mode."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part)[:, 0] for part in x.split(batch)])


def train(
    train_set: tuple[Tensor, Tensor],
    valid_set: tuple[Tensor, Tensor],
    seed: int,
    epochs: int,
    batch: int,
    patience: int,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """The trained network and one record an epoch."""
    (x, y), (x_valid, y_valid) = train_set, valid_set
    model = build("binary", "conjoined", seed=seed, final="sigmoid", length=x.shape[2])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, eps=1e-7)  # Keras' epsilon
    loss_of = nn.BCELoss()
    order = torch.Generator().manual_seed(seed)
    history: list[dict[str, float]] = []
    best_weights = copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        for rows in torch.randperm(len(x), generator=order).split(batch):
            optimizer.zero_grad()
            loss_of(model(x[rows])[:, 0], y[rows]).backward()
            optimizer.step()
        p = predict(model, x_valid)
        history.append({"epoch": epoch, "loss": loss_of(p, y_valid).item(), "auroc": auroc(y_valid, p)})
        click.echo("epoch {epoch:3.0f}  validation loss {loss:.4f}  AuROC {auroc:.4f}".format(**history[-1]))
        if history[-1]["auroc"] == max(h["auroc"] for h in history):
            best_weights = copy.deepcopy(model.state_dict())
        if epoch - min(history, key=lambda h: h["loss"])["epoch"] >= patience:
            break
    model.load_state_dict(best_weights)
    return model.eval(), history


@click.command()
@click.option("--data", envvar="RCPROOF_DATA", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--set", "name", type=click.Choice(sorted(SETS)), default="irf1", show_default=True)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=1535, show_default=True)
@click.option("--epochs", default=100, show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--patience", default=10, show_default=True)
def main(data: Path, name: str, out: Path, seed: int, epochs: int, batch: int, patience: int) -> None:
    """Train, test, save."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    chosen = SETS[name]
    model, history = train(chosen.read(data, "train"), chosen.read(data, "valid"), seed, epochs, batch, patience)
    x, y = chosen.read(data, "test")
    score = auroc(y, predict(model, x))
    click.echo(f"held-out AuROC {score:.4f} on {len(y)} sequences")
    best = max(history, key=lambda h: h["auroc"])
    metadata = {
        "data": chosen.title,
        "data_set": chosen.name,
        "origin": chosen.origin,
        "licence": chosen.licence,
        "data_sha256": json.dumps(chosen.sha256(data)),
        "seed": str(seed),
        "batch": str(batch),
        "epochs": str(len(history)),
        "best_epoch": str(int(best["epoch"])),
        "validation_auroc": f"{best['auroc']:.6f}",
        "held_out_auroc": f"{score:.6f}",
        "held_out_sequences": str(len(y)),
        "training_script": "examples/train_binary.py",
        "versions": f"rcproof {rcproof.__version__}, torch {torch.__version__}",
    }
    rcproof.save(model, out, metadata)
    click.echo(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
