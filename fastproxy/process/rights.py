# SPDX-License-Identifier: MIT
"""What a process may do: whom workers become, and how many files they may hold."""

from __future__ import annotations

import grp
import os
import pwd
import resource

from fastproxy import _core


def drop_privileges(user: str, group: str) -> None:
    """Become `user` (and its groups, or just `group`), for good. Nothing happens to who they are if
    neither is named; in every case no exec may gain rights any more. OSError if refused, KeyError
    for an unknown name."""
    if user or group:
        entry = pwd.getpwnam(user) if user else None
        gid = grp.getgrnam(group).gr_gid if group else pwd.getpwnam(user).pw_gid
        if os.geteuid() == 0:
            os.setgroups(os.getgrouplist(user, gid) if user and not group else [gid])
        os.setgid(gid)
        if entry is not None:
            os.setuid(entry.pw_uid)
            if entry.pw_uid != 0 and _can_be_root():
                raise PermissionError("root could be had back after setuid; refusing to serve")
    _core.no_new_privileges()


def check_user(user: str, group: str) -> None:
    """Could a worker become this? Asked by the master before anything is bound. KeyError for an
    unknown name, PermissionError if only root could."""
    uid = pwd.getpwnam(user).pw_uid if user else os.geteuid()
    gid = grp.getgrnam(group).gr_gid if group else os.getegid()
    if os.geteuid() != 0 and (uid != os.geteuid() or gid not in (os.getegid(), *os.getgroups())):
        wanted = ":".join(name for name in (user, group) if name)
        raise PermissionError(f"workers can become {wanted} only if root starts fastproxy")


def _can_be_root() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def raise_file_limit() -> int:
    """RLIMIT_NOFILE up to its hard limit; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
