"""The pages' sources: nothing is missing, and what they show is tested or executed."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from pathlib import Path

import click
import pytest

import rcproof
from rcproof.cli.main import main
from rcproof.errors import RcproofError
from rcproof.symbolic.theorems import LABELS, theorem
from tests.docs.site import DOCS, ROOT, cells, lacking, sources, unreachable

PAGES = sources()
sys.path.insert(0, str(DOCS / "_lib"))
from public import MODULES, home_of, public  # noqa: E402 - it lies with the pages


def page_of(label: str) -> str:
    return f"theory/t{int(label[1:]):02d}"


def test_a_page_for_each_theorem_and_no_other() -> None:
    assert {page for page in PAGES if re.fullmatch(r"theory/t\d\d", page)} == {page_of(label) for label in LABELS}


@pytest.mark.parametrize("label", LABELS)
def test_theorem_page_has_its_parts(label: str) -> None:
    assert lacking(PAGES[page_of(label)], label) == []


@pytest.mark.parametrize("label", LABELS)
def test_named_statements_exist(label: str) -> None:
    """Every name of a statement in the prose of any page is one of the theorem's."""
    names = {s.name for s in theorem(label).statements}
    for page, text in PAGES.items():
        for name in re.findall(rf"\b{label}\.[a-z][\w.-]*\w", text):
            known = name in names or any(n.startswith(f"{name}.") for n in names)
            assert known, f"{page} speaks of {name}"


def test_every_page_is_in_a_toctree() -> None:
    assert unreachable(PAGES) == set()


@pytest.mark.parametrize("page", [p for p in PAGES if cells(PAGES[p])])
def test_cells_are_executed(page: str) -> None:
    """A cell runs only on a page that says so."""
    assert re.match(r"---\nfile_format: mystnb\n", PAGES[page]), "its cells would be shown, not run"


@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("theory/t")])
def test_theory_is_checked_where_it_computes(page: str) -> None:
    assert sum("assert" in cell for cell in cells(PAGES[page])) >= 2


@pytest.mark.parametrize("module", MODULES)
def test_api_page_shows_the_module(module: str) -> None:
    page = module.rpartition(".")[2]
    assert f"```{{public}} {module}\n" in PAGES[f"api/{page}"]


@pytest.mark.parametrize(("module", "name"), [(m, n) for m in MODULES for n in public(m)])
def test_public_name_is_documented_with_an_example(module: str, name: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert value.__doc__ and ">>>" in value.__doc__, f"{module}.{name} has no doctest"
    else:
        home = Path(str(importlib.import_module(home_of(module, name)).__file__)).read_text(encoding="utf-8")
        assert re.search(rf"^#: .*\n(#: .*\n)*(\w+, )*{name}\b", home, re.MULTILINE), (
            f"{module}.{name} has no `#:` comment"
        )


def test_no_public_module_is_forgotten() -> None:
    found = {
        f"rcproof.{path.parent.name}"
        for path in (ROOT / "rcproof").glob("*/__init__.py")
        if "__all__" in path.read_text(encoding="utf-8")
    }
    assert found <= set(MODULES) | {"rcproof.checking", "rcproof.cli", "rcproof.network"}, (
        "add it to docs/_lib/public.py"
    )
    assert set(rcproof.__all__) >= set(public("rcproof"))


def commands() -> list[tuple[str, str]]:
    """The ``rcproof`` commands in shell blocks and cells of pages, with what is continued on a next line."""
    found = []
    for page, text in {**PAGES, "README": (ROOT / "README.md").read_text(encoding="utf-8")}.items():
        shell = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        shell += [cell for cell in cells(text) if "%%shell" in cell]
        for line in "\n".join(shell).replace("\\\n", " ").splitlines():
            command = line.split("&&")[-1].split("#")[0].split(";")[0].strip()
            if command.startswith("rcproof "):
                found.append((page, command))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_command_is_one_that_the_program_takes(page: str, command: str) -> None:
    """Names of commands and options; files need not be there."""
    words = shlex.split(command)[1:]
    context: click.Context | None = None
    current: click.Command = main
    while isinstance(current, click.Group):
        context = click.Context(current, parent=context)
        name, found, words = current.resolve_command(context, words)
        assert found is not None, f"{page}: no command {name}"
        current = found
    try:
        current.parse_args(click.Context(current, parent=context, resilient_parsing=True), list(words))
    except (click.UsageError, RcproofError) as problem:
        raise AssertionError(f"{page}: {command}: {problem}") from None


def test_readme_figures_are_those_that_the_code_draws() -> None:
    pytest.importorskip("IPython", reason="the figures are drawn with the extra `docs`")
    from drawing.readme import figures

    for name, svg in figures().items():
        assert (DOCS / "_static" / name).read_text(encoding="utf-8") == svg, "run python -m drawing.readme"


def test_figures_know_both_themes() -> None:
    css = (DOCS / "_static" / "rcproof.css").read_text(encoding="utf-8")
    blocks = re.findall(r"\{([^{}]*--rp-ink[^{}]*)\}", css)
    assert len(blocks) == 3, "light, dark, and dark by preference"
    light, dark, preferred = (dict(re.findall(r"(--rp-\w+): (#\w+)", block)) for block in blocks)
    assert light.keys() == dark.keys() and dark == preferred
    assert all(light[name] != dark[name] for name in light)
