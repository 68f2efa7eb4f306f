"""What convolution and pooling share: windows along the length, and images of which one axis is the length."""

from __future__ import annotations

from dataclasses import dataclass

from rcproof.checkpoints.keras.build import LARGEST, Site, Value


@dataclass(frozen=True)
class Windows:
    """Windows of ``size`` positions, ``dilation`` apart, every ``stride``, beginning ``left`` before the input."""

    size: int
    stride: int
    dilation: int = 1
    left: int = 0
    right: int = 0

    @property
    def span(self) -> int:
        """How many positions a window covers."""
        return self.dilation * (self.size - 1) + 1

    def count(self, steps: int | None) -> int | None:
        """How many windows there are."""
        return None if steps is None else (steps + self.left + self.right - self.span) // self.stride + 1


def windows(site: Site, steps: int | None, size: int, stride: int, dilation: int = 1, pool: bool = False) -> Windows:
    """Windows as the layer's ``padding`` lays them over ``steps`` positions, in the backend that wrote the file.

    ``same`` gives ⌈steps / stride⌉ windows. TensorFlow splits the padding that they need, with the odd position at the
    right, so that with a stride it depends on the length. Theano begins half a window before the input, and a pooling
    window at size − 2 if the size is odd, else at size − 1.
    """
    for key, number in (("size of the window", size), ("stride", stride), ("dilation", dilation)):
        if not 1 <= number < 1 << 31:
            raise site.error(key, got=number, expected="at least 1")
    plain = Windows(size, stride, dilation)
    padding = site.get("padding", "valid")
    if padding == "valid":
        laid = plain
    elif padding == "causal" and not pool:
        laid = Windows(size, stride, dilation, plain.span - 1, 0)
    elif padding == "same":
        laid = _same(site, steps, plain, pool)
    else:
        raise site.error("padding", got=repr(padding)[:60], expected="valid, same" + ("" if pool else " or causal"))
    if max(laid.left, laid.right) > LARGEST:
        raise site.error("padding", got=f"{max(laid.left, laid.right)} positions", expected="fewer")
    if steps is not None and (laid.count(steps) or 0) < 1:
        raise site.error("windows", got=f"{plain.span} positions over a length of {steps}", expected="at least one")
    return laid


def _same(site: Site, steps: int | None, plain: Windows, pool: bool) -> Windows:
    theano = site.model.backend.lower() == "theano"
    if steps is None and plain.stride > 1:
        raise site.error("padding='same' with a stride", got="an open length", expected="a fixed one")
    # With a stride of 1 the length cancels.
    length = steps or 0
    needed = (-(-length // plain.stride) - 1) * plain.stride + plain.span - length
    if not theano:
        total = max(needed, 0)
        left = total // 2
    elif not pool:
        left = plain.span // 2
    else:
        left = plain.size - 2 if plain.size > 2 and plain.size % 2 else plain.size - 1
    return Windows(plain.size, plain.stride, plain.dilation, left, max(needed - left, 0))


def pair(site: Site, key: str, default: object = None) -> tuple[int, int]:
    """An argument that is two whole numbers, or one that stands for both."""
    found = site.get(key, default)
    both = [found, found] if isinstance(found, int) else found
    if (
        not isinstance(both, list | tuple)
        or len(both) != 2
        or any(isinstance(n, bool) or not isinstance(n, int) for n in both)
    ):
        raise site.error(key, got=repr(found)[:60], expected="two whole numbers")
    return both[0], both[1]


@dataclass(frozen=True)
class Plane:
    """The axes of an image: ``channel``, and the spatial one beside the length, ``other``.

    ``along``: which of two numbers of the layer is for the length (the other, ``1 - along``, is for ``other``).
    """

    channel: int
    other: int
    along: int


def plane(site: Site, value: Value) -> Plane:
    """The axes of an image as this layer sees them; an error where it takes the length for channels."""
    channel = 0 if site.get("data_format", "channels_last") == "channels_first" else 2
    if value.length == channel:
        raise site.error(
            "image", got=f"shape {value.shape} with axis {value.length} as the length", expected="channels elsewhere"
        )
    spatial = [i for i in range(3) if i != channel]
    along = spatial.index(value.length)
    return Plane(channel, spatial[1 - along], along)


def sequence_of(site: Site) -> Value:
    """The only input, a sequence with its channels where ``data_format`` says."""
    first = site.get("data_format", "channels_last") == "channels_first"
    return site.sequence(1 if first else 0)


def with_sizes(value: Value, sizes: dict[int, int | None]) -> tuple[int | None, ...]:
    """The shape of ``value`` with other sizes of some axes."""
    return tuple(sizes.get(i, n) for i, n in enumerate(value.shape))
