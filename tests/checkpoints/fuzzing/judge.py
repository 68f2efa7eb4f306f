"""What must hold of every file, whatever is in it: one line, or a network that runs; and nothing else in the world."""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import json
import math
import os
import random
import re
import resource
import shutil
import stat
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rcproof.checkpoints import ReadOptions, read_model
from rcproof.errors import RcproofError
from tests.checkpoints.fuzzing.making import Danger, Files, Seed

#: An error is one line of at most this many characters.
LINE = 400
#: Reading a file of at most a few megabytes takes at most this much more memory, in this process and in its children.
MEMORY = 1 << 30
#: This process asks for at most this much, so that a blow-up is an error here and not the machine's.
ADDRESSES = 4 << 30
#: A network that was read runs if all its values together have at most so many elements, in so many steps.
ELEMENTS, STEPS = 1 << 24, 20_000
#: Networks of more steps are not converted or exported: tracing by torch takes a tenth of a second for some.
NODES = 500

_NO_MEMORY = re.compile(r"allocate|MemoryError|into memory|bad_alloc|out of memory", re.IGNORECASE)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PRECIOUS = b"precious"


@dataclass
class Verdict:
    """What became of one file: ``refused``, the ``same`` answer, ``another`` network, or a ``failure`` and why.

    ``unfit``: a network of a file that does not say what inputs it takes, and that does not run on those of the seed.
    """

    outcome: str
    why: str = ""
    entries: int = 0
    megabytes: float = 0.0


class Failure(Exception):
    """Something that must not happen."""


class TooLarge(Exception):
    """A network that is sound, and too large to run here."""


