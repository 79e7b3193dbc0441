"""What is recorded on each kernel, and how much of it is judged."""

from __future__ import annotations

from crash.crashlab import catalogue, filesystems, mutants, workloads
from crash.crashlab.scenario import LIBRARY, Spec

FILESYSTEMS = tuple(filesystems.ALL)
_WORKLOADS = ("overwrite", "checked", "checked-new", "move-pair", "two-writers")
_NOISES = ("none", "file")
_LIMIT = 20  # images judged of one workload; our own kernel's are judged by the thousand
_MUTANTS = ("no-temp-fsync", "no-directory-fsync")
_LONG_LIMIT = 150


def default(seed: int) -> list[Spec]:
    """Return what the library does on each kernel in the default run."""
    return [
        Spec(filesystem, workload, noise=noise, seed=seed, limit=_LIMIT)
        for filesystem in FILESYSTEMS
        for workload in _WORKLOADS
        for noise in _NOISES
    ]


def long(seed: int) -> list[Spec]:
    """Return the same with every workload and more images."""
    return [
        Spec(filesystem, workload, noise=noise, seed=seed, limit=_LONG_LIMIT)
        for filesystem in FILESYSTEMS
        for workload in workloads.ALL
        for noise in _NOISES
    ]


def controls(seed: int) -> list[Spec]:
    """Return a broken protocol of each kind on each filesystem, where our own kernel shows it."""
    found = []
    for filesystem in FILESYSTEMS:
        for name in _MUTANTS:
            scenarios = catalogue.of_mutant(mutants.ALL[name], seed)
            found.append(next(spec for spec in scenarios if spec.filesystem == filesystem))
    return found


# The recipe with every flush, by hand: on jfs the library itself refuses to write.
PEER = "peer:temp, fsync, replace, fsync of the directory"


def more(seed: int) -> list[Spec]:
    """Return the library and its controls on f2fs and nilfs2, and a peer on jfs."""
    library = [
        (filesystem, workload, LIBRARY)
        for filesystem in ("f2fs", "nilfs2")
        for workload in ("overwrite", "checked")
    ]
    broken = [
        ("f2fs", "create", "mutant:no-temp-fsync"),
        ("f2fs", "overwrite", "mutant:no-directory-fsync"),
    ]
    return [
        Spec(
            *(filesystem, workload, subject, noise),
            seed=seed,
            limit=_LONG_LIMIT if subject.startswith("mutant") else _LIMIT,
            hunt=subject.startswith("mutant"),
        )
        for filesystem, workload, subject in (*library, *broken, ("jfs", "overwrite", PEER))
        for noise in _NOISES
    ]
