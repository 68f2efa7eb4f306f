"""FactorNet as it was published, with tracks, an LSTM each way and metadata: written, run elsewhere, against numpy.

As source, which takes seconds; a ``.pt2`` or ``.onnx`` of 57 unrolled steps takes a minute, and the small FactorNet of
the other tests has all of its layers.
"""

from __future__ import annotations

from pathlib import Path

import torch

from rcproof.checkpoints import ReadOptions, read_model
from rcproof.checkpoints.exporting import export
from rcproof.checkpoints.siamese import as_conjoined
from tests.checkpoints.exporting.nets import without_rcproof
from tests.checkpoints.test_real_files import difference, factornet, factornet_inputs, first

RUN = """
import os
os.chdir(sys.argv[1])
sys.path.insert(0, ".")
from net import load
torch.save(load()(*torch.load("inputs", weights_only=True)), "answer")
"""


def test_it_answers_as_published(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "checkpoints" / "factornet_GABPA_meta"
    weights = folder / "final_model.hdf5"
    found = read_model(weights, ReadOptions(architecture=str(folder / "model.json"), arch="factornet"))
    conjoined = as_conjoined(found, found.inputs)
    written = export(conjoined.model, tmp_path / "net.py", shapes=conjoined.shapes)
    assert written.batch
    strands, meta = factornet_inputs(14)
    assert meta is not None
    torch.save([first(strands[0]).float(), first(meta).float()], tmp_path / "inputs")
    without_rcproof(RUN, tmp_path)
    answer = torch.load(tmp_path / "answer", weights_only=True)
    one, other, mean = factornet(weights, strands, meta)
    assert difference(answer, mean) < 1e-5
    assert min(difference(answer, one), difference(answer, other)) > 1e-3  # one strand is another function