class Judge:
    """A folder in which files are tried, one after the other.

    ``box`` holds ``case`` with the files at hand, ``tmp`` for temporary ones, and ``secret``, a pipe on which whoever
    opens it waits forever.
    """

    def __init__(self, box: Path) -> None:
        self.box, self.case, self.tmp = box, box / "case", box / "tmp"
        self.danger = Danger(str(box / "marker"), str(box / "outside"), str(box / "secret"))
        for folder in (self.case, self.tmp):
            folder.mkdir(parents=True)
        os.mkfifo(self.danger.secret)
        os.environ["TMPDIR"] = str(self.tmp)
        os.environ["RCPROOF_TRACEBACK"] = "1"  # what is no RcproofError comes out of the command line as it is
        self.answers: dict[str, list[Tensor]] = {}
        self.seen: list[str] = []
        self.watching = self.reserves = False
        self.base = _memory("VmRSS")
        os.chdir(self.case)
        sys.addaudithook(self._watch)

    # -- one file --------------------------------------------------------------------------------------
    def check(self, seed: Seed, files: Files, rng: random.Random) -> Verdict:
        """Try a file in every way; what must not happen is in the verdict."""
        if seed.format not in self.answers:
            self._put(seed.files)
            found = read_model(seed.main, self._options(seed))
            self.answers[seed.format] = answer(found.model, found.shapes or seed.shapes)
        self._put(files)
        self.seen.clear()
        self.reserves = seed.reserves
        verdict = Verdict("refused")
        _forget_peak()
        before, self.watching = _memory("VmRSS"), True
        try:
            self._try(seed, rng, verdict)
            self.watching = False
            self._look(files)
        except Failure as failure:
            verdict.outcome, verdict.why = "failure", str(failure)
        finally:
            self.watching = False
        verdict.megabytes = (_memory("VmHWM") - before) / 1e6
        most = max(_memory("VmHWM") - before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 - self.base)
        if verdict.outcome != "failure" and most > MEMORY:
            verdict.outcome, verdict.why = "failure", f"{most >> 20} MiB of memory"
        return verdict

    def _put(self, files: Files) -> None:
        for folder in (self.case, self.tmp):
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for name, data in files.items():
            if isinstance(data, str):
                os.symlink(data.removeprefix("-> "), self.case / name)
            else:
                (self.case / name).write_bytes(data)

    def _options(self, seed: Seed) -> ReadOptions:
        return ReadOptions(**seed.options)

    def _try(self, seed: Seed, rng: random.Random, verdict: Verdict) -> None:
        found = self._read(seed.main, self._options(seed), verdict)
        small = True
        if found is not None:
            verdict.outcome = "another"
            graph = getattr(found.model, "rcproof_graph", None)
            small = graph is None or len(graph().nodes) <= NODES
            try:
                result = _answer_of_any(found, seed)
                same = len(result) == len(self.answers[seed.format]) and all(
                    a.shape == b.shape and torch.equal(a, b)
                    for a, b in zip(result, self.answers[seed.format], strict=True)
                )
                verdict.outcome = "same" if same else "another"
            except TooLarge:
                small = False
            except RcproofError as error:
                _line(str(error))
            except Exception as error:
                if found.shapes is not None:
                    raise Failure(f"read, but does not run: {_told(error)}") from None
                verdict.outcome = "unfit"
        if rng.random() < 0.3:
            self._read(seed.main, mismatched(rng, seed), verdict)
        commands: list[list[str]] = []
        if rng.random() < 0.25:
            commands.append(["inspect", seed.main, *_words(seed, False), *(["--json"] if rng.random() < 0.3 else [])])
        if seed.format.startswith("rcproof") and rng.random() < 0.2:
            commands.append(["check", seed.main])
        if small and rng.random() < (0.1 if found is None else 0.25):
            commands.append(["convert", seed.main, "-o", "out.safetensors", *_words(seed, True)])
        if small and rng.random() < (0.05 if found is None else 0.1):
            suffix = rng.choice((".onnx", ".pt2", ".py", ".safetensors"))
            commands.append(["export", seed.main, "-o", f"out{suffix}", *_words(seed, False)])
        for words in commands:
            self._command(words, verdict)

    def _read(self, path: str, options: ReadOptions, verdict: Verdict) -> Any:
        verdict.entries += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return read_model(path, options)
        except RcproofError as error:
            _line(str(error), self.reserves)
            return None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise Failure(f"read_model with {options}: {_told(error)}") from None

    def _command(self, words: list[str], verdict: Verdict) -> None:
        from click.testing import CliRunner

        from rcproof.cli import main

        verdict.entries += 1
        out = Path(words[words.index("-o") + 1]) if "-o" in words else None
        kept = {out, out.with_suffix(".pt")} - {Path(words[1])} if out is not None else set()
        for path in kept:
            path.write_bytes(_PRECIOUS)
        result = CliRunner().invoke(main, words)
        said = f"rcproof {' '.join(words)}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise Failure(f"{said}: {_told(result.exception)}")
        if result.exit_code not in (0, 1, 2):
            raise Failure(f"{said}: exit code {result.exit_code}")
        if result.exit_code and not (result.exit_code == 1 and words[0] == "check"):  # which says so at length
            lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
            if len(lines) != 1 or not lines[0].startswith("error: "):
                raise Failure(f"{said}: {len(lines)} lines of error: {result.stderr[:300]!r}")
            _line(lines[0].removeprefix("error: "), self.reserves)
            for path in kept:
                if not path.is_file() or path.read_bytes() != _PRECIOUS:
                    raise Failure(f"{said} failed, and damaged {path}")
        if not all(c.isprintable() or c == "\n" for c in result.stdout + result.stderr):
            raise Failure(f"{said}: control characters")
        for path in kept:
            path.unlink()

    # -- the world -------------------------------------------------------------------------------------
    def _look(self, files: Files) -> None:
        """Nothing has changed but what must."""
        there = {path.name for path in self.box.iterdir()}
        if there != {"case", "tmp", "secret"}:
            raise Failure(f"appeared: {sorted(there - {'case', 'tmp', 'secret'})}")
        left = sorted(path.name for path in self.tmp.iterdir() if path.name != ".ses")  # that one is onnxruntime's
        if left:
            raise Failure(f"temporary files stay: {left[:3]}")
        if {path.name for path in self.case.iterdir()} != set(files):
            raise Failure(f"appeared: {sorted({p.name for p in self.case.iterdir()} ^ set(files))[:3]}")
        for name, data in files.items():
            if isinstance(data, bytes) and (self.case / name).read_bytes() != data:
                raise Failure(f"{name} was changed")
        if not stat.S_ISFIFO(os.stat(self.danger.secret).st_mode):
            raise Failure("the secret was changed")
        if self.seen:
            raise Failure("; ".join(self.seen[:3]))

    def _watch(self, event: str, values: tuple[Any, ...]) -> None:
        """Called by Python for what touches the world; see PEP 578."""
        if not self.watching:
            return
        if event == "open":
            path, mode, flags = values
            if not isinstance(path, str | bytes | os.PathLike):
                return
            name = os.path.realpath(os.fsdecode(path))
            writes = any(c in str(mode or "") for c in "wax+") or bool(flags and flags & _WRITES)
            if (writes and not self._ours(name)) or name in ("/etc/hostname", self.danger.secret):
                self.seen.append(f"opened {name}")
        elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"):
            paths = [os.fsdecode(v) for v in values if isinstance(v, str | bytes | os.PathLike)]
            if not all(self._ours(os.path.abspath(p)) for p in paths):
                self.seen.append(f"{event} {paths}")
        elif event == "subprocess.Popen":
            words = [str(w) for w in values[1]] if isinstance(values[1], list | tuple) else [str(values[1])]
            # What was exported as source is run without rcproof, to compare: it is we who wrote it.
            apart = words[1:2] == ["-c"] and 'sys.modules["rcproof"] = None' in words[2]
            if not apart and not any(w.endswith("hdf5_child.py") for w in words):
                self.seen.append(f"ran {words}")
        elif event == "marshal.loads":
            if not sys._getframe(1).f_code.co_filename.startswith("<frozen importlib"):
                self.seen.append("read bytecode")
        elif event.startswith(("os.system", "os.exec", "os.spawn", "socket.", "ctypes.call", "code.__new__")):
            self.seen.append(event)

    def _ours(self, path: str) -> bool:
        return path == str(self.tmp) or path.startswith((f"{self.case}/", f"{self.tmp}/", "/dev/null"))


