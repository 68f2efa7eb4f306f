"""Checking a converted file without the converter: :func:`check_file`.

Nothing here imports :mod:`rcproof.convert`. What a certificate claims is derived again from the file: hashes from bytes
(:mod:`~rcproof.checking.container`), the weight map tensor by tensor (:mod:`~rcproof.checking.weights`), that every
step of the result is the lift of the source's step (:mod:`~rcproof.checking.matching`,
:mod:`~rcproof.checking.twins`, :mod:`~rcproof.checking.stacked`), that no step mixes the examples of a batch
(:mod:`~rcproof.checking.examples`), and the proof itself (:mod:`rcproof.symbolic.networks`).
"""
