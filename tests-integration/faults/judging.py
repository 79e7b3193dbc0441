"""The rules that must hold after any fault.

`take` reads the state of a directory with plain system calls only; `judge` compares the states
before and after, and the exception in between, and describes what is wrong.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

import safeatomic_core as sa
from safeatomic_core import _posix
from safeatomic_core._checksum_record import MalformedError, agreeing, parse_record
from safeatomic_core._digests import hash_bytes
from safeatomic_core._errors import NEW, NEW_UNCONFIRMED, UNCHANGED
from safeatomic_core._lock_file import Found
from safeatomic_core._temp_file import is_temp_name

from .deaths import close
from .injection import unsynced
from .situations import HAS_XATTRS, XATTR

if TYPE_CHECKING:
    from .situations import Scenario

SIDECAR = ".sha256"
LOCK = ".lock"


@dataclass(frozen=True)
class Entry:
    """A name, and its state as read by plain system calls."""

    content: bytes
    owner: tuple[int, int]
    mode: int
    xattr: bytes | None

    @property
    def metadata(self) -> tuple[object, ...]:
        """The metadata that an overwritten file keeps."""
        return self.owner, self.mode, self.xattr


Tree = dict[str, Entry]


def take(directory: str) -> Tree:
    """Look at every regular file below a directory."""
    tree: Tree = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                continue
            with open(path, "rb") as file:
                content = file.read()
            xattr = None
            if HAS_XATTRS and XATTR[0] in os.listxattr(path):
                xattr = os.getxattr(path, XATTR[0])
            owner = (status.st_uid, status.st_gid)
            tree[os.path.relpath(path, directory)] = Entry(
                content, owner, stat.S_IMODE(status.st_mode), xattr
            )
    return tree


def data(tree: Tree) -> Tree:
    """Return the entries that are neither sidecars, locks nor temps."""
    return {
        name: entry
        for name, entry in tree.items()
        if not name.endswith((SIDECAR, LOCK)) and name not in temps(tree)
    }


def temps(tree: Tree) -> list[str]:
    """Return the names of temporary files, of the writer and of the doctor."""
    return [
        name
        for name in tree
        if is_temp_name(os.path.basename(name)) or ".safeatomic-doctor-" in name
    ]


def locks(tree: Tree) -> list[str]:
    """Return the names of lock files."""
    return [name for name in tree if name.endswith(LOCK)]


def pair_flaw(tree: Tree, name: str) -> str | None:
    """Say how a file and its sidecar disagree; None if they agree or one is missing."""
    raw = tree.get(name + SIDECAR)
    content = tree.get(name)
    if raw is None:
        return None
    try:
        record = parse_record(raw.content, "sha256")
    except MalformedError as flaw:
        return f"the sidecar of {name} is malformed: {flaw}"
    if content is None:
        return None
    if agreeing(record, lambda algo: hash_bytes(content.content, algo)) is None:
        return f"{name} does not match its sidecar"
    return None


def dead(directory: str, name: str) -> bool:
    """Tell whether the next writer takes over a lock that was left behind."""
    parent, base = os.path.split(os.path.join(directory, name))
    fd = os.open(parent, os.O_RDONLY)
    try:
        found = Found()
        found.look(fd, base)
        found.close()
        return found.takeable
    finally:
        os.close(fd)


def claim(error: BaseException) -> str | None:
    """Return what an error's notes or message claim about the target, None if nothing."""
    text = "\n".join([*getattr(error, "__notes__", []), str(error)])
    for words in (NEW_UNCONFIRMED, NEW, UNCHANGED):
        if words in text:
            return words
    lower = text.lower()
    if "target is unchanged" in lower or "nothing was" in lower or "both are unchanged" in lower:
        return UNCHANGED
    return None


def judge(
    scenario: Scenario,
    directory: str,
    before: Tree,
    error: BaseException | None,
    *,
    clean: bool,
    sidecars_back: bool,
    metadata: bool = True,
) -> list[str]:
    """Say what is wrong after a call in which something failed.

    Args:
        scenario: The scenario that ran.
        directory: The directory in which it ran.
        before: The state before.
        error: The exception of the call, None if it returned.
        clean: Whether nothing may be left over; otherwise a dead lock and orphans may.
        sidecars_back: Whether the former sidecar must be back if nothing was published; otherwise a
            record that agrees with the old content is enough.
        metadata: Whether new content must have the old metadata.
    """
    now = take(directory)
    wrong: list[str] = []
    old = data(before)
    seen = data(now)
    old_state = seen == old
    new_state = {name: entry.content for name, entry in seen.items()} == dict(scenario.after)
    moved_twice = _source_and_destination(scenario, old, seen)
    if scenario.reads_only:
        if seen != old:
            wrong.append("a call that only reads has changed the data")
    elif not (old_state or new_state or moved_twice):
        wrong.append(f"the data is neither old nor new: {_shorten(seen)}")
    if metadata and new_state and not old_state:
        wrong += _metadata_flaws(scenario, old, seen)
    for name in scenario.targets:
        flaw = pair_flaw(now, name)
        if flaw is not None and pair_flaw(before, name) is None:
            wrong.append(flaw)
    if error is None:
        if not new_state:
            wrong.append("the call returned, but its effect is not there")
        wrong += [
            f"the call returned, but {name} has no sidecar"
            for name in scenario.checked
            if name + SIDECAR not in now
        ]
        wrong += [
            f"the call returned, but {name} still has a sidecar"
            for name in scenario.targets
            if name not in scenario.checked and name + SIDECAR in now
        ]
    else:
        wrong += _claim_flaws(scenario, error, old_state=old_state)
    if old_state and error is not None and sidecars_back:
        changed = {
            name
            for name in {*before, *now}
            if name.endswith(SIDECAR) and _content(before, name) != _content(now, name)
        }
        wrong += [f"{name} is not what it was" for name in sorted(changed)]
    wrong += _leftovers(scenario, directory, before, now, error, clean=clean)
    return wrong


