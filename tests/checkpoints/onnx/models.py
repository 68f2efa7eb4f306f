"""ONNX models written node by node, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rcproof.checkpoints.imported import Imported
from rcproof.checkpoints.onnx import read_onnx

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

Array = np.ndarray[Any, Any]
Sizes = Sequence[int | str]


def node(kind: str, inputs: str, outputs: str, name: str = "", domain: str = "", **attributes: Any) -> Any:
    """A node; names are separated by blanks, ``_`` is an input that is left out."""
    given = ["" if n == "_" else n for n in inputs.split()]
    return onnx.helper.make_node(kind, given, outputs.split(), name=name, domain=domain, **attributes)


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sizes],
    outputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
    opset: int = 18,
    dtype: Any = np.float32,
    functions: Sequence[Any] = (),
) -> Any:
    """A model. Whole numbers among the weights are of 64 bits."""
    helper = onnx.helper
    kinds = {np.dtype(np.float32): onnx.TensorProto.FLOAT, np.dtype(np.float64): onnx.TensorProto.DOUBLE,
             np.dtype(np.int64): onnx.TensorProto.INT64}  # fmt: skip
    code = kinds[np.dtype(dtype)]
    given = [helper.make_tensor_value_info(n, code, list(s)) for n, s in inputs.items()]
    results = [helper.make_value_info(n, onnx.TypeProto()) for n in outputs]
    held = []
    for name, value in (weights or {}).items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype.kind == "f" and dtype is not np.float64 else array
        held.append(onnx.numpy_helper.from_array(array.copy(order="C"), name))
    graph = helper.make_graph(list(nodes), "graph", given, results, held)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(f.domain, 1) for f in functions)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=9)


def saved(proto: Any, path: Path) -> Path:
    """A file with the model."""
    path.write_bytes(proto.SerializeToString())
    return path


def run(path: Path | Any, inputs: Mapping[str, Tensor]) -> list[Array]:
    """What onnxruntime answers."""
    source = str(path) if isinstance(path, Path) else path.SerializeToString()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    answers: list[Array] = session.run(None, {name: x.numpy() for name, x in inputs.items()})
    return answers


def same(found: Any, wanted: Sequence[Array], rtol: float = 1e-5) -> None:
    """Every output, relative to its largest value; NaN fails."""
    got = [found] if isinstance(found, Tensor) else list(found)
    assert len(got) == len(wanted)
    for i, (y, right) in enumerate(zip(got, wanted, strict=True)):
        left = y.detach().numpy()
        assert left.shape == right.shape, (i, left.shape, right.shape)
        assert left.dtype == right.dtype, i
        if not right.size:
            continue
        error = np.abs(left.astype(np.float64) - right.astype(np.float64)).max()
        if not error <= rtol * max(np.abs(right.astype(np.float64)).max(), 1e-3):
            raise AssertionError(f"output {i} differs by {error}")


def checked(proto: Any, xs: Mapping[str, Tensor], path: Path, rtol: float = 1e-5) -> Imported:
    """Read the model, and compare what it answers with onnxruntime."""
    found = read_onnx(saved(proto, path))
    with torch.no_grad():
        same(found.model(*xs.values()), run(proto, xs), rtol)
    return found


def draw(*shape: int, seed: int = 0) -> Tensor:
    """A fixed random tensor."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def weights(*shape: int, seed: int = 1, scale: float = 0.5) -> Array:
    """Fixed random weights."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32) * np.float32(scale)
