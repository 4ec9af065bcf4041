# SPDX-License-Identifier: MIT
"""A connection of HTTP/2, by the library h2: one request at a time."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError

from bench.lines import CHUNK, Answer
from bench.load import HOST


class Http2:
    """See lines.Line."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.scheme = "https" if hasattr(sock, "version") else "http"
        self.session = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self.ended = False
        self.session.initiate_connection()
        self._flush()

    def ask(self, method: str, path: str, fields: Mapping[str, str], sent: bytes) -> Answer:
        number = self.session.get_next_available_stream_id()
        head = [
            (":method", method),
            (":scheme", self.scheme),
            (":authority", HOST),
            (":path", path),
        ]
        head += [(name.lower(), value) for name, value in fields.items()]
        if sent:
            head.append(("content-length", str(len(sent))))
        found = Answer("HTTP/2")
        try:
            self.session.send_headers(number, head, end_stream=not sent)
            if sent:
                self.session.send_data(number, sent, end_stream=True)
            self._flush()
            while not self._take(number, found):
                pass
        except ProtocolError as error:
            raise http.client.HTTPException(f"HTTP/2: {error!r}") from error
        return found

    def kept(self) -> bool:
        return not self.ended

    def close(self) -> None:
        self.sock.close()

    def _flush(self) -> None:
        self.sock.sendall(self.session.data_to_send())

    def _take(self, number: int, found: Answer) -> bool:
        """Whatever comes next of this answer; True: it is whole."""
        data = self.sock.recv(CHUNK)
        if not data:
            raise ConnectionError("closed within an answer")
        over = False
        for event in self.session.receive_data(data):
            match event:
                case events.ResponseReceived(stream_id=id, headers=headers) if id == number:
                    fields = dict(headers)
                    found.status = int(fields.pop(":status"))
                    found.fields = fields
                case events.DataReceived(stream_id=id, data=part) if id == number:
                    found.body += part
                    self.session.acknowledge_received_data(event.flow_controlled_length, number)
                case events.TrailersReceived(stream_id=id, headers=headers) if id == number:
                    found.trailers = dict(headers)
                case events.StreamEnded(stream_id=id) if id == number:
                    over = True
                case events.StreamReset(stream_id=id) if id == number:
                    raise http.client.HTTPException(f"the stream was reset: {event.error_code}")
                case events.ConnectionTerminated():
                    self.ended = True
                case _:
                    pass
        self._flush()
        return over
