"""Exported programs that are damaged, forged, or hold what is not read: one line, no code run, no memory taken."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rcproof.checkpoints.exported import read_exported
from rcproof.checkpoints.imported import Imported
from rcproof.errors import CheckpointError
from tests.checkpoints.exported.nets import AUTO, Fn, draw, make, older, program, same


def tried(path: Path) -> Imported | None:
    """The network, or None if the file is refused in one line."""
    try:
        return read_exported(path)
    except CheckpointError as error:
        if "\n" in str(error):
            raise
        return None


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_exported(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_function_that_is_not_known_is_named(tmp_path: Path) -> None:
    path = program(Fn(lambda x: torch.fft.rfft(x).abs()), (draw(2, 4, 8),), tmp_path / "p.pt2", ({0: AUTO},))
    assert refusal(path) == (
        "function 'aten.fft_rfft.default' of the program: got none that has a form here. "
        "Export.run_decompositions() before saving writes it in simpler ones"
    )


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (nn.Sequential(nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4)), "all .eval() before exporting"),
        (
            nn.Sequential(nn.Conv1d(4, 4, 3), nn.Dropout(0.3)),
            "got a dropout that is on; expected a network in eval mode",
        ),
        (nn.BatchNorm1d(4, track_running_stats=False), "got batch norm over the examples at hand"),
    ],
)
def test_train_mode_is_refused(net: nn.Module, text: str, tmp_path: Path) -> None:
    assert text in refusal(program(net.double().train(), (draw(3, 4, 9),), tmp_path / "p.pt2"))


def test_other_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.pt2"
    torch.save({"a": torch.zeros(3)}, path)
    assert refusal(path) == f"{str(path)!r} is no exported program. Write it with torch.export.save"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("p/archive_format", "pt2")
        archive.writestr("p/data/aotinductor/model/a.so", "x")
    assert "got compiled code, which is not run; expected one exported program" in refusal(path)


def rewritten(source: Path, path: Path, change: Callable[[dict[str, bytes]], Any], **options: Any) -> Path:
    """The archive with other entries."""
    with zipfile.ZipFile(source) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", **options) as archive:
        warnings.simplefilter("ignore")  # of zipfile, on two entries of one name
        for name, data in files.items():
            archive.writestr(name.removeprefix("again:"), data)
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net, xs, dynamic = make("bpnet")
    return program(net, xs, tmp_path_factory.mktemp("files") / "good.pt2", dynamic)


def edited(
    change: Callable[[dict[str, Any]], Any], entry: str = "models/model.json"
) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        name = next(n for n in files if n.endswith(entry))
        document = json.loads(files[name])
        text = change(document)
        files[name] = (text if isinstance(text, str) else json.dumps(document)).encode()

    return edit


def nodes(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document["graph_module"]["graph"]["nodes"]


def first(config: dict[str, Any]) -> dict[str, Any]:
    return next(iter(config["config"].values()))


def root(files: dict[str, bytes]) -> str:
    return next(iter(files)).split("/")[0]


WEIGHTS = "model_weights_config.json"
HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "no graph": (lambda f: f.pop(f"{root(f)}/models/model.json"), "0 programs"),
    "two entries of one name": (
        lambda f: f.update({f"again:{root(f)}/archive_format": b"pt2"}),
        "two entries of one name",
    ),
    "a weight that is missing": (lambda f: f.pop(f"{root(f)}/data/weights/weight_0"), "no entry"),
    "a weight that is short": (
        lambda f: f.update({f"{root(f)}/data/weights/weight_0": b"\0" * 16}),
        "numbers, as are stored",
    ),
    "a huge shape": (
        edited(lambda d: first(d)["tensor_meta"].update(sizes=[{"as_int": 2**39}] * 3), WEIGHTS),
        "expected",
    ),
    "a shape of no width": (
        edited(lambda d: first(d)["tensor_meta"].update(sizes=[{"as_int": 10**9}], strides=[{"as_int": 0}]), WEIGHTS),
        "as are stored",
    ),
    "a negative stride": (
        edited(lambda d: first(d)["tensor_meta"].update(strides=[{"as_int": -1}] * 3), WEIGHTS),
        "shape",
    ),
    "a pickled weight": (
        edited(lambda d: first(d).update(use_pickle=True), WEIGHTS),
        "a pickled object, which is not loaded",
    ),
    "a path in a name": (edited(lambda d: first(d).update(path_name="../../../etc/passwd"), WEIGHTS), "no entry"),
    "an unknown dtype": (edited(lambda d: first(d)["tensor_meta"].update(dtype=99), WEIGHTS), "dtype of 'conv.weight'"),
    "a function of Python": (
        edited(lambda d: nodes(d)[1].update(target="os.system")),
        "got a function that has no form",
    ),
    "a private function": (
        edited(lambda d: nodes(d)[1].update(target="torch.ops.aten.__reduce__")),
        "none that has a form",
    ),
    "a higher-order function": (
        edited(lambda d: nodes(d)[1].update(target="torch.ops.higher_order.cond")),
        "got a function that has no form",
    ),
    "a dangling reference": (
        edited(lambda d: nodes(d)[1]["inputs"][0]["arg"].update(as_tensor={"name": "ghost"})),
        "a reference to 'ghost'",
    ),
    "a cycle": (
        edited(lambda d: nodes(d)[1]["inputs"][0]["arg"].update(as_tensor=nodes(d)[-1]["outputs"][0]["as_tensor"])),
        "a reference to",
    ),
    "a value twice": (edited(lambda d: nodes(d)[2].update(outputs=nodes(d)[1]["outputs"])), "two values"),
    "an argument of no kind": (
        edited(lambda d: nodes(d)[1]["inputs"][0].update(arg={"as_graph": {"name": "g", "graph": {}}})),
        "as_graph",
    ),
    "an argument too many": (
        edited(lambda d: nodes(d)[1]["inputs"].append({"name": "evil", "arg": {"as_int": 1}, "kind": 1})),
        "argument 'evil'",
    ),
    "deep nesting": (edited(lambda d: "[" * 10**6), "nested without end"),
    "deep outputs": (
        edited(lambda d: d["graph_module"]["module_call_graph"][0]["signature"].update(out_spec="[" * 10**5)),
        "nested",
    ),
    "a symbol with code": (
        edited(
            lambda d: d["graph_module"]["graph"]["sym_int_values"].update(
                {
                    k: {"as_expr": {"expr_str": "__import__('os').system('false')"}}
                    for k in d["graph_module"]["graph"]["sym_int_values"]
                }
            )
        ),
        "",
    ),
    "no JSON": (edited(lambda d: "nonsense"), "is damaged: got JSONDecodeError"),
    "another document": (edited(lambda d: "[]"), "is damaged"),
    "a path as the name of a weight": (
        edited(
            lambda d: [
                n.update(parameter_name="../../x")
                for s in d["graph_module"]["signature"]["input_specs"]
                for n in [s.get("parameter", {})]
            ]
        ),
        "parameter '../../x': got no values in the file",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str, good: Path, tmp_path: Path) -> None:
    change, text = HOSTILE[name]
    path = rewritten(good, tmp_path / "p.pt2", change)
    if text:
        assert text in refusal(path)
    else:
        read_exported(path)


def test_compressed_entries_are_refused(good: Path, tmp_path: Path) -> None:
    path = rewritten(good, tmp_path / "p.pt2", lambda f: None, compression=zipfile.ZIP_DEFLATED)
    assert "got compressed; expected plain bytes" in refusal(path)


def test_pickles_in_older_layouts_are_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "was-run",))

    net, xs, _ = make("bpnet")
    source = older(net, xs, tmp_path / "p.pt2", "2.6")
    buffer = io.BytesIO()
    torch.save({"conv.weight": Evil()}, buffer)
    path = rewritten(source, tmp_path / "q.pt2", lambda f: f.update({"serialized_state_dict.pt": buffer.getvalue()}))
    assert "holds more than tensors and was not loaded" in refusal(path)
    assert not (tmp_path / "was-run").exists()


def test_damaged_bytes_never_crash(good: Path, tmp_path: Path) -> None:
    """Truncated anywhere, flipped anywhere: one line, or (in bytes that say nothing) the same network."""
    whole = good.read_bytes()
    generator = torch.Generator().manual_seed(1)
    net, xs, _ = make("bpnet")
    with torch.no_grad():
        right = net(*xs)
    path = tmp_path / "p.pt2"
    for i in range(120):
        at = int(torch.randint(0, len(whole), (), generator=generator))
        flipped = bytes([whole[at] ^ (1 << int(torch.randint(0, 8, (), generator=generator)))])
        path.write_bytes(whole[:at] if i % 4 == 0 else whole[:at] + flipped + whole[at + 1 :])
        found = tried(path)
        if found is not None:
            same(found.model(*xs), right)
