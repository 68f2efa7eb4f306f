"""Files that are damaged, or made to do damage: thousands of them, read in every way, from a seed.

``python -m tests.checkpoints.fuzzing --count 2500 --seed 0`` makes and tries 2,500 files, prints a table by format, and
ends with 1 if anything happened that must not:

- an exception other than an :class:`~rcproof.errors.RcproofError` of one printable line of at most 400 characters;
- a process that crashes, or a file that takes longer than 20 seconds;
- more than 1 GiB of memory for reading a file of this size, or an allocation that the system refuses;
- a pickle, or the bytecode of a Lambda, that runs; a process, other than the one that reads HDF5; a connection;
- a file opened that the user did not name, or written anywhere but where it must be; temporary files that stay;
- an output of a failed command that is not what it was;
- a network that was read and cannot run.
"""
