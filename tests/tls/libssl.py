"""A client on libssl itself, for what Python's ssl cannot say: KeyUpdate, early data and the like.

Loaded by ctypes, as its own copy of nothing: whatever libssl.so.3 the system has.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from typing import Any, Self

LIB = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
for name in ("SSL_new", "SSL_CTX_new", "TLS_client_method", "SSL_get1_session"):
    getattr(LIB, name).restype = ctypes.c_void_p
LIB.SSL_SESSION_get_max_early_data.restype = ctypes.c_uint32
UPDATE_REQUESTED = 1
CTRL_NAME = 55  # SSL_CTRL_SET_TLSEXT_HOSTNAME
CTRL_MAX_VERSION = 124  # SSL_CTRL_SET_MAX_PROTO_VERSION
TLS12, TLS13 = 0x0303, 0x0304
EARLY_REJECTED, EARLY_ACCEPTED = 1, 2


def pointer(value: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(value)


class Client:
    """Blocking, on a socket of its own. Trusts everybody."""

    def __init__(
        self, port: int, name: bytes = b"a.test", *, version: int = TLS13, session: Any = None,
        alpn: bytes = b"",
    ) -> None:  # fmt: skip
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.context = pointer(LIB.SSL_CTX_new(pointer(LIB.TLS_client_method())))
        LIB.SSL_CTX_ctrl(self.context, CTRL_MAX_VERSION, ctypes.c_long(version), None)
        self.ssl = pointer(LIB.SSL_new(self.context))
        LIB.SSL_ctrl(self.ssl, CTRL_NAME, ctypes.c_long(0), name)
        if alpn:
            LIB.SSL_set_alpn_protos(self.ssl, alpn, len(alpn))
        LIB.SSL_set_fd(self.ssl, self.socket.fileno())
        LIB.SSL_set_connect_state(self.ssl)
        if session is not None:
            assert LIB.SSL_set_session(self.ssl, session) == 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        LIB.SSL_set_shutdown(self.ssl, 3)  # or its session could not be resumed
        LIB.SSL_free(self.ssl)
        LIB.SSL_CTX_free(self.context)

    def shake(self) -> Self:
        assert LIB.SSL_do_handshake(self.ssl) == 1, "the handshake failed"
        return self

    def write(self, data: bytes) -> bool:
        """Was it sent?"""
        return LIB.SSL_write(self.ssl, data, len(data)) == len(data)

    def read(self, size: int = 65536) -> bytes:
        """b"": the end, of whatever kind."""
        room = ctypes.create_string_buffer(size)
        got = LIB.SSL_read(self.ssl, room, size)
        return room.raw[:got] if got > 0 else b""

    def read_until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            piece = self.read()
            if not piece:
                break
            data += piece
        return data

    def goodbye(self) -> None:
        """close_notify: nothing more comes from us."""
        LIB.SSL_shutdown(self.ssl)

    def update_key(self) -> bool:
        """Change our key and ask the other side for the same; was it sent?"""
        LIB.SSL_key_update(self.ssl, UPDATE_REQUESTED)
        return LIB.SSL_do_handshake(self.ssl) == 1

    def renegotiate(self) -> bool:
        LIB.SSL_renegotiate(self.ssl)
        return LIB.SSL_do_handshake(self.ssl) == 1

    def early(self, data: bytes) -> bool:
        """Send it before the handshake; was it taken for sending?"""
        wrote = ctypes.c_size_t()
        size = ctypes.c_size_t(len(data))
        return LIB.SSL_write_early_data(self.ssl, data, size, ctypes.byref(wrote)) == 1

    @property
    def early_status(self) -> int:
        return int(LIB.SSL_get_early_data_status(self.ssl))

    @property
    def resumed(self) -> bool:
        return LIB.SSL_session_reused(self.ssl) == 1

    def session(self) -> ctypes.c_void_p:
        return pointer(LIB.SSL_get1_session(self.ssl))

    def session_early(self) -> int:
        """Bytes of early data that this session allows."""
        return int(LIB.SSL_SESSION_get_max_early_data(self.session()))
