# SPDX-License-Identifier: MIT
"""The listening sockets. Made by the master, kept open by it for its whole life.

Each TCP listener is one SO_REUSEPORT socket per worker slot: the kernel spreads connections over
them, and a successor inherits the very socket of the dead, with what is queued on it. Closing one
of a group would reset what is queued on it, so nobody does.

A second instance of the same user could silently join such a group and take half of the traffic.
So the first slot's socket is bound *and listening* without SO_REUSEPORT, which the kernel grants
only on a free port, and joins the group afterwards; the other slots follow. Two instances that
start in the same moment cannot both pass.

A unix socket cannot have a group: one, shared by all. A stale file is removed under a lock.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
import struct
from array import array
from dataclasses import dataclass, field

from fastproxy.process.handover import ListenerSpec
from fastproxy.process.place import Lock, PlaceError, lock_path

SHARED = -1
"""Slot of a socket that all workers share."""
UNIX_PATH_MAX = 107
HUSH_SECONDS = 0.1
"""From the last SYN that is heard to the end of listening: a round trip for open handshakes."""
SO_ATTACH_FILTER = 26
NO_SYN = struct.pack(
    "@" + "HBBI" * 5,
    *(0x30, 0, 0, 13),  # ldb [13]       the flags of the TCP header
    *(0x54, 0, 0, 0x12),  # and #0x12    SYN, ACK
    *(0x15, 0, 1, 0x02),  # jne #2, 1    SYN alone:
    *(0x06, 0, 0, 0),  # ret #0          drop
    *(0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
)
"""A classic BPF program: no new handshake begins, those under way are completed."""


class BindError(Exception):
    """A listener cannot be had; the text says which, why, and how to look. Exit code 3."""


@dataclass(slots=True)
class Listener:
    """One address with all its sockets."""

    spec: ListenerSpec
    index: int
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    """slot -> socket; SHARED alone for unix."""
    port: int = 0
    """The real one, also if 0 was asked for; 0 for unix."""
    lock: Lock | None = None
    inode: tuple[int, int] = (0, 0)

    @property
    def is_unix(self) -> bool:
        return self.spec.bind.startswith("unix:")

    @property
    def path(self) -> str:
        return self.spec.bind.removeprefix("unix:")

    @property
    def name(self) -> str:
        """The address as a user would write it, with the real port."""
        if self.is_unix:
            return self.spec.bind
        host, _, port = self.spec.bind.rpartition(":")
        return f"{host}:{self.port}" if port == "0" and self.port else self.spec.bind

    def hush(self) -> None:
        """Before a stop: nobody new."""
        for one in self.sockets.values():
            hush(one.fileno())

    def shut(self) -> None:
        """No process accepts here any more; new clients are refused. The master's last word."""
        for one in self.sockets.values():
            shut(one.fileno())

    def close(self) -> None:
        """Close our copies, and remove a unix socket's file if it is still ours."""
        for one in self.sockets.values():
            one.close()
        self.sockets.clear()
        if self.lock:
            try:
                found = os.stat(self.path)
                if (found.st_dev, found.st_ino) == self.inode:
                    os.unlink(self.path)
            except OSError:
                pass
            self.lock.release()
            self.lock = None


def hush(fd: int) -> None:
    """No new handshake on a listening TCP socket. What is queued when listening ends is reset by
    the kernel; so first nobody may join the queue, then it is emptied, and only then it is shut.
    Who is not heard now asks again after a second and is refused."""
    one = socket.socket(fileno=fd)
    program = array("B", NO_SYN)
    try:
        if one.family != socket.AF_UNIX:
            value = struct.pack("@HP", len(NO_SYN) // 8, program.buffer_info()[0])
            one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, value)
    except OSError:
        pass  # forbidden here: then only those lose who connect in the last moment
    finally:
        one.detach()


def shut(fd: int) -> None:
    """shutdown(SHUT_RD) on a listening socket: ends listening for all who hold it."""
    one = socket.socket(fileno=fd)
    try:
        one.shutdown(socket.SHUT_RD)
    except OSError:
        pass  # shut before
    finally:
        one.detach()


def listen_all(specs: list[ListenerSpec], slots: int) -> list[Listener]:
    """All listeners, `slots` sockets each. BindError for the first that cannot be had; what was
    bound before is closed again."""
    made: list[Listener] = []
    try:
        for index, spec in enumerate(specs):
            listener = Listener(spec, index)
            made.append(listener)
            listen(listener, slots)
    except BaseException:
        for listener in made:
            listener.close()
        raise
    return made


