"""The paper's benchmarks rerun, its overfitting study, and the question it leaves open.

A *task* is a data set with its network and training settings; a *strategy* is a way to treat the two strands; a *run*
is a task, a strategy and a seed, and leaves one result file. ``rcproof experiment run`` makes the runs that are
missing; ``rcproof experiment report`` makes tables, figures and answers from the result files alone. Needs the extra
``experiments``.

===============  =====================================================================================
module           what it holds
===============  =====================================================================================
``registry``     where every file comes from, and its hash
``readers``      FASTA, BED, bigWig, npz and h5, with the field's libraries
``simulate``     the simulated sets
``tasks``        the tasks, their settings and splits; ``binary``, ``profile`` and ``own`` read their data
``strategies``   what is trained, what is evaluated only, and what starts from what
``training``     one run's training, in Lightning; ``scores`` its losses and metrics
``runs``         one run and its result file
``sweep``        many runs: on one machine, or on a Dask cluster
``programme``    the runs that the questions need
``results``      the result files, read again
``questions``    the answers, as numbers
``report``       tables, figures (``figures``) and the page
===============  =====================================================================================
"""
