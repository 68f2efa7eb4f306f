"""The functions that an exported program may call: aten's, by name, and what each becomes in a network.

Most are one function under another name and stand in a table; the others have a rule of their own. A file can only name
what stands here.
"""

from __future__ import annotations

from typing import Any

from rcproof.checkpoints.exported.program import _DECOMPOSE, Args, Program, Rule
from rcproof.errors import CheckpointError

RULES: dict[str, Rule] = {}


def rule(*names: str) -> Any:
    """Register a rule for functions of aten, by name, with or without the overload."""

    def register(function: Rule) -> Rule:
        for name in names:
            for one in name.split():
                assert one not in RULES, one
                RULES[one] = function
        return function

    return register


#: Name in aten (with the overload where it matters), name in ``OPS``, arguments in order.
_TABLE = """
relu sigmoid tanh exp exp2 log log1p log2 log10 expm1 sqrt rsqrt abs neg square sin cos sinh cosh asinh acosh \
atanh asin acos atan erf erfc erfinv reciprocal sign floor ceil trunc frac selu sinc lgamma digamma isnan isinf \
logical_not | torch.* | self
relu6 silu mish hardswish hardsigmoid | F.* | self
round | torch.round | self
log_sigmoid | F.logsigmoid | self
bitwise_not | torch.logical_not | self
gelu | F.gelu | self approximate
leaky_relu | F.leaky_relu | self negative_slope
celu | F.celu | self alpha
hardtanh | F.hardtanh | self min_val max_val
softplus | F.softplus | self beta threshold
hardshrink softshrink | F.* | self lambd
threshold | F.threshold | self threshold value
glu | F.glu | self dim
logit | torch.logit | self eps
clamp clip | torch.* | self min max
clamp_min | torch.clamp_min | self min
clamp_max | torch.clamp_max | self max
nan_to_num | torch.nan_to_num | self nan posinf neginf
sub subtract rsub | torch.* | self other alpha
mul multiply maximum minimum fmax fmin fmod remainder atan2 hypot logaddexp xlogy eq ne gt ge lt le logical_and \
logical_or floor_divide true_divide max.other min.other | torch.* | self other
bitwise_and __and__ | torch.logical_and | self other
bitwise_or __or__ | torch.logical_or | self other
div divide | torch.* | self other rounding_mode
pow | torch.pow | self exponent
lerp | torch.lerp | self end weight
addcmul addcdiv | torch.* | self tensor1 tensor2 value
where | torch.where | condition self other
masked_fill | Tensor.masked_fill | self mask value
mean sum nansum nanmean | torch.* | self dim keepdim dtype
amax amin logsumexp all any argmax argmin max min median | torch.* | self dim keepdim
prod | torch.prod | self dim keepdim dtype
std var | torch.* | self dim unbiased correction keepdim
norm | torch.norm | self p dim keepdim
cumsum cumprod | torch.* | self dim dtype
logcumsumexp | torch.logcumsumexp | self dim
softmax | torch.softmax | self dim dtype
log_softmax | torch.log_softmax | self dim dtype
flip | torch.flip | self dims
roll | torch.roll | self shifts dims
sort | torch.sort | self dim descending
topk | torch.topk | self k dim largest sorted
index_select | torch.index_select | self dim index
narrow | torch.narrow | self dim start length
select | torch.select | self dim index
split | torch.split | self split_size dim
split_with_sizes | torch.split | self split_sizes dim
chunk | torch.chunk | self chunks dim
unbind | torch.unbind | self dim
unflatten | Tensor.unflatten | self dim sizes
flatten | torch.flatten | self start_dim end_dim
repeat | Tensor.repeat | self repeats
tile | torch.tile | self dims
cat concat concatenate stack | torch.* | tensors dim
pad | F.pad | self pad mode value
constant_pad_nd | F.pad | self pad value
zeros_like ones_like | torch.* | self dtype
full_like | torch.full_like | self fill_value dtype
"""

