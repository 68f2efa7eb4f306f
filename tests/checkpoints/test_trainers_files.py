"""What trainers leave behind: Lightning checkpoints, wrapped state dicts, and whole modules that were pickled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from rcproof.checkpoints import ReadOptions, read_model
from rcproof.errors import CheckpointError
from tests.cli.commands import NETS, assert_refused, net, run


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, which builds the networks."""
    (tmp_path / "usernets.py").write_text(NETS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "usernets", raising=False)
    return "usernets:Score"


def built(module: str) -> nn.Module:
    __import__(module.partition(":")[0])
    torch.manual_seed(0)
    score: nn.Module = sys.modules["usernets"].Score()
    return score.eval()


def agree(ours: nn.Module, theirs: nn.Module) -> bool:
    x = torch.randn(3, 4, 30)
    return torch.equal(ours(x), theirs.eval()(x))


@pytest.mark.filterwarnings("ignore")  # Lightning's advice, of many kinds
def test_lightning(module: str, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="writes the checkpoint that is read")
    score = built(module)

    class Task(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, rate: float = 0.01) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = score

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return self.model(batch[0]).square().mean()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(8, 4, 30)), batch_size=4)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    before = score.conv.weight.detach().clone()
    trainer.fit(Task(), loader)
    assert not torch.equal(before, score.conv.weight)
    path = tmp_path / "epoch.ckpt"
    trainer.save_checkpoint(path)
    assert agree(read_model(path, ReadOptions(model=module)).model, score)
    done = run("convert", path, "--model", module, "-o", tmp_path / "rcps.safetensors", "--shape", "4,30")
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize("prefix", ["", "model.", "net.", "module.", "_orig_mod.", "model._orig_mod."])
def test_prefixes_of_wrappers(prefix: str, module: str, tmp_path: Path) -> None:
    score = built(module)
    torch.save({f"{prefix}{k}": v for k, v in score.state_dict().items()}, tmp_path / "a.pt")
    assert agree(read_model(tmp_path / "a.pt", ReadOptions(model=module)).model, score)


def test_a_whole_module_is_unpickled_only_when_asked_to(module: str, tmp_path: Path) -> None:
    score = built(module)
    torch.save(score, tmp_path / "whole.torch")
    with pytest.raises(CheckpointError, match="holds more than tensors and was not loaded.*--allow-pickle loads it"):
        read_model(tmp_path / "whole.torch")
    assert agree(read_model(tmp_path / "whole.torch", ReadOptions(allow_pickle=True)).model, score)


def test_allow_pickle_says_what_it_means_before_it_is_done(module: str, tmp_path: Path) -> None:
    score, out = built(module), tmp_path / "rcps.safetensors"
    torch.save(score, tmp_path / "whole.torch")
    done = run("convert", tmp_path / "whole.torch", "--allow-pickle", "-o", out, "--shape", "4,30")
    assert done.exit_code == 0, done.stderr
    assert "runs whatever code it names, with your rights" in done.stderr
    missing = tmp_path / "gone.torch"
    torch.save(score, missing)
    data = missing.read_bytes().replace(b"usernets", b"goneaway")
    missing.write_bytes(data)
    assert_refused_with_warning(missing, out)


def assert_refused_with_warning(path: Path, out: Path) -> None:
    done = run("convert", path, "--allow-pickle", "-o", out)
    assert done.exit_code == 2
    assert "error: " in done.stderr


def test_a_state_dict_needs_code_or_a_preset(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "a.pt")
    assert_refused(
        ["convert", tmp_path / "a.pt", "-o", tmp_path / "b.safetensors"], "--model MODULE:CALLABLE", "--arch"
    )
    assert_refused(
        ["inspect", tmp_path / "a.pt", "--model", "a:b", "--arch", "explainn"], "--model and --arch", "expected one"
    )
