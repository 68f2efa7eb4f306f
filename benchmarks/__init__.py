"""Benchmarks: speed/ is one command; results/ holds what it measured, as JSON, and what is drawn from that."""
