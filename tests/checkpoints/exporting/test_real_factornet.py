"""FactorNet as it was published, with tracks, an LSTM each way and metadata: written, run elsewhere, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rcproof.checkpoints import ReadOptions, read_model
from rcproof.checkpoints.exporting import export
from rcproof.checkpoints.siamese import as_conjoined
from tests.checkpoints.exporting.nets import without_rcproof
from tests.checkpoints.exporting.test_program import RUN
from tests.checkpoints.test_real_files import difference, factornet, factornet_inputs, first

NAME = "factornet_GABPA_meta"


def in_torch(path: Path, inputs: list[Tensor]) -> Tensor:
    """In a process with torch and without this package."""
    torch.save([[str(path), [inputs]]], path.parent / "inputs")
    without_rcproof(RUN, path.parent / "inputs", path.parent / "answers")
    ((answer,),) = torch.load(path.parent / "answers", weights_only=True)[0]
    assert isinstance(answer, Tensor)
    return answer


def in_onnxruntime(path: Path, inputs: list[Tensor]) -> Tensor:
    from tests.checkpoints.exporting.test_onnx import ask

    (answer,) = ask(path, tuple(inputs))
    return answer


@pytest.mark.parametrize(("suffix", "run"), [(".pt2", in_torch), (".onnx", in_onnxruntime)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:onnx.*")
def test_it_answers_as_published(
    suffix: str, run: Callable[[Path, list[Tensor]], Tensor], data_dir: Path, tmp_path: Path
) -> None:
    folder = data_dir / "checkpoints" / NAME
    weights = folder / "final_model.hdf5"
    found = read_model(weights, ReadOptions(architecture=str(folder / "model.json"), arch="factornet"))
    conjoined = as_conjoined(found, found.inputs)
    written = export(conjoined.model, tmp_path / f"net{suffix}", shapes=conjoined.shapes)
    assert written.batch
    strands, meta = factornet_inputs(14)
    assert meta is not None
    answer = run(tmp_path / f"net{suffix}", [first(strands[0]).float(), first(meta).float()])
    one, other, mean = factornet(weights, strands, meta)
    assert difference(answer, mean) < 1e-5
    assert min(difference(answer, one), difference(answer, other)) > 1e-3  # one strand is another function
