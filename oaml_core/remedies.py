"""Remedies for errors of the operating system. A message names the file, the reason and one of these."""

from __future__ import annotations

import errno

REMEDIES = {
    errno.ENOENT: "There is no such file or folder. Compare the path with what lies there.",
    errno.EACCES: "Permission is denied. Change its owner or its permissions, or name another place.",
    errno.EPERM: "Permission is denied. Change its owner or its permissions, or name another place.",
    errno.EROFS: "It lies on a read-only disk. Name another place, such as --work_dir for what is written.",
    errno.ENOSPC: "The disk is full. Free some of it, or name another with --work_dir; the same command goes on.",
    errno.EFBIG: "A file may not grow further: raise the limit (`ulimit -f`), or name another disk with --work_dir.",
    errno.EIO: "The disk fails. Look at its health, and name another place.",
    errno.ESTALE: "The network disk was mounted anew meanwhile. Run the same command again; it goes on.",
    errno.ETIMEDOUT: "Nothing answered in time. Is the network there, and the server or disk at the other end?",
    errno.EDQUOT: "The quota is used up. Free some of it, or name another place with --work_dir.",
    errno.EPIPE: "The process or server at the other end has gone. The same command goes on where it stopped.",
    errno.EISDIR: "It is a folder; a file is wanted.",
    errno.ENOTDIR: "A part of the path is a file; a folder is wanted.",
    errno.EMFILE: "Too many files are open. Raise the limit (`ulimit -n`), or lower data.num_workers.",
    errno.EEXIST: "It exists already. Remove it, or name another place.",
    errno.ECONNREFUSED: "Nothing answers there. Is the server running, and is its address right?",
    errno.ENAMETOOLONG: "The name is too long. Shorten it.",
    errno.ELOOP: "Links lead round in a circle. Remove one of them.",
}
"""Remedy by the operating system's error number."""
