"""Removing a sidecar of ours, which would not describe what is about to be published.

`Announcement` builds on this: a record takes the sidecar's place instead.
"""

from __future__ import annotations

import errno

from . import _log, _trace
from ._errors import system_error
from ._replacement import Replacement
from ._sidecar_file import Looks, taken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._checksum_record import Checksum
    from ._digests import Digest
    from ._sidecar_file import Sidecar
    from ._target import Target

# Each round lost means that another program changed the sidecar in the microseconds in between.
ROUNDS = 50
RESTLESS = "is being changed by another program again and again"


class Retirement:
    """A sidecar that is examined, perhaps removed, and perhaps put back.

    Attributes:
        announced: Whether the name may point to a record of ours instead.
        retired: Whether the sidecar may have been taken away.
    """

    def __init__(self, target: Target, token: str = "", *, creating: bool = False) -> None:
        """Look at nothing yet.

        Args:
            target: The file whose sidecar it is.
            token: The token of the lock the change is made under.
            creating: Refuse a living creator's record, instead of displacing it.
        """
        self._target = target
        self._token = token
        self._creating = creating
        self._replacement: Replacement | None = None  # most writes have no sidecar to replace
        self._present: Sidecar | None = None  # as it was recognised
        self._looks = Looks()
        self._outdated = False  # whether it is one that must not come back
        self._new = ""
        self._previous: tuple[Digest, ...] = ()
        self.announced = False
        self.retired = False

    def find_ours(self) -> bool:
        """Tell whether the sidecar is ours, for a change that records nothing; log what is left.

        Raises:
            OSError: It could not be examined, for a reason other than its permissions.
        """
        try:
            self._recognise("sha256")
        except system_error() as error:
            if not isinstance(error, PermissionError):
                raise
            _log.warning("%r: its checksum sidecar is left as it is (%s)", self._target.path, error)
            return False
        present = self._present
        assert present is not None  # noqa: S101 - just recognised
        present.log_left(self._target)
        return present.kind == "ours"

    def recorded(self) -> Checksum | None:
        """Return what a sidecar of ours records; None, logged, for whatever else stands there.

        Raises:
            OSError: It cannot be read.
        """
        self._recognise("sha256")
        present = self._present
        assert present is not None  # noqa: S101 - just recognised
        present.log_left(self._target)
        return present.record

    def retire(self, sync_directory: Callable[[], None]) -> None:
        """Take a sidecar away that will not describe the new content, durably."""
        if not self.take_away():
            return
        self._report("retire")
        # Without this barrier a crash may keep the data's rename and bring the old digest back.
        sync_directory()
        self._report("barrier")

    def take_away(self, *, again: bool = True) -> bool:
        """Move a sidecar of ours aside; False if what stands there is not ours, and stays.

        Args:
            again: If it is no longer the one that was recognised, recognise it anew. Without that
                it stays: a writer that takes no lock has made it for a file of its own.

        Raises:
            FileExistsError: Other programs changed it in each attempt. It is left in place.
        """
        for _ in range(ROUNDS):
            present = self._present
            if present is None:
                if not self.find_ours():
                    return False
                continue
            self._hold(present)
            self.retired = True  # before the rename, for the same reason as in announce()
            if self._place.take_away(present):
                return True
            self.retired = False
            self._report("put-back")
            if not again:
                return False
            self._drop_present()
        raise taken(self._target, RESTLESS)

    def is_open(self) -> bool:
        """Tell whether the descriptor of the sidecar that was found still shows it."""
        return self._present is None or self._present.is_open()

    def drop_displaced(self) -> None:
        """Remove what was displaced; the new content is visible, and stays."""
        self._place.drop()

    def roll_back(self, flush: Callable[[int], None]) -> bool:
        """Put the former sidecar back after a failure before Publish (R4).

        Safe at every instant, because every record involved contains the old content's digest. A
        failure here is logged: the announced record is valid for the old content, too.

        Args:
            flush: Flushes the directory, and a renamed file with it.

        Returns:
            Whether that was done, durably.
        """
        done = True
        try:
            self._put_back(flush)
        except system_error() as error:
            _log.warning(
                "could not put the checksum sidecar of %r back (%s)", self._target.path, error
            )
            done = False
        self.announced = self.retired = False  # only now: after an interrupt it is done once more
        return done

    def _put_back(self, flush: Callable[[int], None]) -> None:
        # An unsealed record stays replaced: what resolving it has ruled out stays ruled out.
        keep = self.announced and self._outdated
        place = self._place
        moved_on = not self._target.shows_what_was_found()
        if moved_on and self._target.status is None:
            # Somebody else has created the file: our record goes, and nothing comes back.
            place.withdraw()
        elif moved_on:
            place.leave("other content took the file's name meanwhile")
            return
        elif keep:
            place.drop()
        else:
            place.restore()
            self._report("restore")
        present = self._present
        flush(-1 if present is None or keep else present.fd)

    def leave(self, why: str) -> None:
        """Leave a sidecar as it is that must not be put back."""
        if self.announced or self.retired:
            self.announced = self.retired = False
            self._place.leave(why)

    def discard(self) -> None:
        """Remove what is left of temps, and close them."""
        try:
            if self._replacement is not None:
                self._replacement.discard()
        except system_error():
            self._drop_present()
            raise
        self._drop_present()  # not after an interrupt: the next call compares with what was found

    @property
    def _place(self) -> Replacement:
        """The sidecar's name, from the first time that something is to be done to it."""
        if self._replacement is None:
            self._replacement = Replacement(self._target, self._token)
        return self._replacement

    def _recognise(self, hint: str) -> None:
        self._drop_present()
        self._present = self._looks.look(self._target, hint)

    def _drop_present(self) -> None:
        self._present = None
        self._looks.close()

    def _hold(self, present: Sidecar) -> None:
        """Flock what is to be displaced; with ``overwrite=False``, leave a creator alone."""
        held = present.hold()
        if not self._creating:
            return
        if not held:
            # A record beside no data, whose writer lives: it is creating the file right now.
            name = self._target.name
            raise FileExistsError(errno.EEXIST, "another writer is creating the file", name)
        # In this order: a creator that has ended has published before it let its record go.
        self._target.look_again()
        self._target.require_absent()

    def _report(self, phase: str) -> None:
        if _trace.hook is not None:
            previous = [digest for _, digest in self._previous]
            facts: dict[str, object] = {"phase": phase, "new": self._new, "previous": previous}
            _trace.hook(_trace.ANNOUNCE, facts)
