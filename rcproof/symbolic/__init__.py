"""The symbolic half: statements with their hypotheses, and proofs that a small checker replays. No torch.

===================  =====================================================================================
what is trusted      ``terms``, ``arithmetic``, ``checker``
theorems as data     ``statements`` (kinds, replay), ``theorems`` (T1 … T13, text and LaTeX), ``networks`` (one network)
a second opinion     ``evaluate``: claims evaluated exactly at small sizes
writing proofs       ``strands``, ``windows``, ``pairs``, ``tactics``, ``shorthand``, ``affine``, ``tensors``
T1, T2               ``action``; ``lifts``
T3                   ``convolution``, ``transposed``, ``grouped``, ``pooling``, ``padding``; ``necessity`` and its kin
T4, T11              ``tying``, ``bases``; ``irreps``, ``families``
T5                   ``embedding``, ``transposed``, ``grouped``, ``pooling``, ``norms``, ``layers``, ``positions``,
                     ``concatenation``, ``heads``, ``profile``
T6, T7               ``sandwich``; ``coupling``, ``costs``
T8, T9, T10          ``gradients``, ``differentiated``; ``losses``, ``multinomial``; ``batch_statistics``
T12, T13             ``rounding``, ``simulation``; ``refutations``, ``counterexamples``
===================  =====================================================================================
"""
