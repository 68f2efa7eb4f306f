"""The BPNet of the paper's base-resolution profile tasks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rcproof.errors import RcproofError, ShapeError
from rcproof.models.base import BranchNet

SKIPS = ("add", "average")


class ProfileNet(BranchNet):
    """BPNet with valid convolutions: (sequence, control_logcount, control_profile) → (counts, profile).

    ========================  ==================  ==============  =============================================
    tensor                    shape               under ρ         what it is
    ========================  ==================  ==============  =============================================
    ``sequence``              (N, 4, L)           ``reversal``    one-hot DNA
    ``control_logcount``      (N, 1)              ``fixed``       log total of the control track
    ``control_profile``       (N, n_control, L′)  ``length``      the control track at several smoothing scales
    counts                    (N, 2)              ``reversal``    log counts, (plus, minus)
    profile                   (N, 2, L′)          ``reversal``    profile logits, (plus, minus)
    ========================  ==================  ==============  =============================================

    The channels of ``control_profile`` are smoothing scales, not strands, so ρ reverses their length only: the
    paper's text says otherwise and is corrected by its authors; its code does this. With ``n_control=0`` the network
    takes the sequence alone, and ``profile_head`` is its last layer. L′ = :meth:`profile_length` (L).

    The trunk is ``conv`` (k21) and ``dilated.0`` … (k3, dilation 2, 4, …), each followed by relu; each dilated
    layer's input, cropped to fit, is added to its output (``skip="add"``) or averaged with it. Heads: ``profile_head``
    (k75), then ``profile_out`` (k1) on it and the control track; ``counts_head`` on the mean over positions and the
    control's log count. The published sizes are the defaults. Paper, the profile prediction tasks;
    ``BPNetArchs.py`` in its repository.

    >>> net = ProfileNet()
    >>> counts, profile = net(torch.zeros(2, 4, 1346), torch.zeros(2, 1), torch.zeros(2, 2, 1000))
    >>> counts.shape, profile.shape
    (torch.Size([2, 2]), torch.Size([2, 2, 1000]))
    """

    def __init__(
        self,
        length: int = 1346,
        filters: int = 64,
        conv_kernel_size: int = 21,
        dilated_layers: int = 6,
        dilated_kernel_size: int = 3,
        profile_kernel_size: int = 75,
        n_control: int = 2,
        skip: str = "add",
    ) -> None:
        super().__init__()
        if skip not in SKIPS:
            raise RcproofError("skip of ProfileNet", got=repr(skip), expected="'add' or 'average'")
        self.length, self.filters, self.n_control, self.skip = length, filters, n_control, skip
        self.conv_kernel_size, self.profile_kernel_size = conv_kernel_size, profile_kernel_size
        self.dilated_layers, self.dilated_kernel_size = dilated_layers, dilated_kernel_size
        self.conv = nn.Conv1d(4, filters, conv_kernel_size)
        self.dilated = nn.ModuleList(
            nn.Conv1d(filters, filters, dilated_kernel_size, dilation=2 ** (i + 1)) for i in range(dilated_layers)
        )
        self.trims = [2 ** (i + 1) * (dilated_kernel_size - 1) for i in range(dilated_layers)]
        self.relu = nn.ReLU()
        self.profile_head = nn.Conv1d(filters, 2, profile_kernel_size)
        self.counts_head = nn.Linear(filters + bool(n_control), 2)
        if n_control:
            self.profile_out = nn.Conv1d(2 + n_control, 2, 1)
        self.profile_length(length)
        self.reset_parameters()

    def forward(
        self, sequence: Tensor, control_logcount: Tensor | None = None, control_profile: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        x = self.relu(self.conv(sequence))
        for layer, trim in zip(self.dilated, self.trims, strict=True):
            y = self.relu(layer(x))
            y = x[:, :, trim // 2 : -(trim - trim // 2)] + y if trim else x + y
            x = y if self.skip == "add" else y * 0.5
        pooled, profile = x.mean(dim=2), self.profile_head(x)
        if not self.n_control:
            return self.counts_head(pooled), profile
        if control_logcount is None or control_profile is None:
            raise ShapeError(
                "inputs of ProfileNet",
                got="no control track",
                expected="control_logcount and control_profile, or a network with n_control=0",
            )
        counts = self.counts_head(torch.cat([pooled, control_logcount], dim=1))
        return counts, self.profile_out(torch.cat([profile, control_profile], dim=1))

    def profile_length(self, length: int | None = None) -> int:
        """L′, the positions predicted from ``length`` positions read."""
        length = self.length if length is None else length
        dilations = sum(2 ** (i + 1) for i in range(self.dilated_layers))
        cut = (self.conv_kernel_size - 1) + dilations * (self.dilated_kernel_size - 1) + (self.profile_kernel_size - 1)
        if length <= cut:
            raise ShapeError("input length of ProfileNet", got=length, expected=f"at least {cut + 1}")
        return length - cut

    @property
    def couplable(self) -> tuple[str, ...]:  # type: ignore[override]
        """The dilated layers, then the heads."""
        heads = ("profile_head", "counts_head", *(("profile_out",) if self.n_control else ()))
        return (*(f"dilated.{i}" for i in range(self.dilated_layers)), *heads)

    @property
    def input_representations(self) -> tuple[str, ...]:
        return ("reversal", "fixed", "length") if self.n_control else ("reversal",)

    @property
    def output_representations(self) -> tuple[str, ...]:
        return ("reversal", "reversal")

    def input_shapes(self, length: int | None = None) -> tuple[tuple[int, ...], ...]:
        length = self.length if length is None else length
        predicted = self.profile_length(length)
        return ((4, length), (1,), (self.n_control, predicted)) if self.n_control else ((4, length),)

    def config(self) -> dict[str, Any]:
        return {
            "length": self.length,
            "filters": self.filters,
            "conv_kernel_size": self.conv_kernel_size,
            "dilated_layers": self.dilated_layers,
            "dilated_kernel_size": self.dilated_kernel_size,
            "profile_kernel_size": self.profile_kernel_size,
            "n_control": self.n_control,
            "skip": self.skip,
        }
