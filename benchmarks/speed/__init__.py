"""How fast the package is beside plain torch, conjoined networks and other packages: ``python -m benchmarks.speed``.

A *cell* is one network at one size; its *contenders* are timed interleaved, in one process, after a check that they
compute the same function. See :mod:`benchmarks.speed.schema` for what is written.
"""