def listen(listener: Listener, slots: int) -> None:
    """Bind one listener for every slot."""
    if listener.is_unix:
        _listen_unix(listener)
        return
    family, host, port = address_of(listener.spec.bind)
    try:
        first = _tcp_socket(listener.spec, family)
    except OSError as error:  # this kernel has no IPv6
        if family != socket.AF_INET6 or host != "::":
            raise BindError(f"cannot listen on {listener.spec.bind}: {error.strerror}") from error
        family, host = socket.AF_INET, "0.0.0.0"
        first = _tcp_socket(listener.spec, family)
    listener.sockets[0] = first
    try:
        try:
            first.bind((host, port))
        except OSError as error:
            if host != "::" or error.errno != errno.EADDRNOTAVAIL:
                raise
            first.close()  # IPv6 is compiled in but switched off
            family, host = socket.AF_INET, "0.0.0.0"
            listener.sockets[0] = first = _tcp_socket(listener.spec, family)
            first.bind((host, port))
        first.listen(listener.spec.backlog)
        listener.port = first.getsockname()[1]
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for slot in range(1, slots):
            one = listener.sockets[slot] = _tcp_socket(listener.spec, family)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((host, listener.port))
            one.listen(listener.spec.backlog)
    except OSError as error:
        raise BindError(_why_not(listener.spec.bind, port, error)) from error


def _tcp_socket(spec: ListenerSpec, family: int) -> socket.socket:
    """A socket with every option that accepted connections inherit, not bound yet."""
    one = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if spec.keepalive:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if spec.defer_accept:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, spec.defer_accept)
    if family == socket.AF_INET6:
        dual = spec.bind.startswith(":")  # "[::]:80" leaves IPv4 to a "0.0.0.0:80" beside it
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
    return one


def address_of(bind: str) -> tuple[int, str, int]:
    """(family, host, port) of "host:port", "[v6]:port" or ":port". A name is resolved, IPv4 first.
    BindError if it is none of these."""
    host, colon, port_text = bind.rpartition(":")
    if not colon or not (port_text.isascii() and port_text.isdigit()) or int(port_text) > 65535:
        raise BindError(f"{bind!r} is not an address: host:port, [v6]:port, :port or unix:/path")
    port = int(port_text)
    if not host:
        return socket.AF_INET6, "::", port
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise BindError(f"cannot listen on {bind}: {host}: {error.strerror}") from error
    family, _, _, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
    return family, str(address[0]), port


def _why_not(bind: str, port: int, error: OSError) -> str:
    """One line an operator can act on."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"cannot listen on {bind}: the port is taken by another process (perhaps another "
            f"fastproxy); see who: ss -ltnp 'sport = :{port}'"
        )
    if error.errno == errno.EACCES:
        return (
            f"cannot listen on {bind}: ports below 1024 need root or CAP_NET_BIND_SERVICE "
            "(or sysctl net.ipv4.ip_unprivileged_port_start)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {bind}: this machine has no such address; see: ip address"
    return f"cannot listen on {bind}: {error.strerror}"


def _listen_unix(listener: Listener) -> None:
    spec, path = listener.spec, listener.path
    if not path.startswith("/") or len(os.fsencode(path)) > UNIX_PATH_MAX:
        raise BindError(f"{spec.bind}: an absolute path of at most {UNIX_PATH_MAX} bytes is needed")
    try:
        uid, gid = owner_of(spec.owner)
        listener.lock = Lock(lock_path(path))
        _remove_stale(path)
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        listener.sockets[SHARED] = one
        before = os.umask(0o177)  # nobody else may connect until owner and mode are set
        try:
            one.bind(path)
        finally:
            os.umask(before)
        found = os.stat(path)
        listener.inode = (found.st_dev, found.st_ino)
        if (uid, gid) != (-1, -1):
            os.chown(path, uid, gid)
        os.chmod(path, spec.mode)
        one.listen(spec.backlog)
    except PlaceError as error:
        raise BindError(f"cannot listen on {spec.bind}: {error}; see who: lsof {path}") from error
    except OSError as error:
        raise BindError(f"cannot listen on {spec.bind}: {error.strerror}") from error
    except KeyError as error:
        raise BindError(f"{spec.bind}: owner: {error.args[0]}") from error


def _remove_stale(path: str) -> None:
    """We hold the lock, so no fastproxy listens here. Another program might: ask."""
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise PlaceError("there is a file of that name that is not a socket; it was left alone")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(1)
        try:
            asking.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass  # alive but busy, or not ours to ask
    raise PlaceError("another program listens there")


def owner_of(owner: str) -> tuple[int, int]:
    """(uid, gid) of "user", "user:group" or ":group"; -1 leaves one as it is. KeyError."""
    import grp

    user, _, group = owner.partition(":")
    uid = gid = -1
    if user:
        uid = int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid
    if group:
        gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    return uid, gid
