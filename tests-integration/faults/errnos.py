"""The errors that each system call can return, with their sources.

A manual page without further words stands for its ERRORS section (Linux man-pages 6).
Filesystems return more errors than the pages list; for these, a comment says where they were seen.
EINTR stands for a handler that raises: Python itself repeats a call that was merely interrupted
(PEP 475), except close(2).
"""

from __future__ import annotations

import errno as e

# "Many of the calls can return EIO"; ESTALE also comes from local filesystems whose inode was freed
# behind a descriptor (errno(3)).
_LOOKUP = (e.EACCES, e.ELOOP, e.ENAMETOOLONG, e.ENOENT, e.EIO, e.ESTALE)

ERRNOS: dict[str, tuple[int, ...]] = {
    # open(2); EIO and ESTALE from the lookup; EBUSY for O_EXCL, EINVAL for a name the filesystem
    # does not take
    "open": (
        *_LOOKUP,
        e.EDQUOT,
        e.EINTR,
        e.EINVAL,
        e.EBUSY,
        e.EMFILE,
        e.ENFILE,
        e.ENOSPC,
        e.EPERM,
        e.EROFS,
    ),
    # open(2), O_TMPFILE: EOPNOTSUPP of the filesystem, EISDIR and ENOENT of a kernel without it
    "open_anonymous": (
        e.EACCES,
        e.EDQUOT,
        e.EINVAL,
        e.EIO,
        e.EISDIR,
        e.EMFILE,
        e.ENFILE,
        e.ENOENT,
        e.ENOSPC,
        e.ENOSYS,
        e.EOPNOTSUPP,
        e.EPERM,
        e.EROFS,
    ),
    # close(2): "ENOSPC, EDQUOT: on NFS", EIO of an earlier write-back, EINTR
    "close": (e.EDQUOT, e.EINTR, e.EIO, e.ENOSPC),
    "read": (e.EINTR, e.EINVAL, e.EIO, e.ESTALE),  # read(2)
    "pread": (e.EINTR, e.EINVAL, e.EIO, e.ESTALE),  # pread(2)
    # write(2); EROFS once ext4 has remounted itself read-only after an error (ext4(5), errors=)
    "write": (e.EDQUOT, e.EINTR, e.EINVAL, e.EIO, e.ENOSPC, e.EPERM, e.EROFS),
    "pwrite": (e.EDQUOT, e.EINTR, e.EINVAL, e.EIO, e.ENOSPC, e.EPERM, e.EROFS),  # pwrite(2)
    "lseek": (e.EINVAL,),  # lseek(2)
    "ftruncate": (e.EINTR, e.EINVAL, e.EIO, e.EPERM, e.EROFS, e.ENOSPC),  # truncate(2)
    # fsync(2); ENOSYS of a FUSE filesystem without the operation
    "fsync": (e.EDQUOT, e.EINTR, e.EINVAL, e.EIO, e.ENOSPC, e.ENOSYS, e.EROFS),
    # posix_fallocate(3)
    "posix_fallocate": (e.EFBIG, e.EINTR, e.EINVAL, e.EIO, e.ENOSPC, e.EOPNOTSUPP),
    "posix_fadvise": (
        e.EINVAL,
        e.ENOSYS,
    ),  # posix_fadvise(2); ENOSYS without CONFIG_ADVISE_SYSCALLS
    "dupfd": (e.EMFILE,),  # fcntl(2), F_DUPFD_CLOEXEC
    # flock(2); ENOSYS and ENOTSUP of network and FUSE filesystems, EIO of NFS
    "flock": (e.EINTR, e.EINVAL, e.EIO, e.ENOLCK, e.ENOSYS, e.EOPNOTSUPP),
    "access": (),  # os.access answers no for every error; the open that confirms it has its own
    "raw_stream": (),  # makes a stream of a descriptor that is open
    "stat": _LOOKUP,  # stat(2)
    "readlink": (*_LOOKUP, e.EINVAL),  # readlink(2)
    "fstat": (e.EIO, e.ESTALE),  # stat(2)
    "fchmod": (e.EIO, e.EPERM, e.EROFS),  # chmod(2)
    # chown(2); EDQUOT: the new owner's quota; EINVAL: an id that this user namespace does not map
    # (user_namespaces(7))
    "fchown": (e.EDQUOT, e.EINVAL, e.EIO, e.EPERM, e.EROFS),
    "listxattr": (e.EIO, e.EOPNOTSUPP),  # listxattr(2)
    "listxattr_at": (*_LOOKUP, e.EOPNOTSUPP),  # listxattr(2) and, through /proc, stat(2)
    "getxattr": (e.EIO, e.ENODATA, e.EOPNOTSUPP),  # getxattr(2)
    # getxattr(2); EACCES and EPERM of security modules
    "getxattr_at": (e.EACCES, e.EIO, e.ENODATA, e.ENOENT, e.EOPNOTSUPP, e.EPERM),
    # setxattr(2)
    "setxattr": (e.EACCES, e.EDQUOT, e.EINVAL, e.EIO, e.ENOSPC, e.EOPNOTSUPP, e.EPERM, e.EROFS),
    "removexattr": (e.EACCES, e.EIO, e.ENODATA, e.EOPNOTSUPP, e.EPERM, e.EROFS),  # removexattr(2)
    "fstatvfs": (e.EINTR, e.EIO, e.ENOSYS),  # statvfs(3)
    # access(2), as far as it is not the answer "no"
    "exists_at": (e.EACCES, e.EIO, e.ELOOP, e.ENAMETOOLONG, e.ESTALE),
    # rename(2); ESTALE see above
    "rename": (
        *_LOOKUP,
        e.EBUSY,
        e.EDQUOT,
        e.EINVAL,
        e.ENOSPC,
        e.EPERM,
        e.EROFS,
        e.EXDEV,
    ),
    # rename(2), renameat2(): EINVAL and ENOSYS say that there is no such flag
    "rename_noreplace": (
        *_LOOKUP,
        e.EBUSY,
        e.EDQUOT,
        e.EEXIST,
        e.EINTR,
        e.EINVAL,
        e.ENOSPC,
        e.ENOSYS,
        e.EPERM,
        e.EROFS,
        e.EXDEV,
    ),
    # the same without RENAME_NOREPLACE's EEXIST
    "rename_exchange": (
        *_LOOKUP,
        e.EBUSY,
        e.EDQUOT,
        e.EINTR,
        e.EINVAL,
        e.ENOSPC,
        e.ENOSYS,
        e.EPERM,
        e.EROFS,
        e.EXDEV,
    ),
    "link": (*_LOOKUP, e.EDQUOT, e.ENOSPC, e.EPERM, e.EROFS, e.EXDEV),  # link(2)
    # link(2): ENOENT also when /proc is not mounted
    "link_anonymous": (*_LOOKUP, e.EDQUOT, e.ENOSPC, e.EPERM, e.EROFS, e.EXDEV),
    # mkdir(2)
    "mkdir": (*_LOOKUP, e.EDQUOT, e.EEXIST, e.EINVAL, e.EMLINK, e.ENOSPC, e.EPERM, e.EROFS),
    "rmdir": (*_LOOKUP, e.EBUSY, e.EINVAL, e.ENOTEMPTY, e.EPERM, e.EROFS),  # rmdir(2)
    "unlink": (*_LOOKUP, e.EBUSY, e.EPERM, e.EROFS),  # unlink(2)
    # opendir(3), getdents(2)
    "listdir": (e.EACCES, e.EIO, e.EMFILE, e.ENFILE, e.ENOENT, e.ESTALE),
    "realpath": (e.EACCES, e.EIO),  # of a link; what cannot be seen is taken for a plain name
    "kill": (e.EPERM, e.ESRCH),  # kill(2)
}

# These errors are answers: they say what the name is, or that it does not exist.
ANSWERS = frozenset(
    {
        ("open", e.ENOENT),
        ("open", e.ELOOP),  # with O_NOFOLLOW: it is a symbolic link
        ("stat", e.ENOENT),
        ("rename_noreplace", e.EEXIST),
        ("rename_exchange", e.ENOENT),
        ("unlink", e.ENOENT),
        ("kill", e.ESRCH),
        ("kill", e.EPERM),
    }
)
