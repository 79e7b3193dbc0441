"""Replace or remove what has a sidecar's name, with no other program in between.

Between our look at a sidecar and our rename another program may put its own file there. So the two
names are *exchanged*, and what was displaced is compared with what was recognised before: what
differs goes back. What was displaced keeps its inode under a temp's name until it is dropped, so
that putting it back is the exchange once more (`docs/adr/0030-sidecar-exchange.md`).

Which name points to which inode is read from the directory, not remembered: an interrupt may come
before a note of it.
"""

from __future__ import annotations

import errno
import stat

from . import _log
from ._checksum_record import CAP, has_record_form
from ._errors import system_error
from ._posix import kernel
from ._rename import NO_LINK, lacks_rename_flag, rename_new, rename_to_free
from ._target import SIDECAR_SUFFIX, identity, still_named
from ._temp_file import NAMES, SUM_PREFIX, Temp, fresh_name, progress, unlink_if_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._sidecar_file import Sidecar
    from ._target import Target


class Replacement:
    """The sidecar's name of one target, and what was done to it.

    Attributes:
        record: The temp of our record; without a name once it stands at the sidecar's.
        content: The bytes of our record.
    """

    __slots__ = (
        "_aside",
        "_copy",
        "_dir_fd",
        "_name",
        "_path",
        "_present",
        "content",
        "record",
    )

    def __init__(self, target: Target, token: str) -> None:
        self._dir_fd = target.dir_fd
        self._name = target.name + SIDECAR_SUFFIX
        self._path = target.path + SIDECAR_SUFFIX
        self._present: Sidecar | None = None
        self._aside = ""  # the name under which what was displaced may stand
        self._copy: Temp | None = None  # of what was displaced, where it could not be linked
        self.record = Temp(target.dir_fd, token, SUM_PREFIX, lasting=target.lasting)
        self.content = b""

    # --------------------------------------------------------------------------------- forwards

    def install(self, present: Sidecar) -> bool:
        """Put our record in the place of what was recognised.

        Returns:
            Whether that was done. If not, what stands there is another thing than what was
            recognised, and stands there still or again.

        Raises:
            OSError: The name could not be given. `restore` undoes what was done.
        """
        self._present = present
        if not present.exists:
            return self._create()
        self._aside = self.record.name  # which shows what was displaced, after the exchange
        try:
            kernel.rename_exchange(self.record.name, self._name, self._dir_fd, self._dir_fd)
        except FileNotFoundError:
            return self._not_done()  # removed meanwhile
        except system_error() as error:
            if not lacks_rename_flag(error, kernel.rename_exchange):
                raise
            return self._install_without_exchange(present)
        self.record.name = ""
        if present.is_at(self._aside, self._dir_fd):
            return True
        self._give_back()
        return False

    def take_away(self, present: Sidecar) -> bool:
        """Move what was recognised aside; as `install` otherwise."""
        self._present = present
        try:
            self._move_aside()
        except FileNotFoundError:
            if kernel.exists_at(self._name, self._dir_fd):
                raise
            self._aside = ""  # somebody who takes no lock was quicker
            return True
        if present.is_at(self._aside, self._dir_fd):
            return True
        self._return_aside()
        return False

    def drop(self) -> None:
        """Remove what was displaced, once it is no longer needed; what fails is logged.

        Somebody may have had it open when it was displaced and written into it since. What is no
        record by now stays, under the temp's name, which no sweep then removes.
        """
        self._find_out()
        if not self._aside:
            return
        try:
            self._drop_aside()
        except system_error():
            try:
                self._drop_aside()  # the first failure may be passing
            except system_error() as error:
                why = "%r: could not remove the former sidecar %r (%s)"
                _log.warning(why, self._path, self._aside, error)
        self._aside = ""

    def is_untouched(self) -> bool:
        """Tell whether our record still holds exactly what we wrote, whatever name it has."""
        raw: bytes = kernel.pread(self.record.fd, len(self.content) + 1, 0)
        return raw == self.content

    # -------------------------------------------------------------------------------- backwards

    def restore(self) -> None:
        """Put back what was recognised: the same inode. Never overwrites anything of others.

        Raises:
            OSError: That failed; what was displaced may still stand under its temp's name.
        """
        self._find_out()
        if self.record.fd < 0 or self.record.name:  # taken away, or not replaced
            if self._aside:
                self._return_aside()
        elif not self._shows_record():
            if self._aside and still_named(self._dir_fd, self._aside, self._own()):
                self._given_back()  # before an interrupt
            elif self._aside and not kernel.exists_at(self._name, self._dir_fd):
                self._return_aside()
            elif not self._is_back():
                self._give_way("another program replaced it meanwhile")
        elif not self.is_untouched():
            self._give_way("another program wrote into it meanwhile")
        elif self._aside:
            self._give_back()
        else:
            self._uncreate()

    def withdraw(self) -> None:
        """Take our record away, without putting back what was there before.

        Raises:
            OSError: That failed.
        """
        self.drop()
        self.restore()

    def leave(self, why: str) -> None:
        """Leave everything where it is, for others to find."""
        self._find_out()
        self._leave(why)

    def discard(self) -> None:
        """Close our record, and remove its temp's name and what was displaced, if they are left."""
        try:
            self.drop()
        finally:
            if self._copy is not None:
                self._copy.close()
            self.record.discard()

    # ---------------------------------------------------------------------------------- details

    def _move_aside(self) -> None:
        """Rename what stands at the sidecar's name to a name of a temp."""
        token = self.record.token
        for _ in range(NAMES):
            # Before the call: an interrupt right after it must find the name.
            self._aside = fresh_name(SUM_PREFIX, token)
            token = ""
            try:
                rename_to_free(self._name, self._aside, self._dir_fd)
            except FileExistsError:
                self._aside = ""  # somebody else's
            else:
                return
        raise FileExistsError(errno.EEXIST, "no free name to move it to", self._name)

    def _drop_aside(self) -> None:
        if self._expendable(self._aside):
            unlink_if_there(self._aside, self._dir_fd)
        elif kernel.exists_at(self._aside, self._dir_fd):
            _log.warning(
                "%r: another program wrote into it while it was being replaced; what it wrote is "
                "in %r",
                self._path,
                self._aside,
            )

    def _create(self) -> bool:
        """Give our record the name that nobody has."""
        try:
            linked = rename_new(self.record.name, self._name, self._dir_fd, self._dir_fd)
        except FileExistsError:
            return False
        if linked:
            kernel.unlink(self.record.name, dir_fd=self._dir_fd)
        self.record.name = ""
        return True

    def _install_without_exchange(self, present: Sidecar) -> bool:
        """Keep what is there under a second name, then rename over it (a window stays)."""
        at = self._dir_fd
        name = fresh_name(SUM_PREFIX, "")
        self._aside = name  # before the call: an interrupt right after it must find it
        try:
            kernel.link(self._name, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return self._not_done()
        except system_error() as error:
            if error.errno not in NO_LINK:
                raise
            self._copy_aside(present)
        if not present.is_at(self._name, self._dir_fd):
            unlink_if_there(self._aside, self._dir_fd)
            return self._not_done()
        kernel.rename(
            self.record.name, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd
        )
        self.record.name = ""
        if kernel.pread(present.fd, CAP + 1, 0) == present.raw:
            return True
        self._copy_again(present)
        self._give_back()
        return False

    def _copy_aside(self, present: Sidecar) -> None:
        """Copy what is there, where it cannot be linked."""
        assert present.status is not None  # noqa: S101 - it exists
        self._aside = ""
        self._copy = copy = Temp(self._dir_fd, prefix=SUM_PREFIX)
        try:
            copy.create(stat.S_IRUSR | stat.S_IWUSR)
        finally:
            self._aside = copy.name
        copy.write_all(present.raw)
        owner = (present.status.st_uid, present.status.st_gid)
        if copy.owner != owner:
            try:
                kernel.fchown(copy.fd, *owner)
            except system_error() as error:
                _log.debug("%r: a copy put back is ours (%s)", self._path, error)
        kernel.fchmod(copy.fd, stat.S_IMODE(present.status.st_mode))
        kernel.fsync(copy.fd)

    def _copy_again(self, present: Sidecar) -> None:
        """Bring a copy up to date with what was written into the original since."""
        if self._copy is None:
            return
        offset = 0
        while chunk := kernel.pread(present.fd, CAP, offset):
            offset += progress(kernel.pwrite(self._copy.fd, chunk, offset))
        kernel.ftruncate(self._copy.fd, offset)

    def _not_done(self) -> bool:
        self._aside = ""
        return False

    def _give_back(self) -> None:
        """Exchange our record and what it displaced once more."""
        aside = self._aside
        try:
            kernel.rename_exchange(aside, self._name, self._dir_fd, self._dir_fd)
        except FileNotFoundError:
            self._return_aside()  # our record was removed from under us
            return
        except system_error() as error:
            if not lacks_rename_flag(error, kernel.rename_exchange):
                raise
            kernel.rename(aside, self._name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
            self._aside = ""
            return
        self._given_back()

    def _given_back(self) -> None:
        """Remove our record, which has been exchanged back, from the name of a temp."""
        aside = self._aside
        if still_named(self._dir_fd, aside, self._own()) and self.is_untouched():
            self.record.name, self._aside = aside, ""
            unlink_if_there(aside, self._dir_fd)
            self.record.name = ""
            return
        # Somebody put a third file there in the meantime, or wrote into our record; without us it
        # would have replaced the second one.
        kernel.rename_exchange(aside, self._name, self._dir_fd, self._dir_fd)
        self._give_way("another program replaced it meanwhile")

    def _return_aside(self) -> None:
        """Give what was displaced its name again, unless that is somebody else's by now."""
        try:
            rename_to_free(self._aside, self._name, self._dir_fd)
        except FileNotFoundError:
            pass  # never displaced
        except FileExistsError:
            assert self._present is not None  # noqa: S101 - nothing is aside before
            if self._present.is_at(self._name, self._dir_fd):
                unlink_if_there(self._aside, self._dir_fd)  # a link or a copy of what never left
            else:
                self._give_way("another program made a new one meanwhile")
        self._aside = ""

    def _uncreate(self) -> None:
        """Take our own record away where there was nothing before."""
        record = self.record
        # Before the call, as in `_move_aside`. It is not `_aside`: nothing was displaced.
        record.name = fresh_name(SUM_PREFIX, record.token)
        try:
            rename_to_free(self._name, record.name, self._dir_fd)
        except FileNotFoundError:
            record.name = ""  # removed meanwhile
            return
        if still_named(self._dir_fd, record.name, self._own()) and self.is_untouched():
            unlink_if_there(record.name, self._dir_fd)
            record.name = ""
            return
        self._aside, record.name = record.name, ""
        self._return_aside()

    def _give_way(self, why: str) -> None:
        """Leave what others put there, which would have replaced what we displaced."""
        _log.warning("the checksum sidecar %r is left as it is: %s", self._path, why)
        self.drop()

    def _leave(self, why: str) -> None:
        name, self._aside = self._aside, ""
        _log.warning(
            "the checksum sidecar %r is left as it is: %s%s",
            self._path,
            why,
            f"; the one that was there before is {name!r}" if name else "",
        )

    def _find_out(self) -> None:
        """Take note of an exchange, a rename or a link that an interrupt kept us from noting."""
        record = self.record
        if record.fd < 0 or not record.name:
            return
        own = self._own()
        at_temp = still_named(self._dir_fd, record.name, own)
        if self._shows_record():
            if at_temp:  # linked there, where no rename refuses to replace
                unlink_if_there(record.name, self._dir_fd)
            record.name = ""
        elif not at_temp:
            record.name = ""  # it was the sidecar, and somebody has replaced it since
        elif record.name == self._aside:
            self._aside = ""  # not exchanged

    def _expendable(self, name: str) -> bool:
        """Tell whether what was displaced is still what was recognised, or at least a record."""
        present = self._present
        assert present is not None  # noqa: S101 - nothing is aside before
        if self._copy is not None or present.is_at(name, self._dir_fd):
            return True
        inode = present.inode
        if inode is None or not still_named(self._dir_fd, name, inode):
            return False
        return has_record_form(present.fd)

    def _is_back(self) -> bool:
        """Tell whether all is as it was: an interrupt came when that had been done."""
        present = self._present
        if present is None or present.exists:
            return present is not None and present.is_at(self._name, self._dir_fd)
        return not kernel.exists_at(self._name, self._dir_fd)

    def _shows_record(self) -> bool:
        """Tell whether the sidecar's name shows our record."""
        try:
            return still_named(self._dir_fd, self._name, self._own())
        except system_error() as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return False  # there is no room for such a name

    def _own(self) -> tuple[int, int]:
        return identity(kernel.fstat(self.record.fd))
