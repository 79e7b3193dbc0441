"""Harden's first half: what an overwritten file keeps.

Mode, owner, group and extended attributes (POSIX ACLs and security labels among them) are put onto
the temp before it is flushed, so that the new content never shows with the wrong ones. Timestamps
are not kept: new content has a new mtime. What this user may not preserve is never fatal; it is
logged.
"""

from __future__ import annotations

import errno
import stat

from . import _log, _mounts
from ._acl import (
    ACCESS,
    GROUP_OBJ,
    MASK,
    NOBODY,
    OTHER,
    OVERFLOW,
    USER_OBJ,
    parse,
    with_mode,
)
from ._descriptor import Descriptor, closing
from ._errors import system_error
from ._posix import kernel
from ._target import READ_FLAGS
from ._temp_file import Temp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ._acl import Entries
    from ._options import Policy
    from ._target import Target

    # What one write could not preserve, and whether anybody gains or loses access by it.
    Loss: TypeAlias = tuple[str, bool]

_NO_XATTRS = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_NEW_FILE_MODE = 0o666  # the kernel applies the umask and default ACLs, as for open(path, "w")
_OVERWRITE_MODE = stat.S_IRUSR | stat.S_IWUSR
_CAPABILITY = "security.capability"
# A hash or signature of the former content, with which a kernel that appraises files would refuse
# to open the new one (security/integrity/ima/ima_appraise.c), and one of the inode's metadata.
_OF_THE_CONTENT = frozenset({"security.ima", "security.evm"})
# EINVAL: this user namespace, a container, has no number for that owner (user_namespaces(7)).
_NOT_OURS_TO_GIVE = frozenset({errno.EPERM, errno.EACCES, errno.EINVAL})
_NOT_LISTED = ("extended attributes", True)
_SET_ID = stat.S_ISUID | stat.S_ISGID
_READ_WRITE = 0o6


class Metadata:
    """What a temp is to look like: the file that it replaces, or a new one.

    Attributes:
        without_acl: Whether Harden has seen that neither file has an access ACL.
    """

    __slots__ = (
        "_acl",
        "_given",
        "_marked",
        "_policy",
        "_private",
        "_target",
        "_temp",
        "without_acl",
    )

    def __init__(self, target: Target, temp: Temp, policy: Policy) -> None:
        self._target, self._temp, self._policy = target, temp, policy
        self._private = False  # whether the temp was made for its owner alone
        self._given: int | None = None  # the mode that it had when the caller got its descriptor
        self._acl: Entries | None = None  # what chmod(2) leaves of the ACL that it had then
        self._marked = False  # whether that mode may have the sticky bit, set by `expose`
        self.without_acl = False

    def create_temp(self) -> None:
        """Create the temp, which at no time is readable by those who may not read the file."""
        target = self._target
        keeps = self._policy.preserve_metadata and target.status is not None
        if keeps or target.is_mount_point:
            self._private = True
            self._temp.create(_OVERWRITE_MODE)
        else:
            mode = self._policy.mode
            self._temp.create(_NEW_FILE_MODE if mode is None else mode)

    def hide(self) -> None:
        """Let only the owner read the temp, as if Gate had seen the mount point."""
        if not self._private:
            kernel.fchmod(self._temp.fd, _OVERWRITE_MODE)

    def expose(self) -> None:
        """Take note that the caller has the temp's descriptor, and may change its mode or ACL."""
        if self._given is None:
            fd = self._temp.fd
            # So that this mode is distinct from any that the caller sets. The bit means nothing on
            # a file (inode(7)).
            self._marked = True
            kernel.fchmod(fd, stat.S_IMODE(kernel.fstat(fd).st_mode) | stat.S_ISVTX)
            self._given = stat.S_IMODE(kernel.fstat(fd).st_mode)
            self._acl = _named_entries(fd)

    def put_on(self) -> None:
        """Give the temp its owner, mode and attributes: the content never shows without them."""
        if self._target.is_mount_point:
            return  # the file itself stays
        chosen = None if self._given is None else self._chosen(self._given)
        if self._policy.preserve_metadata and self._target.status is not None:
            named = None if self._given is None else _named_entries(self._temp.fd)
            keeps_acl = named is not None and named != self._acl
            if keeps_acl and chosen is None:
                chosen = stat.S_IMODE(kernel.fstat(self._temp.fd).st_mode) & ~stat.S_ISVTX
            self.without_acl = preserve(self._target, self._temp, chosen, keeps_acl=keeps_acl)
            return
        mode = self._policy.mode if chosen is None else chosen  # the umask took bits away
        if mode is None and self._marked:
            mode = stat.S_IMODE(kernel.fstat(self._temp.fd).st_mode) & ~stat.S_ISVTX
        if self._private and chosen is None and self._policy.mode is None:
            mode = self._of_a_new_file()  # what was to be replaced has vanished
        if mode is not None:
            kernel.fchmod(self._temp.fd, mode)

    def _chosen(self, given: int) -> int | None:
        """Return the mode that the caller has set through the descriptor, None if none."""
        mode = stat.S_IMODE(kernel.fstat(self._temp.fd).st_mode)
        return None if mode == given else mode & ~stat.S_ISVTX

    def _of_a_new_file(self) -> int:
        """Return what the umask and default ACLs leave of a new file's mode here."""
        fresh = Temp(self._target.dir_fd)
        try:
            fresh.create(_NEW_FILE_MODE)
            return stat.S_IMODE(kernel.fstat(fresh.fd).st_mode)
        finally:
            try:
                fresh.discard()
            finally:
                fresh.discard()  # an interrupt may have come before the first had begun


