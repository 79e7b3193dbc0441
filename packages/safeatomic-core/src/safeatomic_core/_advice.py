"""What to do about a refusal of the system: from the step, the object that it hit, and its errno.

One errno means many things. ENOENT is a missing file to move, a missing directory to write in, a
directory or a temporary file that was removed meanwhile; EPERM is a sticky directory, or an
immutable file. So the place is looked at again before anything is recommended. Nothing here raises,
and nobody is told to change what belongs to somebody else.
"""

from __future__ import annotations

import errno
import os
import stat

from . import _mounts, _trace
from ._errors import explain, general_advice
from ._posix import kernel
from ._target import SIDECAR_SUFFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._target import Target

_DENIED = (errno.EACCES, errno.EPERM)
_MAKES = (_trace.ACQUIRE, _trace.STAGE, _trace.ANNOUNCE)  # steps that create a name


def explained(
    error: OSError, doing: str, path: str, outcome: str, step: str, target: Target
) -> OSError:
    """Return an error of the same class and errno that says what was done and what to do.

    Args:
        error: What the system call raised.
        doing: What failed, as "cannot …" would go on.
        path: The path of the caller's that it is about.
        outcome: What became of the target.
        step: The step that failed.
        target: The target, opened or not.
    """
    return explain(error, doing, path, outcome, advise(error, step, target))


def advise(error: OSError, step: str, target: Target) -> str:
    """Return what to do about an error, empty where nothing is known."""
    code = error.errno or 0
    sentences = []
    if target.linked:
        sentences.append(f"The path is a link to {_place(target)!r}")
    if error.strerror == os.strerror(code):  # a message of our own says what to do already
        sentences.append(_of_place(code, step, target) or general_advice(code))
    return ". ".join(filter(None, sentences))


def _of_place(code: int, step: str, target: Target) -> str:
    """Return what follows from the place as it is now."""
    if target.dir_fd < 0:
        return _of_path(code, target.path)
    try:
        directory = kernel.fstat(target.dir_fd)
    except OSError:
        return ""
    if code == errno.ENOENT and directory.st_nlink == 0:
        return f"The directory {_directory(target)!r} was removed; create it again"
    if step == _trace.GATE and code == errno.ENOENT:
        return "There is no such file"
    if step == _trace.GATE and code == errno.EPERM:
        return f"The file may be immutable or append-only ('lsattr {_place(target)}' shows it)"
    if step in _MAKES and code in _DENIED:
        return _of_closed_directory(code, step, target, directory)
    if step == _trace.PUBLISH:
        return _of_rename(code, target, directory)
    return ""


def _of_path(code: int, path: str) -> str:
    """Return what to do about a directory that could not be opened."""
    directory = os.path.dirname(path) or "."
    if code == errno.ENOENT:
        if _working_directory_is_gone() and not os.path.isabs(path):
            return (
                "The working directory was removed; use an absolute path, or change to another "
                "directory"
            )
        return f"The directory {directory!r} does not exist; create it first"
    if code == errno.EACCES:
        try:
            status = kernel.stat(directory)
        except OSError:
            return (
                f"This user may not enter {directory!r}, or a directory above it "
                "('namei -l' shows which)"
            )
        return (
            f"This user may not read the directory {directory!r} ({_owner(status)}): a change "
            "flushes it, and for that it must be opened for reading"
        )
    return ""


def _working_directory_is_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _of_closed_directory(code: int, step: str, target: Target, directory: os.stat_result) -> str:
    """Return what to do about a name that could not be made."""
    place = _directory(target)
    if code == errno.EPERM:
        if step == _trace.ANNOUNCE:
            found = _of_sticky_directory(target, target.name + SIDECAR_SUFFIX, directory)
            if found:
                return found
            side = f"{_place(target)}{SIDECAR_SUFFIX}"
            return (
                "The checksum sidecar or its directory may be immutable or append-only "
                f"('lsattr -d {side} {place}' shows it)"
            )
        return f"The directory may be immutable or append-only ('lsattr -d {place}' shows it)"
    if step == _trace.ACQUIRE and kernel.access(".", os.W_OK | os.X_OK, target.dir_fd):
        return (
            "The directory may be written, so it is the hard link by which a lock gets its name "
            "that is refused (Android does so, and some sandboxes); pass concurrency='none' if "
            "nothing else writes the file"
        )
    return (
        f"This user may not create files in the directory {place!r} ({_owner(directory)}), which "
        "every change needs; ask its owner, or choose another place"
    )


def _of_rename(code: int, target: Target, directory: os.stat_result) -> str:
    """Return what to do about a rename that was refused."""
    if code == errno.ENOENT:
        return (
            "The temporary file was removed during the write, perhaps by a cleaning job; write "
            "again"
        )
    if code not in _DENIED:
        return ""
    found = _of_sticky_directory(target, target.name, directory)
    if found:
        return found
    if code == errno.EPERM:
        place = _place(target)
        return f"The file or its directory is immutable or append-only ('lsattr {place}' shows it)"
    return f"This user may no longer change {_directory(target)!r} ({_owner(directory)})"


def _of_sticky_directory(target: Target, name: str, directory: os.stat_result) -> str:
    """Return that a file belongs to somebody else in a sticky directory, if it does."""
    if not directory.st_mode & stat.S_ISVTX:
        return ""
    try:
        file = kernel.stat(name, dir_fd=target.dir_fd, follow_symlinks=False)
    except OSError:
        return ""
    if os.geteuid() in (file.st_uid, directory.st_uid):
        return ""
    which = "this one" if name == target.name else repr(name)
    return (
        f"In the sticky directory {_directory(target)!r} only the owner of a file may replace it, "
        f"and {which} belongs to user {file.st_uid}"
    )


def _owner(status: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}"


def _directory(target: Target) -> str:
    """Return the path of the open directory, without links where the system tells it."""
    try:
        return _mounts.directory_of(target.dir_fd)
    except OSError:
        return os.path.dirname(target.path) or "."


def _place(target: Target) -> str:
    """Return where the file really is."""
    if target.dir_fd < 0:
        return os.path.realpath(target.path)
    return os.path.join(_directory(target), target.name)
