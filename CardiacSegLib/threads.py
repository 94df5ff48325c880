"""How the threads of PyTorch wait for each other, so that a busy computer does not bring them to a standstill."""

from __future__ import annotations

from collections.abc import MutableMapping

SPINS = "1000"
"""Turns that a thread waits awake before it sleeps.

GNU OpenMP's own default is so long that two threads on two cores, one of which is busy with something else, spend their
time waiting: a propagation took over 100 s instead of 11 s, and 5 s on a quiet machine with either value.
"""


def wait_briefly(environment: MutableMapping[str, str]) -> None:
    """Set how long threads wait in an environment, unless its owner has chosen.

    OpenMP reads it once, when PyTorch is loaded. It holds for GNU OpenMP, PyTorch's on Linux; others do not read it.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)
