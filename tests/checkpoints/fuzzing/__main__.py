"""``python -m tests.checkpoints.fuzzing``."""

import sys

from tests.checkpoints.fuzzing.run import main

if __name__ == "__main__":
    sys.exit(main())