def _words(seed: Seed, wrapping: bool) -> list[str]:
    """The options of the command line that say what ``seed.options`` says."""
    del wrapping
    words: list[str] = []
    for name in ("model", "arch", "architecture"):
        if name in seed.options:
            words += [f"--{name}", seed.options[name]]
    if "model_args" in seed.options:
        words += ["--model-args", json.dumps(seed.options["model_args"])]
    for name, what in seed.options.get("lambdas", {}).items():
        words += ["--lambda", f"{name}={what}"]
    return words


def mismatched(rng: random.Random, seed: Seed) -> ReadOptions:
    """Options that are not this file's."""
    odd = rng.randrange(8)
    if odd == 0:
        return ReadOptions()
    if odd == 1:
        return ReadOptions(arch=rng.choice(("bpnet-lite", "chrombpnet", "factornet", "deepsea", "explainn", "no-such")))
    if odd == 2:
        return ReadOptions(architecture=seed.main)
    if odd == 3:
        return ReadOptions(**{**seed.options, "architecture": rng.choice(("nowhere.json", "..", "/etc", seed.main))})
    if odd == 4:
        words = ("rc", "crop:1,1", "crop:-1,99999", "slice:1,0", "exec", "identity", "flip-length", "crop:x,y", "")
        return ReadOptions(**{**seed.options, "lambdas": {rng.choice(("*", "same", "rc", "[")): rng.choice(words)}})
    if odd == 5:
        return ReadOptions(arch="bpnet-lite", model_args={"trimming": rng.choice((-1, 10**9, "x", None, 2.5))})
    if odd == 6:
        return ReadOptions(model="tests.checkpoints.fuzzing.torch_nets:Wide")
    return ReadOptions(**{**seed.options, "arch": "explainn"})


