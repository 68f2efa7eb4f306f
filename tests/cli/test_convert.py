"""``rcproof convert``: what it writes, what it says, and that a failure writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import rcproof
from rcproof.checkpoints import read_header
from rcproof.cli.convert import recheck
from rcproof.errors import VerificationError
from rcproof.nn.couple import coupled_layers
from rcproof.verify import draw_inputs
from tests.cli.commands import assert_refused, conjoined, files, net, profile, run, run_json, saved
from tests.cli.conftest import user_net


def same(a: nn.Module, b: nn.Module, *shapes: tuple[int, ...], reps: tuple[str, ...] = ("reversal",)) -> bool:
    cases = list(draw_inputs(shapes or ((4, 30),), reps))
    return rcproof.check_equivalence(a, b, cases).passed


def test_file_of_ours(source: Path, out: Path) -> None:
    result = run("convert", source, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    for part in ("reversal", "Sigmoid", "RCPSConv1d", "tied", "T5", "(3, 4, 5)", "100.0 %", "1e-12", str(out)):
        assert part in result.stdout.replace("\n", "")
    written = rcproof.load(out)
    assert same(rcproof.load(source), written)
    assert not coupled_layers(written)
    assert files(out.parent) == {out.name}


def test_metadata_travel(source: Path, out: Path) -> None:
    run_json("convert", source, "-o", out, "--seed", 3)
    metadata = read_header(out).metadata
    assert metadata["data"] == "drawn"
    assert metadata["held_out_auroc"] == "0.9"
    assert metadata["converted_from"] == source.name
    assert metadata["conversion_seed"] == "3"
    assert len(metadata["converted_from_sha256"]) == 64


def test_json_and_report_are_one(source: Path, out: Path) -> None:
    report = out.parent / "report.json"
    data = run_json("convert", source, "-o", out, "--report", report)
    written = json.loads(report.read_text())
    assert written == {key: value for key, value in data.items() if key != "warnings"}
    assert data["passed"] is True
    assert (data["inputs"], data["outputs"], data["merge"], data["final"]) == (
        ["reversal"],
        ["fixed"],
        ["mean"],
        ["Sigmoid"],
    )
    assert data["share_tied"] == 1.0
    assert data["parameters"]["tied"] == data["parameters"]["total"]
    assert all(report["passed"] for report in data["checks"])
    assert {t["how"] for t in data["certificate"]["tensors"]} == {"copy"}


def test_post_hoc_from_an_ordinary_network(tmp_path: Path, out: Path) -> None:
    plain = net()
    saved(plain, tmp_path / "plain.safetensors")
    options = ["--merge", "max", "--final", "softplus", "--input", "dna:TGCA"]
    data = run_json("convert", tmp_path / "plain.safetensors", *options, "-o", out)
    assert (data["inputs"], data["merge"], data["final"]) == (["perm:3,2,1,0"], ["max"], ["Softplus"])
    assert same(rcproof.Conjoined(plain, merge="max", final="softplus"), rcproof.load(out))


@pytest.mark.parametrize("rep", ["reversal", "pairs:1", "length", "perm:1,0"])
def test_profile(tmp_path: Path, out: Path, rep: str) -> None:
    saved(profile(), tmp_path / "plain.safetensors")
    run_json("convert", tmp_path / "plain.safetensors", "--output", rep, "-o", out, "--shape", "4,25")
    assert same(rcproof.Conjoined(profile(), outputs=rep), rcproof.load(out))


def test_state_dict_of_a_user_class(nets: str, state: Path, out: Path) -> None:
    data = run_json("convert", state, "--model", f"{nets}:Score", "-o", out)
    assert same(rcproof.Conjoined(user_net(nets, "Score")), rcproof.load(out))
    assert [row["name"] for row in data["layers"]] == ["conv", "norm", "head"]


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
def test_kinds_of_files(nets: str, tmp_path: Path, out: Path, suffix: str) -> None:
    weights = user_net(nets, "Score").state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if suffix == ".ckpt" else weights, path)
    run_json("convert", path, "--model", f"{nets}:Score", "-o", out)
    assert same(rcproof.Conjoined(user_net(nets, "Score")), rcproof.load(out))


def test_model_arguments(nets: str, tmp_path: Path, out: Path) -> None:
    torch.save(user_net(nets, "Score").state_dict(), tmp_path / "s.pt")
    words = ["convert", tmp_path / "s.pt", "--model", f"{nets}:Score", "-o", out, "--model-args"]
    assert run(*words, '{"filters": 3}').exit_code == 0
    assert run(*words, '{"filters": 4}').exit_code == 2


@pytest.mark.parametrize("prefix", ["", "net."])
@pytest.mark.parametrize("builder", ["Score", "conjoined"])
def test_keys_of_the_network_or_of_its_conjoined_form(
    nets: str, tmp_path: Path, out: Path, prefix: str, builder: str
) -> None:
    score = user_net(nets, "Score")
    torch.save({prefix + key: tensor for key, tensor in score.state_dict().items()}, tmp_path / "s.pt")
    run_json("convert", tmp_path / "s.pt", "--model", f"{nets}:{builder}", "-o", out)
    made = {"merge": "sum", "final": "sigmoid"} if builder == "conjoined" else {}
    assert same(rcproof.Conjoined(score, **made), rcproof.load(out))


def test_what_the_users_code_prints_is_not_in_the_json(nets: str, state: Path, out: Path) -> None:
    result = run("convert", state, "--model", f"{nets}:loud", "-o", out, "--json")
    data = json.loads(result.stdout)
    assert data["warnings"] == ["and this is a warning"]
    assert "printed by the user's code" in result.stderr


@pytest.mark.parametrize(
    ("pattern", "names"), [("all", ["3", "6"]), ("6", ["6"]), ("[36]", ["3", "6"]), ("3,6", ["3", "6"])]
)
def test_couple(source: Path, out: Path, pattern: str, names: list[str]) -> None:
    data = run_json("convert", source, "--couple", pattern, "-o", out)
    assert data["coupled"] == names
    written = rcproof.load(out)
    assert list(coupled_layers(written)) == names
    assert same(rcproof.load(source), written)
    origins = {t["name"]: t["how"] for t in data["certificate"]["tensors"]}
    assert {name for name, how in origins.items() if how == "copy+zero"} == {f"{name}.weight" for name in names}
    assert data["parameters"]["total"] == sum(p.numel() for p in written.parameters())


def test_lifted_parameters_are_reported_or_refused(nets: str, tmp_path: Path, out: Path) -> None:
    torch.save(user_net(nets, "Recurrent").state_dict(), tmp_path / "s.pt")
    words = ["convert", tmp_path / "s.pt", "--model", f"{nets}:Recurrent", "-o", out]
    refused = run(*words, "--strict")
    assert refused.exit_code == 2
    assert "strict" in refused.stderr
    assert out.read_bytes() == b"precious"
    data = run_json(*words)
    assert data["lifted"] == ["lstm"]
    assert 0 < data["share_tied"] < 1
    assert data["parameters"]["lifted"] + data["parameters"]["tied"] == data["parameters"]["total"]


def test_leaf_is_traced_whole_but_a_class_of_the_users_has_no_form_in_a_file(
    nets: str, tmp_path: Path, out: Path
) -> None:
    torch.save({f"body.{k}": v for k, v in user_net(nets, "Score").state_dict().items()}, tmp_path / "s.pt")
    words = ["convert", tmp_path / "s.pt", "--model", f"{nets}:Wrapped", "--shape", "4,20", "-o", out]
    assert_refused(words, "cannot be traced", "--leaf")
    assert_refused([*words, "--leaf", "Careful"], "layer 'body' cannot be written to a self-describing file")
    assert_refused([*words, "--leaf", "body"], "layer 'body' cannot be written to a self-describing file")
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}


def test_several_inputs(nets: str, tmp_path: Path, out: Path) -> None:
    control = user_net(nets, "Control")
    torch.save(control.state_dict(), tmp_path / "s.pt")
    options = ["--input", "reversal", "--input", "length", "--shape", "4,30", "--shape", "2,30"]
    data = run_json("convert", tmp_path / "s.pt", "--model", f"{nets}:Control", *options, "-o", out)
    assert data["input_shapes"] == [[4, 30], [2, 30]]
    wanted = rcproof.Conjoined(control, inputs=["reversal", "length"])
    assert same(wanted, rcproof.load(out), (4, 30), (2, 30), reps=("reversal", "length"))


def test_a_network_of_ours_says_its_own_representations(tmp_path: Path, out: Path) -> None:
    from rcproof.models import ProfileNet

    sizes = {"length": 60, "filters": 3, "dilated_layers": 1, "conv_kernel_size": 5, "profile_kernel_size": 7}
    torch.save(ProfileNet(**sizes).state_dict(), tmp_path / "s.pt")
    words = ["--model", "rcproof.models:ProfileNet", "--model-args", json.dumps(sizes)]
    data = run_json("convert", tmp_path / "s.pt", *words, "-o", out)
    assert (data["inputs"], data["outputs"]) == (["reversal", "fixed", "length"], ["reversal", "reversal"])
    assert run("verify", tmp_path / "s.pt", out, *words).exit_code == 0


def test_layout_is_kept(source: Path, out: Path) -> None:
    run_json("convert", source, "--layout", "stacked", "-o", out)
    assert "layout=stacked" in repr(rcproof.load(out))


def test_out_need_not_exist_and_keeps_its_mode(source: Path, out: Path) -> None:
    out.chmod(0o640)
    run_json("convert", source, "-o", out)
    assert out.stat().st_mode & 0o777 == 0o640
    fresh = out.parent / "fresh.safetensors"
    run_json("convert", source, "-o", fresh)
    assert fresh.read_bytes()[8:] != b""


def test_the_recheck_sees_another_network(source: Path) -> None:
    conversion = rcproof.convert(conjoined(0))
    other = rcproof.convert(conjoined(1)).model
    reports = {report.title: report for report in recheck(conjoined(0), other, conversion, seed=1)}
    assert not reports["equal to the source"].passed
    assert all(report.passed for report in recheck(conjoined(0), conversion.model, conversion, seed=1))


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_a_failed_check_writes_nothing(
    source: Path, out: Path, flag: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = rcproof.convert(conjoined(1)).model
    monkeypatch.setattr(
        "rcproof.checkpoints.load", lambda path: wrong if Path(path).parent == out.parent else conjoined()
    )
    result = run("convert", source, "-o", out, "--report", out.parent / "report.json", *flag)
    assert result.exit_code == 1
    assert "equal to the source" in result.stderr
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}
    assert (json.loads(result.stdout)["kind"] == VerificationError.__name__) if flag else result.stdout == ""


def test_a_false_certificate_writes_nothing(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose weights are right and whose certificate speaks of another network's."""
    other, write = rcproof.convert(conjoined(1)).certificate, rcproof.checkpoints.save
    monkeypatch.setattr(
        "rcproof.checkpoints.save",
        lambda conversion, path, metadata: write(replace(conversion, certificate=other), path, metadata=metadata),
    )
    result = run("convert", source, "-o", out)
    assert result.exit_code == 1
    assert "certificate" in result.stderr
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}


def test_interrupted(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        assert len(files(out.parent)) == 2  # a temporary file lies beside OUT
        raise KeyboardInterrupt

    monkeypatch.setattr("rcproof.cli.convert.recheck", stop)
    result = run("convert", source, "-o", out)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert out.read_bytes() == b"precious"
    assert files(out.parent) == {out.name}
