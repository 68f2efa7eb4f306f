"""What cannot be converted is refused, in one line that names the step, its line and what would help."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rcproof.conjoined import Conjoined
from rcproof.convert import ConvertConfig, convert
from rcproof.errors import ConversionError, RcproofError, ShapeError, TraceError, VerificationError
from tests.convert import holding

MIXES = (
    "Both strands ride in one batch, so every step must treat each example on its own: rewrite the step, or name the "
    "submodule around it in leaves=[…] if it does treat examples one by one"
)


class Net(nn.Module):
    """A convolution, and then a function of it."""

    def __init__(self, step: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.conv, self.step = nn.Conv1d(4, 6, 3), step
        self.register_buffer("table", torch.randn(6, 6))
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.step(self, self.conv(x))


def refusal(net: nn.Module, outputs: Any = "reversal", **config: Any) -> str:
    """The one line with which the network is refused; nothing about it has changed."""
    torch.manual_seed(0)
    model = Conjoined(net, outputs=outputs).eval()
    before = holding.state_of(model)
    with pytest.raises(RcproofError) as error:
        convert(model, ConvertConfig(**{"input_shapes": [(4, 20)], "verify": False, **config}))
    assert holding.state_of(model) == before
    text = str(error.value)
    assert "\n" not in text
    return text


def padded(net: nn.Module, h: Tensor) -> Tensor:
    return F.pad(h, (0, 0, 0, 0, 1, -1))


def counted(net: nn.Module, h: Tensor) -> Tensor:
    return h / h.shape[0]


def cropped_by_the_batch(net: nn.Module, h: Tensor) -> Tensor:
    n, _, _ = h.shape
    return h[:, :, :n]


MIXING: dict[str, tuple[Callable[..., Any], str]] = {
    "mean of everything": (lambda s, h: h * h.mean(), "Tensor.mean without dim works over all axes, the examples"),
    "mean over the batch": (lambda s, h: h - h.mean(0), "it works along axis 0, the axis of the examples"),
    "mean over a negative axis": (lambda s, h: h - h.mean(dim=(-1, -3), keepdim=True), "it works along axis 0"),
    "maximum of everything": (lambda s, h: h.amax(dim=()) * h, "it mixes examples"),
    "flip": (lambda s, h: h.flip(0), "it works along axis 0, the axis of the examples"),
    "flip of several axes": (lambda s, h: h.flip(1, 0), "it works along axis 0, the axis of the examples"),
    "torch.flip": (lambda s, h: torch.flip(h, dims=(0,)), "it works along axis 0, the axis of the examples"),
    "roll of everything": (lambda s, h: h.roll(1), "Tensor.roll without dim works over all axes"),
    "roll": (lambda s, h: torch.roll(h, (1, 1), (2, 0)), "it works along axis 0, the axis of the examples"),
    "cumulative sum": (lambda s, h: h.cumsum(0), "it works along axis 0, the axis of the examples"),
    "view": (lambda s, h: h.view(-1, 6), "it reshapes 5 examples to shape (90, 6): the batch does not stay in front"),
    "reshape of moved axes": (lambda s, h: h.transpose(0, 1).reshape(6, -1), "it reshapes a tensor whose examples are"),
    "flatten": (lambda s, h: h.flatten(), "the batch does not stay in front"),
    "softmax over the batch": (lambda s, h: h.softmax(0), "it works along axis 0, the axis of the examples"),
    "softmax of moved axes": (lambda s, h: torch.softmax(h.permute(2, 1, 0), -1), "it works along axis 2, the axis"),
    "select": (lambda s, h: h.select(0, 0), "it works along axis 0, the axis of the examples"),
    "one example": (lambda s, h: h * h[0], "it picks out one example"),
    "every second example": (lambda s, h: h[::2], "it takes a slice of the examples"),
    "index by a tensor": (lambda s, h: h[s.table.long()], "it indexes with a tensor; use index_select along one axis"),
    "chunks of the batch": (lambda s, h: h.chunk(2)[0], "it works along axis 0, the axis of the examples"),
    "cat": (lambda s, h: torch.cat([h, h]), "it joins along axis 0, the axis of the examples"),
    "repeat": (lambda s, h: h.repeat(2, 1, 1), "the batch does not stay in front|from 5 examples it makes"),
    "expand in front": (lambda s, h: h.expand(3, 5, 6, 18), "expand adds axes in front of the examples"),
    "squeeze": (lambda s, h: h.mean(2).squeeze(), "squeeze() without dim also drops the axis of a single example"),
    "squeeze of the batch": (lambda s, h: h.squeeze(0), "it squeezes axis 0, the axis of the examples"),
    "batch against channels": (lambda s, h: h.mean(2)[:, :5].t() + h.mean(2)[:, :5], "it broadcasts the examples"),
    "product over the batch": (lambda s, h: h.mean(2).t() @ h.mean(2), "a matrix product of two tensors that depend"),
    "matrix over the batch": (lambda s, h: h.mean(2).t() @ h.new_ones(5, 3), "a matrix product that sums over the"),
    "einsum": (lambda s, h: torch.einsum("ncl,mcl->nm", h, h), "einsum sums over the examples, or pairs them"),
    "einsum without an arrow": (lambda s, h: torch.einsum("ncl,cd", h, s.table), "einsum needs an explicit '->'"),
    "number of examples": (counted, "its result depends on how many examples there are"),
    "length by the batch": (cropped_by_the_batch, "its result depends on how many examples there are"),
    "padding of the batch": (padded, "it pads the axis of the examples"),
    "batch statistics": (lambda s, h: F.batch_norm(h, None, None, training=True), "batch_norm in training mode mixes"),
    "norm over all": (lambda s, h: F.layer_norm(h, (5, 6, 18)), "layer_norm over all axes mixes examples"),
    "classes of the batch": (lambda s, h: F.one_hot(h.argmax(1)), "one_hot without num_classes counts the classes"),
    "attention over the batch": (
        lambda s, h: F.scaled_dot_product_attention(h.permute(1, 0, 2), h.permute(1, 0, 2), h.permute(1, 0, 2)),
        "attention needs the examples on axis 0",
    ),
    "convolution along the batch": (lambda s, h: F.conv1d(h.permute(2, 1, 0), s.table[:, :, None]), "conv1d needs the"),
    "dense across the batch": (lambda s, h: F.linear(h.mean(2).t(), h.new_ones(3, 5)), "maps across examples"),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXING)
def test_steps_that_mix_examples(name: str) -> None:
    """Named with the step, its line in the user's file, the reason and what to do; without any numerical probe."""
    step, why = MIXING[name]
    text = refusal(Net(step))
    first, *rest = why.split("|")
    assert any(w in text for w in (first, *rest)), text
    assert text.startswith("step '")
    assert " at test_refusals.py:" in text
    assert "cannot be converted: " in text
    assert text.endswith(MIXES)


