"""What is recorded on each kernel, and how much of it is judged."""

from __future__ import annotations

from crash.crashlab import catalogue, filesystems, mutants, workloads
from crash.crashlab.scenario import Spec

from . import more_filesystems

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


def more(seed: int) -> list[Spec]:
    """Return the library and its controls on the filesystems of the long run."""
    return [
        Spec(
            filesystem,
            workload,
            subject,
            noise,
            seed=seed,
            limit=_LIMIT,
            hunt=subject != "safeatomic",
        )
        for filesystem in more_filesystems.ALL
        for workload, subject in (
            ("overwrite", "safeatomic"),
            ("checked", "safeatomic"),
            ("create", "mutant:no-temp-fsync"),
            ("overwrite", "mutant:no-directory-fsync"),
        )
        for noise in _NOISES
    ]