def preserve(
    target: Target, temp: Temp, chosen: int | None = None, *, keeps_acl: bool = False
) -> bool:
    """Give a temp the metadata of the file it is going to replace.

    The owner is changed last: of somebody else's file, less may be changed.

    Args:
        target: The target, whose ``status`` is that of the file to be replaced.
        temp: The temp.
        chosen: Permission bits that it is to have instead of the target's, None for those.
        keeps_acl: It has an access ACL that it is to have instead of the target's.

    Returns:
        Whether neither of them was seen to have an access ACL, in a list of their attributes.

    Raises:
        OSError: The mode cannot be set on our own temp, or an attribute fails with a real error.
    """
    status = target.status
    assert status is not None  # noqa: S101 - callers ask for an existing file's metadata
    lost: list[Loss] = []
    fd = temp.fd
    mode = stat.S_IMODE(status.st_mode) if chosen is None else chosen
    uid, gid = temp.owner
    if gid != status.st_gid:
        gid = _give(fd, status.st_gid, gid, "gid_map")
        if gid != status.st_gid:
            lost.append((f"group {status.st_gid}", True))
            if mode & stat.S_ISGID:
                lost.append(("the set-group-ID bit", True))
                mode &= ~stat.S_ISGID
    without_acl, cleared = _copy_xattrs(target, fd, chosen, lost, keeps_acl)
    kernel.fchmod(fd, mode & ~_SET_ID)  # chown(2) clears these bits
    if uid != status.st_uid:
        uid = _give(fd, status.st_uid, uid, "uid_map")
        if uid != status.st_uid:
            # Everybody keeps their access where the group may do what the owner may.
            same = mode >> 6 & _READ_WRITE == mode >> 3 & _READ_WRITE and gid == status.st_gid
            lost.append((f"owner {status.st_uid}", not same))
            if mode & stat.S_ISUID:
                # It would now lend the rights of somebody else than it was set for.
                lost.append(("the set-user-ID bit", True))
                mode &= ~stat.S_ISUID
        if cleared is not None:
            _set(fd, _CAPABILITY, cleared, lost)
    if mode & _SET_ID:
        _set_id_bits(fd, mode, lost)
    if lost:
        _report(target.path, lost)
    return without_acl


def _report(path: str, lost: list[Loss]) -> None:
    """Log what was lost: a warning where it matters, once in a process for each kind."""
    grave = {what for what, matters in lost if matters} - _warned
    _warned.update(grave)
    log = _log.warning if grave else _log.debug
    log("%r: could not preserve %s", path, ", ".join(what for what, _ in lost))


_warned: set[str] = set()


def _give(fd: int, wanted: int, before: int, table: str) -> int:
    """Change owner or group, where that may be done; return what it is then.

    Args:
        fd: The temp.
        wanted: The number that it is to have.
        before: The number that it has.
        table: ``"uid_map"`` for the owner, ``"gid_map"`` for the group.
    """
    if wanted == OVERFLOW and not _has_every_number(table):
        return before  # it may be anybody's, and a chown would make it nobody's
    owner, group = (wanted, -1) if table == "uid_map" else (-1, wanted)
    try:
        kernel.fchown(fd, owner, group)
    except system_error() as error:
        if error.errno not in _NOT_OURS_TO_GIVE:
            raise
        return before
    return wanted


def _has_every_number(table: str) -> bool:
    """Tell whether this is a user namespace in which every user has a number of their own."""
    try:
        return _mounts.read_proc(f"/proc/self/{table}").split() == [b"0", b"0", b"4294967295"]
    except system_error():
        return False


def _set_id_bits(fd: int, mode: int, lost: list[Loss]) -> None:
    """Set the set-id bits, on a file that may be somebody else's by now, or in a sandbox.

    systemd's ``RestrictSUIDSGID=`` refuses them, which `chmod -R g+s` gives to plain data.
    """
    try:
        kernel.fchmod(fd, mode)
    except system_error() as error:
        if error.errno not in _NOT_OURS_TO_GIVE:
            raise
        lost.append(("the set-user-ID and set-group-ID bits", True))


