"""Writing networks that run without this package: one file a format, each read back and compared before it counts.

=================  =================================================================================================
``.pt2``           a program of ``torch.export``: runs where torch is
``.onnx``          runs in onnxruntime, in float32
``.h5``            a full model of Keras 2 with the layers of keras-genomics, of networks that have that form
``.py``            readable source of one ``nn.Module`` of ordinary layers, with its weights in a ``.pt`` beside it
``.safetensors``   the un-tied network as a file of ours, which :func:`rcproof.load` reads
=================  =================================================================================================
"""

from rcproof.checkpoints.exporting.api import FORMATS, Export, Format, export, format_for

__all__ = ["FORMATS", "Export", "Format", "export", "format_for"]
