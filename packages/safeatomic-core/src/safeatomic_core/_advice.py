"""What to do when the system refuses a call: from the step, the object concerned and the errno.

One errno means many things. ENOENT is a missing file to move, a missing directory to write in, a
directory or a temporary file that was removed meanwhile; EPERM is a sticky directory, or an
immutable file. So the place is examined again before anything is recommended. Nothing here raises,
and nobody is told to change what belongs to somebody else.
"""

from __future__ import annotations

import errno
import os
import stat

from . import _mounts, _trace
from ._errors import CANNOT, UNCHANGED, explain, general_advice, system_error
from ._filesystems import PSEUDO
from ._posix import kernel
from ._target import LOCK_SUFFIX, SIDECAR_SUFFIX
from ._temp_file import is_temp_name
from ._verdicts import verdict_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._target import Target

_DENIED = (errno.EACCES, errno.EPERM)
_NOT_FLUSHED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
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


def refused(error: OSError, doing: str, step: str, target: Target) -> OSError:
    """Return an error as `explained` does, of a call that leaves its target unchanged."""
    path = str(target.named(error).filename)
    return explained(error, doing, path, UNCHANGED, step, target)


def advise(error: OSError, step: str, target: Target) -> str:
    """Return what to do about an error, empty where nothing is known."""
    code = error.errno or 0
    reason = error.strerror or ""
    sentences = []
    if target.linked and code != errno.ELOOP:  # a loop leads nowhere
        sentences.append(f"The path is a link to {_place(target)!r}")
    if reason == os.strerror(code):  # a message of our own says what to do already
        sentences.append(_of_place(error, code, step, target) or general_advice(code))
    elif reason.startswith(CANNOT):  # a sidecar's, which says what could not be read
        sentences.append(_of_sidecar(code, target) or general_advice(code))
    if step == _trace.SEAL:
        sentences.append(
            "The sidecar still accepts the previous content as well, until the next write with a "
            "checksum or recording of one"
        )
    return ". ".join(filter(None, sentences))


def command(words: str, *paths: str) -> str:
    """Return a command in quotes, its paths as they can be typed in a shell."""
    return quoted(" ".join([words, *map(typed, paths)]))


def quoted(text: str) -> str:
    """Return a text in quotes that do not occur in it: backticks around what is quoted itself."""
    return f"`{text}`" if "'" in text else f"'{text}'"


def typed(path: str) -> str:
    """Return a path as it can be typed in a shell; what does not print, in bash and zsh only."""
    if not path.isprintable():
        shown = (chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in os.fsencode(path))
        return f"$'{''.join(shown)}'"
    if all(char.isalnum() or char in "/._-+:,@%=" for char in path):
        return path
    return "'" + path.replace("'", "'\\''") + "'"


_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b"\\'")


def hinders(target: Target) -> bool:
    """Tell whether the name of a target is one that this user may not rename or replace."""
    try:
        directory = kernel.fstat(target.dir_fd)
    except system_error():
        return False
    if _of_sticky_directory(target, target.name, directory):
        return True
    flags = [_mounts.attributes(target.dir_fd), _mounts.attributes(target.dir_fd, target.name)]
    if any(found & (_mounts.IMMUTABLE | _mounts.APPEND_ONLY) for found in flags if found):
        return True
    if _mounts.is_swap_file(target.dir_fd, target.name):
        return True
    return not kernel.access(".", os.W_OK | os.X_OK, target.dir_fd)


def _of_place(error: OSError, code: int, step: str, target: Target) -> str:
    """Return what follows from the place as it is now."""
    if code == errno.EBUSY:
        return _of_mount(error, step, target)
    if step == _trace.SETTLE and code in _NOT_FLUSHED:
        return (
            "This filesystem cannot flush a directory, so nothing here is known to survive a "
            "crash of the machine; write elsewhere, or pass safety='warn'"
        )
    if target.dir_fd < 0:
        return _of_path(code, target)
    try:
        directory = kernel.fstat(target.dir_fd)
    except system_error():
        return ""
    if directory.st_nlink == 0 and code in (errno.ENOENT, *_DENIED):
        place = _directory(target).removesuffix(" (deleted)")  # as /proc shows it (proc(5))
        return f"The directory {place!r} was removed; create it again"
    if step in _MAKES and code in (errno.ENOENT, *_DENIED):
        filesystem = _filesystem(target, directory)
        if filesystem in PSEUDO:
            return f"Nothing can be created in {filesystem}; write elsewhere"
    if code == errno.ENOENT:
        return _of_missing(_name_in(error), step, target)
    if code not in _DENIED:
        return ""
    if not kernel.access(".", os.X_OK, target.dir_fd):
        return f"This user may not enter {_directory(target)!r} ({_owner(directory)})"
    if step == _trace.GATE or (step == _trace.ACQUIRE and _name_in(error) == target.name):
        return _of_closed_file(code, target)
    if step in _MAKES:
        return _of_closed_directory(error, step, target, directory)
    if step == _trace.PUBLISH:
        return _of_rename(code, target, target.name, directory)
    if step == _trace.SETTLE and _name_in(error):  # a move's source, or its sidecar
        return _of_rename(code, target, _name_in(error), directory)
    if step == _trace.HARDEN and _name_in(error) == target.name:
        return _of_unreadable(target, "which is flushed before it moves, and for that opened")
    if step in (_trace.FILL, _trace.HARDEN, _trace.SEAL) and code == errno.EPERM:
        return _of_guard("Nothing about an open file causes this error")
    if step == _trace.RELEASE:
        return _of_rename(code, target, target.name + LOCK_SUFFIX, directory)
    return ""


