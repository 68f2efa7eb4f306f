"""The package as a whole: what importing it costs, its names, its version, its layers, and its tree."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import rcproof

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rcproof"

# DESIGN: dependencies point one way. A part may import itself, its own row, and the rows above it.
LAYERS = [
    {"errors", "strand", "structure", "files"},
    {"symbolic", "nn", "conjoined"},
    {"network"},
    {"models", "convert", "verify", "checking"},
    {"checkpoints", "experiments", "testing"},
    {"cli"},
]
FORBIDDEN = {"symbolic": {"torch"}, "nn": {"sympy"}, "strand": {"torch", "sympy"}, "errors": {"torch", "sympy"}}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """The modules a file imports, each with whether that happens as soon as the file is imported."""
    found: list[tuple[str, bool]] = []

    def visit(node: ast.AST, eager: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, eager) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", eager))
            found.extend((f"rcproof.{alias.name}", eager) for alias in node.names if node.module == "rcproof")
        inner = eager and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(path.read_text(encoding="utf-8")), True)
    return found


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_import_loads_no_heavy_package() -> None:
    heavy = "{'torch', 'numpy', 'sympy', 'safetensors', 'rich', 'click'}"
    assert run_python(f"import sys, rcproof; dir(rcproof); print({heavy} & set(sys.modules) or 'none')") == "none"


def test_strand_loads_no_torch() -> None:
    code = "import sys; from rcproof import dna, strand_pairs, Representation; print('torch' in sys.modules)"
    assert run_python(code) == "False"


@pytest.mark.parametrize("name", rcproof.__all__)
def test_public_name(name: str) -> None:
    assert name in dir(rcproof)
    value = getattr(rcproof, name)
    assert isinstance(value, str) if name == "__version__" else callable(value)


def test_every_lazy_name_is_public() -> None:
    assert {*rcproof._HOME, "__version__"} == set(rcproof.__all__)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'rcproof' has no attribute 'no_such_name'"):
        rcproof.no_such_name  # noqa: B018
    assert not hasattr(rcproof, "no_such_name")


@pytest.mark.parametrize(
    "first",
    ["pass", "import rcproof.convert", "from rcproof.convert import ConvertConfig", "from rcproof import convert"],
)
def test_convert_is_the_function_whatever_was_imported_first(first: str) -> None:
    code = f"{first}\nimport rcproof.convert\nfrom rcproof import convert\nprint(type(convert).__name__)"
    assert run_python(code) == "function"


def test_version_is_the_one_installed() -> None:
    assert importlib.metadata.version("rcproof") == rcproof.__version__


def test_changelog_names_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(rcproof.__version__)}\]", changelog, re.MULTILINE)


def test_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def test_runtime_dependencies() -> None:
    needed = [line for line in importlib.metadata.requires("rcproof") or [] if "extra ==" not in line]
    names = {re.match(r"[\w-]+", line)[0] for line in needed}
    assert names == {"torch", "numpy", "sympy", "safetensors", "click", "rich"}


def test_dependencies_point_one_way() -> None:
    rank = {part: level for level, row in enumerate(LAYERS) for part in row}
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = part_of(path)
        if part in ("__init__", "__main__"):
            continue
        assert part in rank, f"{path.relative_to(ROOT)} belongs to no layer: add it to LAYERS"
        for module, eager in imports_of(path):
            top, _, rest = module.partition(".")
            if top == "rcproof" and rank.get(rest.partition(".")[0], 0) > rank[part]:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
            if top in FORBIDDEN.get(part, ()) and (eager or part == "symbolic"):
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_the_checker_of_files_does_without_the_converter() -> None:
    for path in (PACKAGE / "checking").rglob("*.py"):
        wrong = [m for m, _ in imports_of(path) if m.startswith(("rcproof.convert", "rcproof.checkpoints"))]
        assert not wrong, f"{path.name} imports {wrong}"


def test_a_file_is_checked_where_the_converter_cannot_be_imported(tmp_path: Path) -> None:
    """As a stranger would, who does not trust it: anything that imports it, however late, fails."""
    out = tmp_path / "a.safetensors"
    net = torch.nn.Sequential(torch.nn.Conv1d(4, 3, 5), torch.nn.BatchNorm1d(3))
    config = rcproof.ConvertConfig(input_shapes=[(4, 20)], verify=False)
    rcproof.save(rcproof.convert(rcproof.Conjoined(net, outputs="reversal").eval(), config), out)
    code = f"""if True:
        import sys
        sys.modules |= dict.fromkeys(["rcproof.convert", "rcproof.convert.api"])
        try:
            import rcproof.convert
        except ImportError:
            from rcproof.cli import main
            main(["check", {str(out)!r}])
    """
    assert run_python(code).endswith("equal on every input")


def test_layer_check_sees_a_wrong_import(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import torch\ndef f():\n    from rcproof import convert\n    from rcproof.cli import main\n")
    assert imports_of(bad) == [
        ("torch", True),
        ("rcproof", False),
        ("rcproof.convert", False),
        ("rcproof.cli", False),
    ]


# Written in pieces, so that this file does not hold what it looks for.
FOLDERS = ["ro" + "ot", "ho" + "me", "Us" + "ers", "wo" + "rk", "op" + "t"]
HOSTS = ["fi" + "le:///", "py" + "pi.org", "python" + "hosted"]
MACHINE_PATH = re.compile(rf"(?<![\w.~>/-])/(?:{'|'.join(FOLDERS)})/\w|{'|'.join(map(re.escape, HOSTS))}".encode())


@pytest.mark.parametrize("text", ["see /{}/me", "'/{}/me'", "path=/{}/x", "\x00/{}/x"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_machine_path_is_seen(text: str, folder: str) -> None:
    assert MACHINE_PATH.search(text.format(folder).encode())


@pytest.mark.parametrize("text", ["a/b/work", "../shared/data", "https://example.invalid/home/x", "rcproof/work/x"])
def test_other_path_is_let_through(text: str) -> None:
    assert not MACHINE_PATH.search(text.encode())


def test_no_file_holds_a_path_of_some_machine() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0].decode(errors='replace')}"
        for path in tracked_files()
        for match in MACHINE_PATH.finditer(path.read_bytes())
    ]
    assert not wrong, "\n".join(wrong)
