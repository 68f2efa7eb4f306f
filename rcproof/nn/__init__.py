"""Tied layers: ordinary layers lifted to strand pairs, one family a file.

Every layer runs from one set of weights in two layouts, stacked (``layer(x)``) and batched
(``layer.batched(s)``); see :mod:`rcproof.nn.base`. Parameter names and per-strand shapes are those of the
plain torch layer, so state dicts carry over.
"""

from rcproof.nn.base import TiedLayer, closed_to_stacked, partner, to_batched, to_stacked
from rcproof.nn.conv import RCPSConv1d, RCPSConvTranspose1d
from rcproof.nn.couple import couple, uncouple
from rcproof.nn.dropout import RCPSDropout, RCPSDropout1d
from rcproof.nn.embedding import RCPSEmbedding
from rcproof.nn.lifted import Lifted
from rcproof.nn.linear import RCPSLinear
from rcproof.nn.merge import Merge, StrandSum, merge
from rcproof.nn.norm import RCPSBatchNorm1d, RCPSGroupNorm, RCPSInstanceNorm1d, RCPSLayerNorm
from rcproof.nn.pooling import (
    RCPSAdaptiveAvgPool1d,
    RCPSAdaptiveMaxPool1d,
    RCPSAvgPool1d,
    RCPSLPPool1d,
    RCPSMaxPool1d,
)
from rcproof.nn.recurrent import Recurrent
from rcproof.nn.weighted_sum import RCPSWeightedSum1d, WeightedSum1d

__all__ = [
    "Lifted",
    "Merge",
    "RCPSAdaptiveAvgPool1d",
    "RCPSAdaptiveMaxPool1d",
    "RCPSAvgPool1d",
    "RCPSBatchNorm1d",
    "RCPSConv1d",
    "RCPSConvTranspose1d",
    "RCPSDropout",
    "RCPSDropout1d",
    "RCPSEmbedding",
    "RCPSGroupNorm",
    "RCPSInstanceNorm1d",
    "RCPSLPPool1d",
    "RCPSLayerNorm",
    "RCPSLinear",
    "RCPSMaxPool1d",
    "RCPSWeightedSum1d",
    "Recurrent",
    "StrandSum",
    "TiedLayer",
    "WeightedSum1d",
    "closed_to_stacked",
    "couple",
    "merge",
    "partner",
    "to_batched",
    "to_stacked",
    "uncouple",
]