def next_write_flaws(scenario: Scenario, directory: str) -> list[str]:
    """Do the next writes without a fault; say what does not work or is left over."""
    wrong: list[str] = []
    for name in scenario.targets:
        path = os.path.join(directory, name)
        sa.release_lock(path)  # ours if a release was interrupted before it was begun
        for checked in (True, False):
            content = b"the next, %d" % checked
            try:
                with _posix.intercept(unsynced):
                    sa.write_atomic_bytes(path, content, write_checksum=checked)
                if sa.read_atomic_bytes(path, check_checksum=checked) != content:
                    wrong.append(f"the next write of {name} did not arrive")
            except Exception as error:
                wrong.append(f"the next write of {name} fails: {error!r}")
    left = take(directory)
    wrong += [
        f"{name} was not cleared by the next write"
        for name in locks(left)
        if name not in temps(left)
    ]
    return wrong


def open_descriptors() -> set[str]:
    """Return the open descriptors, except those that the library keeps on purpose."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if not target.endswith("/mountinfo"):
            found.add(f"{number} {target}")
    return found


def close_lost(lost: list[int]) -> None:
    """Close descriptors that lost their owner by an interrupt, as the process's end would."""
    close(lost)
    lost.clear()


def _content(tree: Tree, name: str) -> bytes | None:
    entry = tree.get(name)
    return None if entry is None else entry.content


def _source_and_destination(scenario: Scenario, old: Tree, seen: Tree) -> bool:
    """Tell whether a move by link stands between link and unlink: both names, one content."""
    if "source" not in str(scenario.targets):
        return False
    contents = {name: entry.content for name, entry in seen.items()}
    sources = {name: entry.content for name, entry in old.items() if name not in scenario.after}
    return contents == {**scenario.after, **sources}


def _metadata_flaws(scenario: Scenario, old: Tree, seen: Tree) -> list[str]:
    wrong = []
    for name, entry in seen.items():
        former = old.get(name)
        if "source" in str(scenario.targets):
            former = next(value for key, value in old.items() if key.endswith("source"))
        if scenario.name == "overwrite-as-new" or former is None:
            continue
        if entry.metadata != former.metadata:
            wrong.append(f"{name} lost metadata: {entry.owner} {entry.mode:o} {entry.xattr!r}")
    return wrong


def _claim_flaws(scenario: Scenario, error: BaseException, *, old_state: bool) -> list[str]:
    claimed = claim(error)
    if claimed is None:
        if scenario.before == scenario.after or scenario.owns_lock:
            return []
        if not isinstance(error, Exception):
            return []  # an interrupt is not a failure of a step
        return [f"{error!r} does not say what became of the target"]
    if scenario.before == scenario.after:
        return []
    if claimed == UNCHANGED and not old_state:
        return ["the error says that the target is unchanged, and it is not"]
    if claimed != UNCHANGED and old_state:
        return ["the error says that the new content is visible, and it is not"]
    return []


def _leftovers(
    scenario: Scenario,
    directory: str,
    before: Tree,
    now: Tree,
    error: BaseException | None,
    *,
    clean: bool,
) -> list[str]:
    wrong = []
    # Visible content that may not be durable is left to the next writer; a dead lock is the sign.
    notes = getattr(error, "__notes__", ())
    unsettled = any("durability is not confirmed" in note for note in notes)
    known = {*locks(before), *temps(before)}
    if clean:
        wrong += [f"the temp {name} was left behind" for name in temps(now) if name not in known]
    for name in locks(now):
        # The former state may stay if the call was refused, or was not meant to write.
        if name in known and (error is not None or scenario.before == scenario.after):
            continue
        if clean and not (name in scenario.may_leave and error is not None) and not unsettled:
            wrong.append(f"the lock {name} was left behind")
        elif not dead(directory, name):
            wrong.append(f"the lock {name} was left behind, and not dead")
    if scenario.reads_only:
        others = {name for name in {*before, *now} if name not in {*locks(now), *temps(now)}}
        wrong += [
            f"a call that only reads has changed {name}"
            for name in sorted(others)
            if before.get(name) != now.get(name)
        ]
    return wrong


def _shorten(tree: Tree) -> str:
    return ", ".join(f"{name}: {entry.content[:24]!r}" for name, entry in tree.items())
