"""Gate: what a call needs of the place it works in, and the refusal where it is missing."""

from __future__ import annotations

from . import _log, _trace, _verdicts
from ._advice import explained
from ._errors import (
    UNCHANGED,
    UnsupportedEnvironmentError,
    UnsupportedEnvironmentWarning,
    system_error,
)
from ._temp_file import is_temp_name
from ._types import ATOMIC_VISIBILITY, CRASH_DURABILITY, INTEGRITY_DETECTION, WRITER_EXCLUSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._options import Policy
    from ._target import Target
    from ._verdicts import Verdict

_NEEDED = {
    (False, False): (ATOMIC_VISIBILITY, CRASH_DURABILITY),
    (True, False): (ATOMIC_VISIBILITY, CRASH_DURABILITY, WRITER_EXCLUSION),
    (False, True): (ATOMIC_VISIBILITY, CRASH_DURABILITY, INTEGRITY_DETECTION),
    (True, True): (ATOMIC_VISIBILITY, CRASH_DURABILITY, WRITER_EXCLUSION, INTEGRITY_DETECTION),
}


def pass_gate(target: Target, policy: Policy, *, op: str = "write") -> None:
    """Open a target and refuse what cannot be changed safely; the whole of Gate.

    Args:
        target: What is to be changed, not yet opened.
        policy: The options of the call.
        op: What is done to it: ``"write"``, ``"move"`` or ``"sidecar"``.
    """
    try:
        target.open(follow=policy.overwrite, flushes=True)
        if not policy.overwrite:
            target.require_absent()
        target.require_regular()
        if is_temp_name(target.name):
            raise ValueError(
                f"{target.name!r} is the name of a temporary file of this library, which is swept; "
                "give another name"
            )
        needed = _NEEDED[policy.lock, policy.write_checksum]
        target.filesystem = gate(
            target.directory().st_dev, policy.safety, target.path, needed, target.dir_fd, target
        )
    except system_error() as error:
        raise gate_error(error, target) from error
    if _trace.hook is not None:
        status = target.directory()
        _trace.hook(
            _trace.GATE,
            {
                "op": op,
                "target": target.name,
                "dir": f"{status.st_dev}:{status.st_ino}",
                "exists": target.status is not None,
                "checksum": policy.write_checksum,
                "lock": policy.lock,
            },
        )


def gate_error(error: OSError, target: Target) -> OSError:
    """Return the error of a target that cannot be opened or must not be written."""
    doing = "open the target"
    result = explained(error, doing, target.path, UNCHANGED, _trace.GATE, target)
    result.add_note(f"safeatomic: {_trace.GATE} failed; {UNCHANGED}")
    return result


def gate(
    dev: int,
    safety: str,
    path: str,
    needed: tuple[str, ...],
    dir_fd: int | None = None,
    target: Target | None = None,
) -> str:
    """Let a call pass, or not, according to ``safety`` and the guarantees it needs.

    Args:
        dev: ``st_dev`` of the target's directory.
        safety: ``"strict"`` refuses what is NonTarget or Unsupported, ``"warn"`` warns at the
            caller's line for whatever is not Guaranteed, ``"best_effort"`` says nothing.
        path: The target as the caller gave it, for messages.
        needed: Names of the guarantees the call relies on.
        dir_fd: The target's directory, open.
        target: The target, if it is to be replaced or locked: one that is itself a mount point
            cannot be.

    Returns:
        The filesystem's name; nothing under ``"best_effort"``, which does not look.

    Raises:
        UnsupportedEnvironmentError: Under ``"strict"``. Nothing was touched.
        OSError: The process or the machine is out of descriptors or memory.
    """
    if safety == "best_effort":
        return ""
    verdict = _verdicts.verdict_on(dev, dir_fd)
    if (
        target is not None
        and verdict.mounted_names  # from the table, without one more call for each write
        and target.name in verdict.mounted_names
        and _verdicts.is_mount_point(target.dir_fd, target.name)
    ):
        target.is_mount_point = True
        verdict = verdict.of_mount_point()
    if safety == "strict":
        if verdict.refused:
            for name in needed:
                if name in verdict.refused:
                    raise _refusal(path, verdict, name)
    elif verdict.degraded:
        missing = [name for name in needed if name in verdict.degraded]
        if missing:
            found = "; ".join(
                f"{name} is {verdict.guarantees[name]} ({verdict.reasons[name]})"
                for name in missing
            )
            message = f"{path!r} is on {_name_of(verdict)}, where {found}"
            _log.warn_caller(message, UnsupportedEnvironmentWarning)
    return verdict.filesystem


def _name_of(verdict: Verdict) -> str:
    return "an unknown filesystem" if verdict.filesystem == "unknown" else verdict.filesystem


def mount_point_refusal(target: Target) -> UnsupportedEnvironmentError | None:
    """Return the refusal of a target that is itself a mount point; None if it is not one.

    For what Gate could not see: a mount that was made meanwhile, or a long mount table.
    """
    if not _verdicts.is_mount_point(target.dir_fd, target.name):
        return None
    verdict = _verdicts.verdict_on(target.directory().st_dev, target.dir_fd).of_mount_point()
    return _refusal(target.path, verdict, ATOMIC_VISIBILITY)


def _refusal(path: str, verdict: Verdict, name: str) -> UnsupportedEnvironmentError:
    return UnsupportedEnvironmentError(
        path,
        _name_of(verdict),
        name,
        verdict.guarantees[name],
        verdict.reasons[name],
        verdict.advice,
    )