LAYERS: dict[str, tuple[nn.Module, Callable[..., Any], str]] = {
    "batch norm of the batch": (
        nn.BatchNorm1d(6, track_running_stats=False),
        lambda s, h: s.layer(h),
        "batch norm witho",
    ),
    "attention": (
        nn.MultiheadAttention(6, 2),
        lambda s, h: s.layer(*[h.transpose(1, 2)] * 3)[0],
        "attention with batch_",
    ),
    "attention of vectors": (
        nn.MultiheadAttention(6, 2, batch_first=True),
        lambda s, h: s.layer(*[h.mean(2)] * 3)[0],
        "attention reads a tensor of rank 2 as one example",
    ),
    "transformer": (nn.TransformerEncoderLayer(6, 2, 8), lambda s, h: s.layer(h.transpose(1, 2)), "as positions"),
    "encoder": (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 2, enable_nested_tensor=False),
        lambda s, h: s.layer(h.transpose(1, 2)),
        "attention with batch_first=False reads axis 0, the examples, as positions",
    ),
    "LSTM": (
        nn.LSTM(6, 3),
        lambda s, h: s.layer(h.transpose(1, 2))[0],
        "a recurrent layer with batch_first=False reads",
    ),
    "LSTM of vectors": (
        nn.LSTM(6, 3, batch_first=True),
        lambda s, h: s.layer(h.mean(2))[0],
        "reads a tensor of rank 2",
    ),
    "GRU, positions in front": (
        nn.GRU(6, 3, batch_first=True),
        lambda s, h: s.layer(h.permute(2, 0, 1))[0],
        "=True reads",
    ),
    "softmax": (nn.Softmax(0), lambda s, h: s.layer(h), "softmax over the examples"),
    "softmax that guesses": (nn.Softmax(), lambda s, h: s.layer(h), "softmax without dim guesses an axis; give it one"),
    "flatten": (nn.Flatten(0), lambda s, h: s.layer(h), "it flattens the examples into another axis"),
    "layer norm": (nn.LayerNorm([5, 6, 18]), lambda s, h: s.layer(h), "layer norm over the examples"),
    "dense": (nn.Linear(5, 3), lambda s, h: s.layer(h.mean(2).t()), "a dense layer across the examples"),
    "convolution": (
        nn.Conv1d(6, 3, 1),
        lambda s, h: s.layer(h.permute(2, 1, 0)),
        "a convolution needs the examples on",
    ),
    "pooling": (nn.MaxPool1d(2), lambda s, h: s.layer(h.permute(2, 1, 0)), "pooling needs the examples on axis 0"),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.filterwarnings("ignore:Implicit dimension choice for softmax:UserWarning")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
