"""Conversion: from a trained conjoined network to RCPS weights of the same function."""

from rcproof.convert.api import Conversion, ConvertConfig, convert, plain_network
from rcproof.convert.certificate import Certificate, NodeProof, TensorOrigin

__all__ = ["Certificate", "Conversion", "ConvertConfig", "NodeProof", "TensorOrigin", "convert", "plain_network"]
