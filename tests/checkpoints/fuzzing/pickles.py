"""Pickles that would do something if anybody loaded them, and pickles of torch with other opcodes."""

from __future__ import annotations

import io
import marshal
import pickle
import pickletools
import random
import struct
import zipfile
from typing import Any

import torch

from tests.checkpoints.fuzzing.zips import zipped


class Touch:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: str, how: str = "mkdir") -> None:
        self.marker, self.how = marker, how

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        if self.how == "exec":
            return exec, (f"import os; os.mkdir({self.marker!r})",)
        if self.how == "eval":
            return eval, (f"__import__('os').mkdir({self.marker!r})",)
        if self.how == "system":
            return os.system, (f"mkdir {self.marker}",)
        return os.mkdir, (self.marker,)


def payloads(marker: str) -> dict[str, bytes]:
    """Whole pickles, by how they would run."""
    text = marker.encode()
    made = {how: pickle.dumps(Touch(marker, how), 2) for how in ("mkdir", "exec", "eval", "system")}
    made["protocol 0"] = pickle.dumps(Touch(marker), 0)
    made["protocol 5"] = pickle.dumps(Touch(marker), 5)
    made["INST"] = b"(S'" + text + b"'\nios\nmkdir\n."
    made["OBJ"] = b"(cos\nmkdir\nS'" + text + b"'\no."
    made["in a dict"] = pickle.dumps({"weight": Touch(marker)}, 2)
    made["before tensors"] = pickle.dumps([Touch(marker), {"weight": 1.0}], 2)
    made["STACK_GLOBAL"] = b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c" + bytes([len(text)]) + text + b"\x85R."
    return made


def bytecode(marker: str) -> bytes:
    """What Keras keeps of a Lambda: a marshalled function; this one makes a folder when it is called."""
    code = compile(f"def f(x):\n    import os\n    os.mkdir({marker!r})\n    return x\n", "<x>", "exec")
    return marshal.dumps(next(c for c in code.co_consts if hasattr(c, "co_code")))


def saved(value: Any, legacy: bool = False, protocol: int = 2) -> bytes:
    """What ``torch.save`` writes."""
    target = io.BytesIO()
    torch.save(value, target, _use_new_zipfile_serialization=not legacy, pickle_protocol=protocol)
    return target.getvalue()


def archive_with(data: bytes, marker: str) -> bytes:
    """A file of torch whose pickle is this one."""
    del marker
    return zipped({"archive/data.pkl": data, "archive/version": b"3\n", "archive/byteorder": b"little"})


def legacy_with(data: bytes) -> bytes:
    """A file of torch before zip archives whose contents are this pickle."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    return magic + pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2) + data + pickle.dumps([], 2)


# -- other opcodes -----------------------------------------------------------------------------------------------------
_INTEGERS = (0, 1, -1, 2, 3, 5, 7, 255, 2**16, 2**20, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63, -(2**63), 10**30)
_TEXTS = (
    *("", "weight", "storage", "cpu", "cuda", "cuda:7", "meta", "0", "1", "../../escape", "/etc/hostname", "\x1b[31m"),
    *("A" * 3000, "state_dict", "a\nb", "__class__", "conv.weight", "é"),
)
_GLOBALS = (
    *("os system", "builtins eval", "builtins exec", "torch FloatStorage", "torch LongStorage", "torch BoolStorage"),
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter", "torch._utils _rebuild_sparse_tensor"),
    *("torch._utils _rebuild_qtensor", "torch._utils _rebuild_meta_tensor_no_storage", "collections OrderedDict"),
    *("torch._tensor _rebuild_from_type_v2", "torch.nn.parameter Parameter", "torch Size", "torch Tensor"),
    *("torch.storage UntypedStorage", "torch.storage _load_from_bytes", "torch float16", "builtins bytearray"),
    *("_codecs encode", "collections Counter", "torch ComplexFloatStorage", "torch.distributed.rpc PyRRef", "x y"),
)


def integer(value: int) -> bytes:
    """An opcode that pushes a number."""
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    coded = value.to_bytes((value.bit_length() // 8) + 1, "little", signed=True)
    return b"\x8a" + bytes([len(coded)]) + coded


def string(value: str) -> bytes:
    """An opcode that pushes a text."""
    coded = value.encode()
    return b"X" + struct.pack("<I", len(coded)) + coded


def operations(data: bytes) -> list[bytes]:
    """A pickle opcode by opcode."""
    starts = [position or 0 for _, _, position in pickletools.genops(data)]
    return [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]


def changed(rng: random.Random, data: bytes) -> bytes:
    """A pickle with one opcode, or a few, changed."""
    found = operations(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(found))
        kind = rng.random()
        chosen = [i for i, op in enumerate(found) if op[:1] in b"KMJX" and op]
        if kind < 0.55 and chosen:
            at = rng.choice(chosen)
            found[at] = integer(rng.choice(_INTEGERS)) if found[at][:1] in b"KMJ" else string(rng.choice(_TEXTS))
        elif kind < 0.7:
            names = [i for i, op in enumerate(found) if op[:1] == b"c"] or [at]
            found[rng.choice(names)] = b"c" + rng.choice(_GLOBALS).replace(" ", "\n").encode() + b"\n"
        elif kind < 0.78:
            del found[at]
        elif kind < 0.86:
            found.insert(at, found[at])
        elif kind < 0.93:
            other = rng.randrange(len(found))
            found[at], found[other] = found[other], found[at]
        else:
            found.insert(at, rng.choice((b"0", b"2", b"(", b"t", b"N", b"]", b"}", b"R", b"b", b"Q", b"\x81", b"\x85")))
        if not found:
            return b"."
    return b"".join(found)


def repickled(rng: random.Random, data: bytes) -> bytes:
    """A file of torch (an archive, or of old) in which the pickle has other opcodes, and all else is sound."""
    if data.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            content = {info.filename: archive.read(info) for info in archive.infolist()}
        name = next(n for n in content if n.endswith("data.pkl"))
        return zipped({**content, name: changed(rng, content[name])})
    parts, rest = [], data
    for _ in range(5):  # a magic number, a version, the system, the contents, the keys of the storages
        target = io.BytesIO(rest)
        for op, _, _ in pickletools.genops(target):
            if op.name == "STOP":
                break
        parts.append(rest[: target.tell()])
        rest = rest[target.tell() :]
    at = rng.choice((0, 1, 2, 3, 3, 3, 3, 3, 4))
    parts[at] = changed(rng, parts[at])
    return b"".join(parts) + rest
