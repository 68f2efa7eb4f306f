"""Checkpoints: rcproof's own self-describing files, and state dicts of the user's classes."""

from rcproof.checkpoints.native import Header, load, read_header, save
from rcproof.checkpoints.state_dicts import build_model, load_into, read_state_dict

__all__ = ["Header", "build_model", "load", "load_into", "read_header", "read_state_dict", "save"]
