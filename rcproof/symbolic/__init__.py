"""The symbolic half: statements with their hypotheses, and proofs that a small checker replays."""