def _filesystem(target: Target, directory: os.stat_result) -> str:
    """Return the name of the filesystem, which Gate does not look for under best_effort."""
    try:
        return target.filesystem or verdict_on(directory.st_dev, target.dir_fd).filesystem
    except system_error():
        return ""


def _of_path(code: int, target: Target) -> str:
    """Return what to do about a directory that could not be opened."""
    path = _place(target) if target.linked else target.path
    directory = os.path.dirname(path) or "."
    if code == errno.ENOENT:
        if _working_directory_is_gone() and not os.path.isabs(path):
            return (
                "The working directory was removed; use an absolute path, or change to another "
                "directory"
            )
        if target.must_exist:
            return f"There is no such file, and no directory {directory!r}"
        return f"The directory {directory!r} does not exist; create it first"
    if code == errno.EPERM:
        return _of_guard(f"This error is not about the mode of {directory!r}")
    if code == errno.EACCES:
        try:
            status = kernel.stat(directory)
        except system_error():
            return (
                f"This user may not enter {directory!r}, or a directory above it "
                "('namei -l' shows which)"
            )
        effective = os.access in os.supports_effective_ids
        if os.access(directory, os.R_OK, effective_ids=effective):
            return _of_guard(f"The mode of the directory {directory!r} lets this user read it")
        return (
            f"This user may not read the directory {directory!r} ({_owner(status)}): a change "
            "flushes it, and for that it must be opened for reading"
        )
    return ""


def _working_directory_is_gone() -> bool:
    try:
        return kernel.stat(".").st_nlink == 0
    except system_error():
        return False


def _of_missing(name: str, step: str, target: Target) -> str:
    """Say what vanished."""
    if is_temp_name(name):
        return (
            "The temporary file was removed or replaced during the write, perhaps by a cleaning "
            "job; write again"
        )
    if step == _trace.GATE:
        try:
            kernel.stat(os.path.dirname(_place(target)))  # which a link may lead into
        except system_error() as error:
            if error.errno == errno.ENOENT:
                return _of_path(errno.ENOENT, target)
        return "There is no such file"
    if target.must_exist and name == target.name:
        return "The file was moved or deleted meanwhile, by another program"
    return ""


def _of_closed_file(code: int, target: Target) -> str:
    """Return what to do about a target that may not be written, or not be looked at."""
    status = target.status
    if status is not None and not kernel.access(target.name, os.W_OK, target.dir_fd):
        if code == errno.EPERM:
            return _of_file_attributes(target)
        return (
            f"This user may not write the file ({_owner(status)}), and a file that may not be "
            "written is not replaced either"
        )
    if code == errno.EPERM:
        return _of_file_attributes(target)
    return _of_guard(f"The mode of {_place(target)!r} lets this user write it")


def _of_unreadable(target: Target, why: str) -> str:
    """Return what to do about a file that could not be opened for reading."""
    if target.status is None or kernel.access(target.name, os.R_OK, target.dir_fd):
        return _of_guard("The mode of the file lets this user read it")
    return f"This user may not read the file ({_owner(target.status)}), {why}"


def _of_mount(error: OSError, step: str, target: Target) -> str:
    """Return what to do about a name that is in use: of a file that is mounted over it."""
    other = error.filename2  # of an exchange, which replaces both names
    names = (_name_in(error), os.path.basename(other) if isinstance(other, str) else "")
    if target.name + SIDECAR_SUFFIX in names:
        what = "The checksum sidecar"
    elif target.name + LOCK_SUFFIX in names:
        what = "The lock file"
    elif step == _trace.PUBLISH:
        what = "The file"
    else:
        return ""
    return (
        f"{what} is probably a single bind-mounted file, which cannot be replaced by rename; "
        "mount its directory instead"
    )


def _of_sidecar(code: int, target: Target) -> str:
    """Return what to do about a sidecar that could not be read."""
    if code not in _DENIED or target.dir_fd < 0:
        return ""
    name = target.name + SIDECAR_SUFFIX
    try:
        status = kernel.stat(name, dir_fd=target.dir_fd, follow_symlinks=False)
    except system_error():
        return ""
    if kernel.access(name, os.R_OK, target.dir_fd):
        return _of_guard(f"The mode of {name!r} lets this user read it")
    return f"This user may not read {name!r} ({_owner(status)})"