def test_layers_that_mix_examples(name: str) -> None:
    layer, step, why = LAYERS[name]
    text = refusal(Net(step, layer=layer))
    assert text.startswith("layer 'layer' at test_refusals.py:"), text
    assert why in text, text
    assert text.endswith(MIXES)


class Centred(nn.Module):
    """Treats a batch as one thing, which nothing but running it can tell."""

    def forward(self, x: Tensor) -> Tensor:
        return x - 1e-9 * x.mean(0, keepdim=True)


def test_a_leaf_that_mixes_is_caught_by_the_probe() -> None:
    """However weakly: the gradient of one example by another must be zero."""
    net = nn.Sequential(nn.Conv1d(4, 2, 3), Centred())
    text = refusal(net, leaves=("Centred",), verify=True)
    assert "independence of examples" in text
    assert "one example's output moves with another's input" in text
    with pytest.raises(VerificationError):
        convert(Conjoined(net, outputs="reversal").eval(), ConvertConfig(leaves="1"))


WRITES: dict[str, tuple[Callable[..., Any], str]] = {
    "a view read later": (
        lambda s, h: h[:, :2].mul_(2) + h[:, 2:4],
        "it writes in place into a view that is read again",
    ),
    "under a view": (
        lambda s, h: [h.transpose(1, 2), h.add_(1)][0],
        "it writes in place into a view that is read again",
    ),
    "a buffer": (lambda s, h: h * s.table.add_(1).sum(), "it writes in place into a parameter or buffer"),
}


@pytest.mark.parametrize("name", WRITES)
def test_writing_in_place_where_another_name_would_see_it(name: str) -> None:
    step, why = WRITES[name]
    text = refusal(Net(step))
    assert why in text
    assert text.endswith("Use the out-of-place form")


class Overwrites(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.relu, self.conv = nn.ReLU(inplace=True), nn.Conv1d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.relu(x))


def test_writing_into_the_input() -> None:
    text = refusal(Overwrites())
    assert text.startswith("layer 'relu' at test_refusals.py:")
    assert text.endswith("it writes in place into its input. Use the out-of-place form")


def test_a_function_without_a_rule() -> None:
    text = refusal(Net(lambda s, h: torch.cdist(h, h)))
    assert text.startswith("step 'cdist' (cdist) at test_refusals.py:")
    assert text.endswith(
        "cannot be converted: no rule for this function. Put it in a submodule and name that in leaves=[…]; it is then "
        "run whole on each strand"
    )


