"""The scenarios of the default run, which takes a few minutes, and of the long one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import filesystems, workloads
from .scenario import Spec

if TYPE_CHECKING:
    from .mutants import Mutant

# Images judged in a scenario of the default run, a random choice where there are more. A mount of
# xfs or btrfs takes several times as long as one of ext4.
LIMITS = {"ext4": 80, "xfs": 60, "btrfs": 50}
_MUTANT_LIMIT = 150
_LONG_CAP = 24
_LONG_LIMIT = 2000

# Options that remove a mechanism which hides mistakes, or change how a commit is made.
_OPTIONS = (
    ("ext4", "noauto_da_alloc", ("overwrite", "checked", "stream")),
    ("ext4", "data=writeback", ("create", "overwrite", "checked-new")),
    ("btrfs", "notreelog", ("overwrite", "checked", "move-pair")),
)


def default(seed: int = 1) -> list[Spec]:
    """Return every workload on every filesystem with and without noise, and the mount options."""
    specs = [
        Spec(kind.name, name, noise=noise, seed=seed, limit=LIMITS[kind.name])
        for name in workloads.ALL
        for kind in filesystems.ALL.values()
        for noise in kind.noises
        if noise in ("none", "file") or (noise == "mixed" and kind is filesystems.BTRFS)
    ]
    return specs + [
        Spec(filesystem, name, options=options, noise=noise, seed=seed, limit=LIMITS[filesystem])
        for filesystem, options, names in _OPTIONS
        for name in names
        for noise in ("none", "file")
    ]


def long(seed: int) -> list[Spec]:
    """Return the same with every kind of noise, more subsets, and (nearly) all images."""
    specs = [
        (kind.name, name, noise, "")
        for name in workloads.ALL
        for kind in filesystems.ALL.values()
        for noise in kind.noises
    ]
    specs += [
        (filesystem, name, noise, options)
        for filesystem, options, names in _OPTIONS
        for name in names
        for noise in filesystems.ALL[filesystem].noises
    ]
    return [
        Spec(
            *(filesystem, name),
            noise=noise,
            options=options,
            seed=seed,
            cap=_LONG_CAP,
            limit=_LONG_LIMIT,
        )
        for filesystem, name, noise, options in specs
    ]


def of_mutant(mutant: Mutant, seed: int = 1) -> list[Spec]:
    """Return the scenarios that show a mutant's damage."""
    specs = []
    for filesystem, workload, noise, *options in mutant.where:
        specs.append(
            Spec(
                filesystem,
                workload,
                f"mutant:{mutant.name}",
                noise,
                ",".join(options),
                seed=seed,
                limit=_MUTANT_LIMIT,
                hunt=True,
            )
        )
    return specs