def _of_closed_directory(
    error: OSError, step: str, target: Target, directory: os.stat_result
) -> str:
    """Return what to do about a name that could not be made, or a file that could not be read."""
    place, at = _directory(target), target.dir_fd
    if step == _trace.ANNOUNCE:
        if _name_in(error) == target.name and target.status is not None:
            return _of_unreadable(target, "whose present content the checksum has to describe")
        if error.errno == errno.EPERM:
            name = target.name + SIDECAR_SUFFIX
            shows = command("lsattr -d", _place(target) + SIDECAR_SUFFIX, place)
            what = "The checksum sidecar or its directory"
            return _of_sticky_directory(target, name, directory) or _of_attributes(
                target, name, what, shows
            )
    lock = target.name + LOCK_SUFFIX
    if error.errno == errno.EPERM and _name_in(error) == lock:
        return _of_rename(errno.EPERM, target, lock, directory)
    if error.errno == errno.EPERM:
        return _of_attributes(target, "", "The directory", command("lsattr -d", place))
    if not kernel.access(".", os.W_OK | os.X_OK, target.dir_fd):
        return (
            f"This user may not create files in the directory {place!r} ({_owner(directory)}), "
            "which every change needs; ask its owner, or choose another place"
        )
    if step == _trace.ACQUIRE and _name_in(error) == "." and not kernel.access(".", os.R_OK, at):
        return (
            f"This user may not read {place!r} ({_owner(directory)}): taking over the lock of a "
            "dead holder flushes the directory, and for that it must be opened for reading; "
            "remove the lock with release_stale_lock() or 'safeatomic unlock --stale'"
        )
    if step == _trace.ACQUIRE and error.filename2 is not None:
        return (
            "The directory may be written, so it is the hard link by which a lock gets its name "
            "that is refused (Android does so, and some sandboxes); if nothing else writes the "
            "file, make changes with concurrency='none', which take no lock"
        )
    return _of_guard(f"The mode of the directory {place!r} lets this user create files")


def _of_rename(code: int, target: Target, name: str, directory: os.stat_result) -> str:
    """Return what to do about a rename or a removal that was refused."""
    found = _of_sticky_directory(target, name, directory)
    if found:
        return found
    if code == errno.EPERM:
        place = os.path.join(_directory(target), name)
        return _of_attributes(target, name, "The file or its directory", command("lsattr", place))
    if kernel.access(".", os.W_OK | os.X_OK, target.dir_fd):
        return _of_guard(f"The mode of the directory {_directory(target)!r} lets this user do it")
    return f"This user may no longer change {_directory(target)!r} ({_owner(directory)})"


def _of_file_attributes(target: Target) -> str:
    return _of_attributes(target, target.name, "The file", command("lsattr", _place(target)))


def _of_attributes(target: Target, name: str, what: str, shows: str) -> str:
    """Return what to do about EPERM: attributes explain it, or something that keeps no record."""
    found = [_mounts.attributes(target.dir_fd)]
    if name:
        found.append(_mounts.attributes(target.dir_fd, name))
        if _mounts.is_swap_file(target.dir_fd, name):
            return "The machine swaps to that file; end that with 'swapoff' first"
    known = [flags for flags in found if flags is not None]
    if any(flags & (_mounts.IMMUTABLE | _mounts.APPEND_ONLY) for flags in known):
        return f"{what} is immutable or append-only ({shows} shows it)"
    if len(known) == len(found):
        place = os.path.join(_directory(target), name) if name else _directory(target)
        return _of_guard(f"{what} is neither immutable nor append-only ({place!r})")
    return f"{what} may be immutable or append-only ({shows} shows it)"


def _of_guard(allowed: str) -> str:
    """Say who refuses what owner, mode and attributes allow."""
    who = "seccomp, SELinux, AppArmor, Landlock"
    return f"{allowed}, so a sandbox or a security module ({who}) refuses"


def _of_sticky_directory(target: Target, name: str, directory: os.stat_result) -> str:
    """Return that a file belongs to somebody else in a sticky directory, if it does."""
    if not directory.st_mode & stat.S_ISVTX:
        return ""
    try:
        file = kernel.stat(name, dir_fd=target.dir_fd, follow_symlinks=False)
    except system_error():
        return ""
    if os.geteuid() in (file.st_uid, directory.st_uid):
        return ""
    which = "this one" if name == target.name else repr(name)
    return (
        f"In the sticky directory {_directory(target)!r} only the owner of a file may replace or "
        f"remove it, and {which} belongs to user {file.st_uid}"
    )


def _name_in(error: OSError) -> str:
    """Return the last component of the name that a call was given, empty for a descriptor."""
    return os.path.basename(error.filename) if isinstance(error.filename, str) else ""


def _owner(status: os.stat_result) -> str:
    return f"mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}"


def _directory(target: Target) -> str:
    """Return the path of the open directory, without links where the system tells it."""
    try:
        return _mounts.directory_of(target.dir_fd)
    except system_error():
        return os.path.dirname(target.path) or "."


def _place(target: Target) -> str:
    """Return where the file really is."""
    status = target.status
    if target.dir_fd < 0 or (status is not None and stat.S_ISLNK(status.st_mode)):
        try:
            return kernel.realpath(target.path)
        except system_error():  # the working directory was removed
            return target.path
    return os.path.join(_directory(target), target.name)
