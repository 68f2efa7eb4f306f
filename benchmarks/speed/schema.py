"""What a result file holds, and a check that one does.

``speed-<suite>-<device>.json``::

    {"format": 1, "suite": "full", "device": "cpu", "seed": 1, "complete": true, "started": "…Z", "finished": "…Z",
     "machine": {"device": …, "cores": 2, "threads": 2, "system": …, "python": …, "versions": {…}, "revision": …},
     "limits": {"copy_bytes_per_second": …, "matmul_flops_per_second": …},
     "cells": [{"id": …, "group": …, "network": …, "kind": "forward", "batch": …, "length": …, "sizes": {…},
                "dtype": "fp32", "mode": "eager", "axis": "", "reference": …, "rounds": …, "others": …,
                "agreement": …, "missing": [], "execution": {…}, "cost": {name: {"flops", "bytes", "product_bytes"}},
                "floor": {name: {"compute", "memory", "floor"}},
                "contenders": {name: {"median", "low", "high", "ratio", "ratio_low", "ratio_high", "peak_bytes"}}}
               | {"id": …, …, "error": "out of memory"}],
     "start_up": {"import_rcproof": …, …}, "conversion": {…}}

Times are seconds, memory bytes. ``contenders`` holds the reference twice, the second time as ``itself``: its ratio and
quartiles are the noise. ``others`` is how many processors other programs kept busy while the cell was timed.
"""

from __future__ import annotations

from typing import Any

FORMAT = 1

_TOP = {
    "format": int, "suite": str, "device": str, "seed": int, "complete": bool, "started": str, "machine": dict,
    "limits": dict, "cells": list,
}  # fmt: skip
_CELL = {
    "id": str, "group": str, "network": str, "kind": str, "batch": int, "length": int, "sizes": dict, "dtype": str,
    "mode": str, "axis": str,
}  # fmt: skip
_MEASURED = {"reference": str, "rounds": int, "agreement": float, "contenders": dict, "cost": dict, "floor": dict}
_TIMES = ("median", "low", "high", "ratio", "ratio_low", "ratio_high")


def problems(data: Any) -> list[str]:
    """What is wrong with a result file; nothing, if it is right."""
    found = _kinds(data, _TOP, "the file")
    if found:
        return found
    if data["format"] != FORMAT:
        return [f"format {data['format']}, not {FORMAT}"]
    if not all(isinstance(v, float) and v > 0 for v in data["limits"].values()):
        found.append("limits are no positive numbers")
    for i, cell in enumerate(data["cells"]):
        where = f"cell {i}"
        found += _kinds(cell, _CELL, where)
        if "error" in cell or found:
            continue
        found += _kinds(cell, _MEASURED, where)
        if found:
            continue
        if cell["reference"] not in cell["contenders"] or "itself" not in cell["contenders"]:
            found.append(f"{where}: no reference among the contenders")
        for name, times in cell["contenders"].items():
            if not all(isinstance(times.get(k), float) and times[k] > 0 for k in _TIMES):
                found.append(f"{where}: times of {name!r}")
            elif not times["low"] <= times["median"] <= times["high"]:
                found.append(f"{where}: quartiles of {name!r} out of order")
    ids = [c["id"] for c in data["cells"] if "id" in c]
    if len(set(ids)) != len(ids):
        found.append("two cells have one id")
    return found


def _kinds(value: Any, expected: dict[str, type], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no object"]
    return [f"{where}: {key!r}" for key, kind in expected.items() if not isinstance(value.get(key), kind)]
