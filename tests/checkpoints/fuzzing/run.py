"""Trying many files: a process that tries them, and one that starts it anew where it dies, and counts."""

from __future__ import annotations

import argparse
import faulthandler
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

#: A file that takes longer hangs.
SECONDS = 20.0
#: What Python runs to try files.
PROGRAM = ("-m", "tests.checkpoints.fuzzing", "--trying")


def trying(seed: int, begin: int, end: int, seconds: float, box: str) -> None:
    """The process that tries: a line of JSON before and after each file."""
    import torch

    torch.set_num_threads(1)
    from tests.checkpoints.fuzzing.judge import Judge, as_line, cases, limited
    from tests.checkpoints.fuzzing.seeds import seeds

    judge = Judge(Path(box))
    found = seeds(judge.danger)
    limited()
    for number, one, what, files, rng in cases(found, seed, range(begin, end)):
        _say(json.dumps({"begin": number, "format": one.format, "what": what}))
        faulthandler.dump_traceback_later(seconds, exit=True)
        started = time.monotonic()
        verdict = judge.check(one, files, rng)
        faulthandler.cancel_dump_traceback_later()
        _say(as_line(number, one, what, verdict, time.monotonic() - started))


def _say(text: str) -> None:
    sys.__stdout__.write(text + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


def results(
    seed: int, begin: int, end: int, seconds: float = SECONDS, program: Sequence[str] = PROGRAM
) -> Iterator[dict[str, Any]]:
    """What became of each file from ``begin`` to ``end``; see :class:`~tests.checkpoints.fuzzing.judge.Verdict`.

    A file with which the process died, or which took longer than ``seconds``, is a failure; the next one is tried by
    another process.
    """
    while begin < end:
        with tempfile.TemporaryDirectory(prefix="fuzz") as folder, tempfile.TemporaryFile() as errors:
            words = [str(w) for w in (seed, begin, end, seconds, Path(folder) / "box")]
            process = subprocess.Popen(
                [sys.executable, "-W", "ignore", *program, *words],
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
            assert process.stdout is not None
            at: dict[str, Any] | None = None
            try:
                for line in process.stdout:
                    told = json.loads(line)
                    if "begin" in told:
                        at = told
                        continue
                    begin, at = told["number"] + 1, None
                    yield told
            finally:
                process.kill()
                code = process.wait()
                process.stdout.close()
            if begin >= end:
                return
            errors.seek(0)
            text = errors.read().decode("utf-8", "replace")
            if at is None:
                raise RuntimeError(f"the fuzzing itself failed: {text[-3000:]}")
            begin = at["begin"] + 1
            why = f"more than {seconds:g} seconds" if "Timeout (" in text else f"the process ended with {code}"
            yield {"number": at["begin"], "format": at["format"], "what": at["what"], "outcome": "failure",
                   "seconds": seconds,
                   "entries": 1, "megabytes": 0.0, "why": f"{why}: {_stack(text)}"}  # fmt: skip


def _stack(text: str) -> str:
    """The innermost frames of ours in what faulthandler wrote."""
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("File ")]
    ours = [line for line in lines if "/rcproof/" in line] or lines
    return " < ".join(ours[:6])[:600]


def parallel(seed: int, count: int, seconds: float, workers: int, seen: Callable[[dict[str, Any]], None]) -> None:
    """Try ``count`` files in several processes; ``seen`` is called with each result, by one thread at a time."""
    lock, errors = threading.Lock(), list[BaseException]()
    size = -(-count // workers)

    def work(first: int) -> None:
        try:
            for told in results(seed, first, min(count, first + size), seconds):
                with lock:
                    seen(told)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, count, size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def main() -> int:
    """``python -m tests.checkpoints.fuzzing --count 2500 --seed 0``."""
    if sys.argv[1:2] == ["--trying"]:
        seed, begin, end, seconds, box = sys.argv[2:]
        trying(int(seed), int(begin), int(end), float(seconds), box)
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.checkpoints.fuzzing", description=__doc__)
    parser.add_argument("--count", type=int, default=2500, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a file that takes longer hangs")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--log", help="a file for all results, a line of JSON each")
    chosen = parser.parse_args()
    return _show(chosen)


def _show(chosen: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=120)
    found: list[dict[str, Any]] = []
    started = time.monotonic()
    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
               TextColumn("{task.description}"))  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("no failures", total=chosen.count)

        def seen(told: dict[str, Any]) -> None:
            found.append(told)
            if chosen.log:
                with open(chosen.log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(told) + "\n")
            if told["outcome"] == "failure":
                bar.console.print(f"{told['number']} {told['format']}: {told['what']}: {told['why']}", markup=False,
                                  highlight=False)  # fmt: skip
            failures = sum(1 for t in found if t["outcome"] == "failure")
            bar.update(task, advance=1, description=f"{failures or 'no'} failures")

        parallel(chosen.seed, chosen.count, chosen.seconds, chosen.workers, seen)
    outcomes = ("refused", "same", "another", "unfit", "failure")
    table = Table(title=f"{len(found)} files, seed {chosen.seed}, {time.monotonic() - started:.0f} s")
    for name in (
        "format",
        "files",
        "tries",
        "refused",
        "same answer",
        "another network",
        "unfit",
        "failures",
        "most s",
        "most MB",
    ):
        table.add_column(name, justify="left" if name == "format" else "right", no_wrap=name == "format")
    names = [*dict.fromkeys(t["format"] for t in sorted(found, key=lambda t: t["number"])), "all"]
    for name in names:
        mine = [t for t in found if name in (t["format"], "all")]
        counts = [sum(1 for t in mine if t["outcome"] == outcome) for outcome in outcomes]
        table.add_row(name, str(len(mine)), str(sum(t["entries"] for t in mine)), *map(str, counts),
                      f"{max(t['seconds'] for t in mine):.1f}", f"{max(t['megabytes'] for t in mine):.0f}")  # fmt: skip
    console.print(table)
    return 1 if any(t["outcome"] == "failure" for t in found) else 0