class _Copying:
    """How attributes are copied, and what came of it."""

    def __init__(
        self, target: Target, chosen: int | None, lost: list[Loss], *, keeps_acl: bool
    ) -> None:
        """Begin.

        Args:
            target: Whose they are.
            chosen: Permission bits that an access ACL is not to exceed, None for what it says.
            lost: Takes what cannot be had.
            keeps_acl: The temp's own access ACL stays.
        """
        self.target, self.chosen, self.lost, self.keeps_acl = target, chosen, lost, keeps_acl
        self.capability: bytes | None = None  # file capabilities, which chown(2) takes away again

    def set(self, fd: int, name: str, value_of: Callable[[str], bytes]) -> None:
        """Give a temp one attribute of the target."""
        try:
            value = value_of(name)
        except FileNotFoundError:
            if kernel.exists_at(self.target.name, self.target.dir_fd):
                raise
            return  # it was just removed: nothing is lost
        except system_error() as error:
            _forgive(error, name, self.lost)
            return
        if name == ACCESS and self.chosen is not None:
            value = with_mode(value, self.chosen)
        if name == _CAPABILITY:
            self.capability = value
        _set(fd, name, value, self.lost)


def _set(fd: int, name: str, value: bytes, lost: list[Loss]) -> None:
    try:
        kernel.setxattr(fd, name, value)
    except system_error() as error:
        _forgive(error, name, lost)


def _copy_xattrs(
    target: Target, fd: int, chosen: int | None, lost: list[Loss], keeps_acl: bool
) -> tuple[bool, bytes | None]:
    """Make the temp's extended attributes those of the target.

    Returns:
        Whether the lists show that neither has an access ACL; and file capabilities.
    """
    try:
        try:
            wanted: list[str] = kernel.listxattr_at(target.name, target.dir_fd)
        except (FileNotFoundError, PermissionError):  # no /proc, or a sandbox's
            copying = _Copying(target, chosen, lost, keeps_acl=keeps_acl)
            return False, _copy_from_open(target, fd, copying)
        present = _present(fd, lost)
    except system_error() as error:
        if error.errno in _NO_XATTRS:
            return False, None
        raise
    if not (wanted or present):
        return True, None
    copying = _Copying(target, chosen, lost, keeps_acl=keeps_acl)
    at, dir_fd = target.name, target.dir_fd
    _copy(wanted, present, lambda name: kernel.getxattr_at(at, name, dir_fd), fd, copying)
    return ACCESS not in wanted and ACCESS not in present, copying.capability


def _present(fd: int, lost: list[Loss]) -> list[str]:
    """Return the names of a temp's attributes; where a sandbox refuses, of the possible one."""
    try:
        names: list[str] = kernel.listxattr(fd)
    except PermissionError:
        if _NOT_LISTED not in lost:
            lost.append(_NOT_LISTED)
        return [ACCESS]
    return names


def _copy_from_open(target: Target, fd: int, copying: _Copying) -> bytes | None:
    """Do the same through an open file, where the way through ``/proc`` is closed."""
    source = Descriptor()

    def copy() -> None:
        wanted: list[str] = []
        try:
            opened = source.open(kernel.open, target.name, READ_FLAGS, dir_fd=target.dir_fd)
            wanted = kernel.listxattr(opened)
        except FileNotFoundError:
            pass  # the target was just removed: nothing is lost
        except PermissionError:  # it may not be read, or a security module says no
            copying.lost.append(_NOT_LISTED)
        present = _present(fd, copying.lost)
        _copy(wanted, present, lambda name: kernel.getxattr(source.fd, name), fd, copying)

    closing(source, copy)
    return copying.capability


def _copy(
    wanted: list[str],
    present: list[str],
    value_of: Callable[[str], bytes],
    fd: int,
    copying: _Copying,
) -> None:
    """Give a temp attributes, and take away a default one that the target does not have.

    Args:
        wanted: Names of the target's.
        present: Names of those that the temp has already.
        value_of: Returns the value of one of the target's.
        fd: The temp.
        copying: How they are copied.
    """
    for name in wanted:
        if name not in _OF_THE_CONTENT and not (copying.keeps_acl and name == ACCESS):
            copying.set(fd, name, value_of)
    if (
        ACCESS in present and ACCESS not in wanted and not copying.keeps_acl
    ):  # the directory's default ACL
        try:
            kernel.removexattr(fd, ACCESS)
        except system_error() as error:
            _forgive(error, ACCESS, copying.lost)


def _named_entries(fd: int) -> Entries | None:
    """Return what chmod(2) leaves as it is of an open file's access ACL, None if it has none."""
    try:
        entries = parse(kernel.getxattr(fd, ACCESS))
    except system_error() as error:
        if error.errno not in _NO_XATTRS | {errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL}:
            raise
        return None
    set_by_chmod = (USER_OBJ, OTHER, MASK if (MASK, NOBODY) in entries else GROUP_OBJ)
    return {key: may for key, may in entries.items() if key[0] not in set_by_chmod}


def _forgive(error: OSError, name: str, lost: list[Loss]) -> None:
    """Note an attribute that this user or filesystem cannot carry over; raise what is an error."""
    if error.errno not in _NO_XATTRS | {errno.EPERM, errno.EACCES, errno.ENODATA, errno.EINVAL}:
        raise error
    lost.append((name, name == ACCESS or name.startswith("security.")))
