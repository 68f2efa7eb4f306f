"""The README keeps its word: its example runs, its files exist, its commands are those that CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("code", blocks("python"), ids=lambda _: "python")
def test_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert list(tmp_path.glob("*.safetensors"))


def test_the_two_commands_stand_in_the_first_shell_block() -> None:
    first, second = blocks("sh")[0].splitlines()
    assert re.fullmatch(
        r"pip install -c constraints\.txt \. && rcproof convert examples/\S+\.safetensors -o rcps\.safetensors", first
    )
    assert second == "pip install -c constraints.txt -e '.[dev]' && pytest"
    assert (ROOT / re.search(r"examples/\S+", first)[0]).is_file()


def test_tree_names_what_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    folder, missing = ROOT, []
    for line in re.search(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1].splitlines():
        inner, name = re.match(r"(\s*)(\S+)", line).groups()
        if not inner:
            folder = ROOT / name if name == "rcproof/" else ROOT
        if not (folder / name if inner else ROOT / name).exists():
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("link", re.findall(r"\]\(([\w./-]+)\)", README))
def test_links(link: str) -> None:
    assert (ROOT / link).exists()
