# SPDX-License-Identifier: MIT
"""The names that may stand in `{...}` of a template, what they mean, and their numbers.

The numbers are those of `cdef enum Variable` in table.pxd; `_core.variables()` tells them and a
test compares. `{param:id}` may be written `{id}` where the route's path has such a param.
"""

from __future__ import annotations

from typing import NamedTuple


class Variable(NamedTuple):
    number: int
    meaning: str
    is_number: bool = False  # may stand as a bare number in JSON
    takes_name: bool = False  # {header:NAME}
    of_request: bool = False  # needs the request's head to be kept until it is rendered


VARIABLES: dict[str, Variable] = {
    "client_ip": Variable(1, "the client's address; trusted proxies before us are looked through"),
    "client_port": Variable(2, "the client's port", is_number=True),
    "scheme": Variable(3, "http or https"),
    "host": Variable(4, "the host asked for, lower case, without port", of_request=True),
    "authority": Variable(5, "host[:port] as the client wrote it", of_request=True),
    "method": Variable(6, "the request's method", of_request=True),
    "target": Variable(7, "the request target as received", of_request=True),
    "path": Variable(8, "the normalised path, before any rewrite", of_request=True),
    "query": Variable(9, 'the query without its "?"', of_request=True),
    "args": Variable(10, '"?" and the query, or nothing', of_request=True),
    "request_id": Variable(11, "the X-Request-ID of this request"),
    "header": Variable(
        12, 'a request header; several are joined by ", "', takes_name=True, of_request=True
    ),
    "response_header": Variable(13, "a response header", takes_name=True),
    "cookie": Variable(14, "a request cookie", takes_name=True, of_request=True),
    "param": Variable(15, "a {param} of the route's path", takes_name=True, of_request=True),
    "query_param": Variable(
        16, "the first query parameter of that name, as it was sent",
        takes_name=True, of_request=True,
    ),
    "route": Variable(17, "the route's name"),
    "upstream": Variable(18, "the upstream's name"),
    "backend": Variable(19, "the backend's address as configured"),
    "listener": Variable(20, "the listener's address as configured"),
    "server_port": Variable(21, "the listener's port", is_number=True),
    "status": Variable(22, "the status answered", is_number=True),
    "bytes_in": Variable(23, "bytes of the request's body", is_number=True),
    "bytes_out": Variable(24, "bytes of the answer's body", is_number=True),
    "time_total": Variable(25, "seconds from the first byte in to the last out", is_number=True),
    "time_connect": Variable(26, "seconds to connect to the backend", is_number=True),
    "time_first_byte": Variable(27, "seconds to the backend's first byte", is_number=True),
    "retries": Variable(28, "attempts at other backends", is_number=True),
    "end_state": Variable(29, "two letters: how the exchange ended"),
    "time_local": Variable(30, "22/Nov/2026:14:38:26 +0000"),
    "time_iso": Variable(31, "2026-11-22T14:38:26.123456Z"),
    "protocol": Variable(32, "HTTP/1.1"),
    "peer_ip": Variable(33, "the address of the socket's other end, trusted or not"),
    "request_line": Variable(34, "method, target and protocol", of_request=True),
    "worker": Variable(35, "the worker's number", is_number=True),
}  # fmt: skip

CAPTURE = 36
# Other words for the same.
ALIASES = {"query": "query_param"}  # {query:name}; without a name {query} is the whole query


def describe() -> list[tuple[str, str]]:
    """(how it is written, what it means) for the documentation."""
    return [
        (f"{{{name}:NAME}}" if v.takes_name else f"{{{name}}}", v.meaning)
        for name, v in VARIABLES.items()
    ]
