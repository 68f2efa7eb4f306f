"""``python -m rcproof``: the command line."""

from rcproof.cli import main

if __name__ == "__main__":
    main(prog_name="rcproof")
