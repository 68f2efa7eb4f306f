"""How the pages are built: ``sphinx-build -W -j auto -b html docs docs/_build/html``, with nothing fetched."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
from pathlib import Path

from jupyter_cache import get_cache

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext"), str(HERE / "_lib")]

import rcproof  # noqa: E402 - found by the line above

project = "rcproof"
author = "The rcproof authors"
copyright = "the rcproof authors, MIT licence"  # noqa: A001 - Sphinx's name
version = release = rcproof.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_proof",
    "katex_math",
    "statements",
    "public_names",
    "shell_cells",
]
exclude_patterns = ["_build", "_static", "_ext", "_lib"]
nitpicky = False

# Pages. Cells run in a process of their own, on one core, and a cell that raises or writes to stderr fails the build.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "attrs_inline"]
myst_heading_anchors = 3
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_output_stderr = "warn"
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables in outputs
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(HERE / "_lib")])
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The kernels' own settings: nobody's startup files, and no note that they talk over TCP.
os.environ["IPYTHONDIR"] = str(HERE / "_build" / ".ipython")
profile = HERE / "_build" / ".ipython" / "profile_default"
profile.mkdir(parents=True, exist_ok=True)
(profile / "ipython_kernel_config.py").write_text("c = get_config()  # noqa\nc.IPKernelApp.log_level = 40\n")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _state() -> str:
    """A hash of all that a cell may depend on: outputs are taken from the cache only while none of it has changed."""
    parts = [ROOT / name for name in ("rcproof", "examples", "benchmarks", "docs/_lib", "docs/guide/files")]
    files = sorted(
        p for part in parts if part.is_dir() for p in part.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    )
    sha = hashlib.sha256(f"{sys.version} {os.environ.get('RCPROOF_DATA', '')}".encode())
    for package in ("torch", "numpy", "sympy", "matplotlib"):
        sha.update(f"{package} {importlib.metadata.version(package)}".encode())
    for path in files:
        sha.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return sha.hexdigest()[:16]


nb_execution_mode = "cache"
nb_execution_cache_path = str(HERE / "_build" / ".cells" / _state())
get_cache(nb_execution_cache_path).get_cache_limit()  # makes it, before the processes that will share it

# Looks.
html_theme = "furo"
html_favicon = "_static/favicon.svg"
html_title = f"rcproof {version}"
html_static_path = ["_static"]
html_css_files = ["rcproof.css"]
html_math_renderer = "katex"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
katex_macros = {r"\RC": r"\rho", r"\stack": r"\operatorname{stack}", r"\tie": r"\operatorname{tie}"}
pygments_style = "friendly"
pygments_dark_style = "monokai"

# Docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
suppress_warnings = ["mystnb.unknown_mime_type"]