PLAIN: dict[str, tuple[str, list[str]]] = {}
for _line in _TABLE.replace("\\\n", "").strip().splitlines():
    _names, _function, _parameters = (part.strip() for part in _line.split("|"))
    for _name in _names.split():
        PLAIN[_name] = _function.replace("*", _name.partition(".")[0]), _parameters.split()

#: Arguments that say where and how memory lies, or which kernel runs.
_MUTE = ("memory_format", "device", "layout", "pin_memory", "non_blocking", "copy", "cudnn_enabled", "cudnn_enable",
         "implicit")  # fmt: skip

#: Steps that check and return nothing.
_CHECKS = ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range",
           "sym_constrain_range_for_size")  # fmt: skip

_SYMBOLIC = {
    "add": "operator.add", "sub": "operator.sub", "mul": "operator.mul", "floordiv": "operator.floordiv",
    "truediv": "operator.truediv", "mod": "operator.mod", "pow": "operator.pow", "neg": "operator.neg",
    "eq": "operator.eq", "ne": "operator.ne", "gt": "operator.gt", "ge": "operator.ge", "lt": "operator.lt",
    "le": "operator.le", "and_": "operator.and_", "or_": "operator.or_", "trunc": "builtins.int",
    "sym_int": "builtins.int", "sym_float": "builtins.float", "sym_max": "builtins.max", "sym_min": "builtins.min",
    "sym_not": "", "sym_sqrt": "",
}  # fmt: skip


def run(program: Program, args: Args, target: str) -> Any:
    """What a step gives: a value, several, or ``...`` for a step that only checks."""
    import rcproof.checkpoints.exported.aten_layers
    import rcproof.checkpoints.exported.aten_shapes  # noqa: F401 (both register their rules)

    args.used.update(_MUTE)
    owner, _, name = target.removeprefix("torch.ops.").partition(".")
    if owner in ("_operator", "math", "torch") and name in _SYMBOLIC:
        return _symbolic(program, args, name)
    full = name
    base, _, overload = name.partition(".")
    if owner != "aten":
        raise args.refuse("a function that has no form here", "functions of aten", _DECOMPOSE)
    if base in _CHECKS:
        return ...
    if base.endswith("_") and not base.endswith("__"):
        base = base.rstrip("_")
        full = f"{base}.{overload}"
    found = RULES.get(full) or RULES.get(base)
    if found is not None:
        return found(program, args)
    plain = PLAIN.get(full) or PLAIN.get(base)
    if plain is None:
        raise CheckpointError(
            f"function {args.what[:80]!r} of the program", got="none that has a form here", fix=_DECOMPOSE
        )
    return plainly(program, args, *plain)


def plainly(program: Program, args: Args, function: str, parameters: list[str]) -> Any:
    """A function under another name: leading arguments by position, the others by name."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for i, parameter in enumerate(parameters):
        if parameter not in args.values or (parameter == "dtype" and args(parameter) is None):
            continue
        value = args(parameter)
        if i == len(positional) and not named and parameter not in _BY_NAME:
            positional.append(value)
        else:
            named[parameter] = value
    if not positional:
        raise args.refuse("no arguments")
    return program.call(function, *positional, **named)


# In torch these are keywords only, or stand elsewhere than in aten.
_BY_NAME = ("approximate", "alpha", "rounding_mode", "value", "dtype", "keepdim", "unbiased", "correction", "beta",
            "threshold", "largest", "sorted", "descending", "nan", "posinf", "neginf")  # fmt: skip


def _symbolic(program: Program, args: Args, name: str) -> Any:
    """Arithmetic on sizes."""
    values = [args(key) for key in args.values]
    if name == "sym_not":
        return program.call("operator.eq", values[0], False)
    if name == "sym_sqrt":
        return program.call("operator.pow", values[0], 0.5)
    return program.call(_SYMBOLIC[name], *values)