def test_a_method_without_a_rule() -> None:
    assert "(trapezoid) at test_refusals.py:" in refusal(Net(lambda s, h: torch.trapezoid(h, dim=2)))
    assert "(scatter_add_) at test_refusals" in refusal(Net(lambda s, h: h.scatter_add_(2, h.long(), h)))


def test_attributes_that_are_no_sizes() -> None:
    text = refusal(Net(lambda s, h: h.real))
    assert "attribute 'real' of a tensor. Use one of shape, ndim, device, dtype" in text


def test_branching_on_data() -> None:
    text = refusal(Net(lambda s, h: h if h.sum() > 0 else -h))
    assert text.startswith(
        "Net cannot be traced: TraceError: symbolically traced variables cannot be used as inputs to"
    )
    assert " at test_refusals.py:" in text
    assert text.endswith("Name the submodule that branches on data in leaves=[…]; it is then run whole on each strand")


def test_what_the_user_raises() -> None:
    def step(net: nn.Module, h: Tensor) -> Tensor:
        raise ValueError("no such mode\nsecond line")

    assert "Net cannot be traced: ValueError: no such mode at test_refusals.py:" in refusal(Net(step))


def test_arguments_do_not_fit() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor, *, scale: float) -> Tensor:
            return x

    model = Conjoined(Two(), inputs=("reversal", "reversal")).eval()
    with pytest.raises(TraceError) as error:
        convert(model, ConvertConfig(input_shapes=[(4, 20), (4, 20)]))
    assert str(error.value) == (
        "arguments of Two.forward: got 2 input representations for 3 arguments (0 of them optional). "
        "Give one representation for each input tensor"
    )


def test_train_mode() -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.BatchNorm1d(2))
    with pytest.raises(ConversionError) as error:
        convert(Conjoined(net, outputs="reversal"))
    assert str(error.value) == (
        "the network is in train mode: got 4 modules, first 'the network itself'; expected eval mode. Call .eval() "
        "first: in train mode batch norm statistics differ between the two forms (T10)"
    )
    model = Conjoined(net, outputs="reversal").eval()
    net[1].train()
    with pytest.raises(ConversionError, match="got 1 modules, first 'net.1'"):
        convert(model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["net.0.weight", "net.1.running_var", "final.bias"])
def test_weights_that_are_no_numbers(where: str, value: float) -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3), nn.BatchNorm1d(2))
    model = Conjoined(net, outputs="reversal", final=nn.Conv1d(2, 2, 1)).eval()
    dict([*model.named_parameters(), *model.named_buffers()])[where].data.view(-1)[0] = value
    with pytest.raises(ConversionError) as error:
        convert(model)
    assert str(error.value) == f"weights {where!r}: got NaN or infinite values; expected finite numbers"


def test_weights_without_values() -> None:
    with pytest.raises(ConversionError) as error:
        convert(Conjoined(nn.Sequential(nn.Conv1d(4, 2, 3)).to("meta"), outputs="reversal").eval())
    assert str(error.value) == "weights 'net.0.weight': got no values (the meta device); expected a trained network"


