"""Limits that keep this process from writing, wherever the file is: a sandbox, resource limits."""

from __future__ import annotations

import errno
import os
import stat

from .._descriptor import Descriptor, closing
from .._errors import system_error
from .._lock_payload import payload
from .._posix import LOCK_EX, LOCK_NB, kernel
from .._target import DIRECTORY_FLAGS, SIDECAR_SUFFIX
from .subject import failed, need_directory, passed, size_text, warned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .subject import Finding, Place

_NO_FILE = 0x3FFFFFFF  # a descriptor that nobody has
_LOOKED_AT = (errno.EBADF, errno.ENOENT)  # the kernel's answers once it examines the arguments
# Descriptors that a write has open at once; one more where a sidecar is there, to be retired.
_NEEDED, _NEEDED_WITH_CHECKSUM = 3, 5


def process(place: Place) -> Finding:
    """Say whether this process may make a write's system calls, on files of sufficient size."""
    need_directory(place)
    refused = _refused_calls(place)
    if refused:
        return failed(
            f"this process may not call {', '.join(refused)}, so every write fails: a sandbox "
            "(seccomp) refuses; allow it in the profile of the service or container"
        )
    return _file_size(place) or _descriptors(place) or passed("no limit keeps it from writing")


def _refused_calls(place: Place) -> list[str]:
    """Return the system calls that are refused for any arguments.

    A filter answers before the arguments are examined. Without a filter, the kernel finds that the
    descriptor does not exist or that the name is empty (path_resolution(7)), and changes nothing.
    """
    both = {"src_dir_fd": place.dir_fd, "dst_dir_fd": place.dir_fd}
    calls: dict[str, Callable[[], object]] = {
        "fsync": lambda: kernel.fsync(_NO_FILE),
        "fchmod": lambda: kernel.fchmod(_NO_FILE, 0o600),
        "pwrite": lambda: kernel.pwrite(_NO_FILE, b"", 0),
        "flock": lambda: kernel.flock(_NO_FILE, LOCK_EX | LOCK_NB),
        "rename": lambda: kernel.rename("", "", **both),
        "link": lambda: kernel.link("", "", **both),
        "unlink": lambda: kernel.unlink("", dir_fd=place.dir_fd),
        "getrandom": lambda: os.urandom(1),
    }
    refused = []
    for name, call in calls.items():
        try:
            call()
        except system_error() as error:
            if error.errno not in _LOOKED_AT:
                code = errno.errorcode.get(error.errno or 0, str(error.errno))
                refused.append(f"{name} ({code})")
        except NotImplementedError:  # /dev/urandom is missing, too
            refused.append(f"{name} (ENOSYS)")
    return refused


def _file_size(place: Place) -> Finding | None:
    """Say what the limit on file sizes prevents; None if nothing."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return None
    text = f"this process may not write files of more than {size_text(limit)} ('ulimit -f')"
    if limit < len(payload(None, "0" * 16)):
        return failed(f"{text}, which is less than a lock has")
    target = place.target
    if target is not None and stat.S_ISREG(target.st_mode) and target.st_size > limit:
        return warned(f"{text}, and the file has {size_text(target.st_size)}")
    return None


class _Owners:
    """Owners of the descriptors that a write needs, to be closed together."""

    def __init__(self) -> None:
        self.all = [Descriptor() for _ in range(1, _NEEDED_WITH_CHECKSUM)]

    def close(self) -> None:
        """Close all of them."""
        for owner in self.all:
            owner.close()


def _descriptors(place: Place) -> Finding | None:
    """Say whether a write finds too few descriptors; None if there are enough."""
    owners = _Owners()
    return closing(owners, lambda: _open_all(owners.all, place))


def _open_all(owners: list[Descriptor], place: Place) -> Finding | None:
    for number, owner in enumerate(owners, 1):
        try:
            owner.open(kernel.open, ".", DIRECTORY_FLAGS, dir_fd=place.dir_fd)
        except system_error() as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                return None
            whose = "system" if error.errno == errno.ENFILE else "process"
            text = f"the {whose} may open only {number} more files ('ulimit -n', 'lsof')"
            needed = _NEEDED + _has_sidecar(place)
            if number < needed:
                return failed(f"{text}, and a write needs {needed}")
            return warned(f"{text}, and a write with a checksum needs {_NEEDED_WITH_CHECKSUM}")
    return None


def _has_sidecar(place: Place) -> bool:
    try:
        kernel.stat(place.name + SIDECAR_SUFFIX, dir_fd=place.dir_fd, follow_symlinks=False)
    except system_error():
        return False
    return True