# -- running ---------------------------------------------------------------------------------------
class _Count(TorchDispatchMode):
    """Stops a network that makes too many values."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = self.steps = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.steps += 1
        self.elements += sum(t.numel() for t in tensors(result))
        if self.elements > ELEMENTS or self.steps > STEPS:
            raise TooLarge
        return result


def answer(model: torch.nn.Module, shapes: Sequence[Sequence[int]], count: int = 2) -> list[Tensor]:
    """What a network gives for inputs that are always the same; :class:`TooLarge` if that would take too much."""
    if sum(math.prod(shape) for shape in shapes) > ELEMENTS:
        raise TooLarge
    dtype = next((p.dtype for p in [*model.parameters(), *model.buffers()] if p.is_floating_point()), torch.float32)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand((count, *shape), generator=generator).to(dtype) for shape in shapes]
    with torch.no_grad():
        with contextlib.suppress(RuntimeError, NotImplementedError, RcproofError), _Count():
            copy.deepcopy(model).to("meta")(*(x.to("meta") for x in inputs))
        return tensors(model(*inputs))


def _answer_of_any(found: Any, seed: Seed) -> list[Tensor]:
    """The answer for two examples, or for one where the network is fixed to that."""
    shapes = found.shapes or seed.shapes
    try:
        return answer(found.model, shapes)
    except RuntimeError:
        return answer(found.model, shapes, 1)


def tensors(value: Any) -> list[Tensor]:
    """The tensors in a structure."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors(v)] if isinstance(value, list | tuple) else []


# -- words and numbers -----------------------------------------------------------------------------
def _line(text: str, reserves: bool = False) -> None:
    """An error as it must be: one printable line that is not too long, and not about memory."""
    if not text or len(text) > LINE:
        raise Failure(f"an error of {len(text)} characters: {text[:200]}… {text[-100:]}")
    if not text.isprintable():
        raise Failure(f"an error with control characters: {text!r}")
    if not reserves and _NO_MEMORY.search(text):
        raise Failure(f"asked for too much memory: {text}")


def _told(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "rcproof" in f.filename] or [None]
    where = "" if frames[-1] is None else f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
    return f"{type(error).__name__}: {str(error)[:300]!r}{where}"


def _memory(name: str) -> int:
    """Of this process, in bytes: ``VmRSS`` now, ``VmHWM`` at most, ``VmSize``."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(f"{name}:"))


def _forget_peak() -> None:
    """Let ``VmHWM`` begin anew."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def limited() -> None:
    """Bound what this process may take from here on."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + ADDRESSES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def cases(
    found: Sequence[Seed], seed: int, numbers: Sequence[int]
) -> Iterator[tuple[int, Seed, str, Files, random.Random]]:
    """Files by their numbers: the formats in turn, every other file made on purpose, the rest at random."""
    orders = []
    for one in found:
        names = list(one.crafted)
        random.Random(f"{seed} {one.format}").shuffle(names)
        orders.append(names)
    for number in numbers:
        turn, at = divmod(number, len(found))
        one, names = found[at], orders[at]
        rng = random.Random(f"{seed} {number}")
        if turn % 2 == 0 and turn // 2 < len(names):
            name = names[turn // 2]
            yield number, one, name, one.crafted[name](), rng
        else:
            what, files = one.draw(rng)
            yield number, one, what, files, rng


def as_line(number: int, seed: Seed, what: str, verdict: Verdict, seconds: float) -> str:
    """A verdict as one line of JSON."""
    return json.dumps({"number": number, "format": seed.format, "what": what, "seconds": seconds, **asdict(verdict)})