def test_no_conjoined_network() -> None:
    with pytest.raises(
        ConversionError, match=r"convert takes a conjoined network: got Conv1d; expected rcproof.Conjoined"
    ):
        convert(nn.Conv1d(4, 2, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrap", "text"),
    [
        (torch.jit.script, "a RecursiveScriptModule hides its network. Convert the network it was made from"),
        (nn.DataParallel, "a DataParallel hides its network. Convert its module"),
        (torch.compile, "a OptimizedModule hides its network. Convert its _orig_mod"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_network_in_a_wrapper(wrap: Callable[[nn.Module], nn.Module], text: str) -> None:
    model = Conjoined(wrap(nn.Sequential(nn.Conv1d(4, 2, 3))), outputs="reversal").eval()
    with pytest.raises(ConversionError) as error:
        convert(model)
    assert str(error.value) == text


def test_an_rcps_network() -> None:
    done = convert(Conjoined(nn.Conv1d(4, 2, 3), outputs="reversal").eval()).model
    with pytest.raises(ConversionError) as error:
        convert(Conjoined(done, outputs="reversal").eval())
    assert str(error.value) == "the network holds RCPS layers already. There is nothing to convert"


def test_a_network_that_cannot_be_copied() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = nn.Sequential(nn.utils.weight_norm(nn.Conv1d(4, 2, 3)), nn.ReLU())
    text = refusal(net, input_shapes=None)
    assert text.startswith(
        "Sequential cannot be deep-copied: got RuntimeError: Only Tensors created explicitly by the user"
    )
    assert text.endswith("(torch.nn.utils.parametrizations.weight_norm can be copied)")


OUTPUTS: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "a parameter": (lambda s, h: (h.mean(2), s.table), None, "output 1 does not depend on the input, or is no tensor"),
    "a size": (lambda s, h: (h.mean(2), h.shape[2]), None, "output 1 does not depend on the input, or is no tensor"),
    "moved": (lambda s, h: h.transpose(0, 1), "fixed", "output 0 has its examples on axis 1: expected axis 0"),
    "rank 4": (lambda s, h: h.unsqueeze(1), "fixed", "output 0: got rank 4; expected rank 1, 2 or 3"),
    "a set": (lambda s, h: {"a": h.mean(2), 3: h}, "fixed", "key of a dict that the network returns: got 3; expected"),
    "None": (lambda s, h: (h, None), "fixed", "output of the network: got NoneType; expected a tensor, or tuples"),
    "undeclared": (lambda s, h: h, None, "output 0 has rank 3 and no representation, and there is no safe default"),
    "too few": (lambda s, h: h, "pairs:2", "representation pairs:2 does not fit the tensor: got 6 channels"),
    "too many": (lambda s, h: h, ("fixed", "fixed"), "outputs of the network: got 1 tensors; expected 2, one a repr"),
    "scores": (lambda s, h: h.mean((1, 2)), "reversal", "output 0 of shape (N,): got reversal; expected fixed"),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs(name: str) -> None:
    step, outputs, why = OUTPUTS[name]
    assert why in refusal(Net(step), outputs)


def test_options() -> None:
    net = nn.Sequential(nn.Conv1d(4, 2, 3))
    assert refusal(net, leaves=("block",)) == "leaves: got 'block'; expected the name of a submodule, or of its class"
    assert refusal(net, layout="dense") == "layout: got 'dense'; expected auto, stacked or batched"
    assert refusal(net, input_shapes=(4, 20)) == (
        "input_shapes: got (4, 20); expected a list of shapes, such as [(4, 1000)]"
    )
    text = refusal(net, input_shapes=[(5, 20)])
    assert text.startswith("the network does not run on the example input: layer '0': RuntimeError: Given")
    assert text.endswith("Check the input shapes and that inputs come channels first")
    with pytest.raises(
        ShapeError, match=r"shape of an input with representation reversal, without the batch: got \(4, 2, 2\)"
    ):
        convert(Conjoined(net, outputs="reversal").eval(), ConvertConfig(input_shapes=[(4, 2, 2)]))


def test_shapes_that_cannot_be_found() -> None:
    class Fussy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = nn.Linear(17, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.dense(torch.cat([x.flatten(1), y.flatten(1)], 1))

    model = Conjoined(Fussy(), inputs=("fixed", "fixed")).eval()
    convert(model, ConvertConfig(input_shapes=[(4, 4), (1,)]))

    class Fussier(Fussy):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.dense(torch.cat([x.mean(2), y.mean(2)], 1))

    with pytest.raises(ConversionError) as error:
        convert(Conjoined(Fussier(), inputs=("fixed", "fixed")).eval())
    assert str(error.value).startswith("no input shapes were found: the network does not run on the exa")
    assert str(error.value).endswith(
        "input_shapes=[(channels, length), …], or --shape channels,length on the command line"
    )
    assert "\n" not in str(error.value)
