"""The command line: ``rcproof convert``, ``verify``, ``audit`` and ``inspect``, one command a file.

Nothing here imports torch before a command runs, so that ``--help`` and ``--version`` answer at once.
"""

from rcproof.cli.main import main

__all__ = ["main"]
