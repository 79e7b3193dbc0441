"""Run one scenario with an injected fault, and examine the result."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safeatomic_core as sa
from safeatomic_core import _metadata, _posix

from .injection import Injection, LivelockError
from .judging import Tree, close_lost, locks, open_descriptors, take

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, TypeAlias

    from .situations import Scenario

    TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]


@dataclass
class Run:
    """The result of one run of a scenario.

    Attributes:
        directory: Where it ran.
        before: The state before.
        error: The exception of the call, None if it returned.
        leaked: Descriptors that are open now and were not before.
    """

    directory: str
    before: Tree
    error: BaseException | None
    leaked: set[str]


class Runner:
    """Runs scenarios, each in a fresh directory below one that is given."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._count = 0

    def run(
        self, scenario: Scenario, injection: Injection, *, trace: TraceFunction | None = None
    ) -> Run:
        """Run a scenario with an injection, under a trace function if one is given."""
        self._count += 1
        directory = os.path.join(self._root, str(self._count))
        scenario.set_up(directory)
        before = take(directory)
        _metadata._warned.clear()  # each loss is warned of once in a process
        open_before = open_descriptors()
        error: BaseException | None = None
        # Garbage of an earlier run must not make system calls during this one.
        gc.disable()
        with _posix.intercept(injection.wrap):
            tracing = sys.gettrace()
            if trace is not None:
                sys.settrace(trace)
            try:
                scenario.run(directory)
            except (Exception, KeyboardInterrupt, SystemExit, LivelockError) as caught:
                error = caught
            finally:
                sys.settrace(tracing)
        gc.enable()
        if trace is not None and error is not None:
            # Its frames keep objects alive that the interrupted call could not clean up.
            error = error.with_traceback(None)
            error.__context__ = None
        if scenario.owns_lock:
            # A release that cannot open the directory leaves the lock held, and reports that.
            for name in locks(take(directory)):
                sa.release_lock(os.path.join(directory, name.removesuffix(".lock")))
        close_lost(injection.lost)
        return Run(directory, before, error, open_descriptors() - open_before)

    def calls(self, scenario: Scenario) -> list[tuple[str, str]]:
        """Return the system calls of an undisturbed run.

        The first run examines the filesystem, and so makes calls that no later run makes.
        """
        for _ in range(2):
            injection = Injection(unsupported=scenario.unsupported)
            run = self.run(scenario, injection)
            if run.error is not None:
                raise AssertionError(f"{scenario.name} fails undisturbed") from run.error
            shutil.rmtree(run.directory)
        return injection.calls


def chain(error: BaseException | None) -> list[BaseException]:
    """Return an exception and everything that led to it."""
    found: list[BaseException] = []
    todo = [error]
    while todo:
        one = todo.pop()
        if one is not None and one not in found:
            found.append(one)
            todo += [one.__cause__, one.__context__]
    return found
