"""Crash images of real filesystems, made and judged in user space.

The library claims that a write that has returned survives a crash of the machine, and that a crash
in the middle of a write leaves the old file or the new one. This package tests these claims on the
filesystems themselves:

    isolation    a mount namespace of our own, so that nothing can be left mounted
    device       a block device made of a FUSE file that logs every write and flush, and can fail
    loop         the kernel's loop driver between that file and a filesystem
    filesystems  how ext4, xfs and btrfs are made and mounted here, and what "noise" is on each
    payload      contents that verify themselves, metadata worth losing
    operations   single writes and moves, and what a crash in their middle may show
    workloads    what is done to the files while the device records
    recording    doing it, with marks, noise and kills
    mutants      the library with one step of its protocol broken, which the oracle must notice
    peers        other ways to write a file, for comparison
    images       the states in which a power cut may leave the device, from the log
    worlds       the oracle: which contents of the files are legitimate at each point of the log
    judge        mounting an image, looking at it, and writing to it again
    scenario     all of that for one filesystem and workload
    catalogue    the scenarios of the default run and of the long one
    driver       running scenarios in worker processes, and cleaning up behind them
    sightings    what images showed, as traces for the models in `formal/`
    tables       the tables of the documentation

`python -m crashlab` (with this package's parent directory on the path) runs single scenarios;
`docs/crash-testing.md` explains the method and its limits.
"""
