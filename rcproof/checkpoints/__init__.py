"""Checkpoints: rcproof's own self-describing files, and readers and writers of what other people use."""

from rcproof.checkpoints.imported import Imported, ReadOptions
from rcproof.checkpoints.native import Header, load, read_header, save
from rcproof.checkpoints.reading import format_of, read_model
from rcproof.checkpoints.state_dicts import build_model, load_into, read_state_dict

__all__ = [
    "Header",
    "Imported",
    "ReadOptions",
    "build_model",
    "format_of",
    "load",
    "load_into",
    "read_header",
    "read_model",
    "read_state_dict",
    "save",
]
