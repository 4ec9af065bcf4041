# SPDX-License-Identifier: MIT
# What builders ask of the C enums, so that no number is written twice. Included by _core.pyx.

from fastproxy.http1 cimport head as _head
from fastproxy.memory cimport span as _memory
from fastproxy.template cimport table as _template
from fastproxy.template.places cimport part_place as _part_place


def literal_behind():
    """So many bytes must be there to be read behind a literal: it is copied in whole blocks."""
    return _memory.BLOCK_BYTES


def part_place(int variable, int arg):
    """(PartKind, where in the scene) of a variable; `arg` as in its row."""
    place = _part_place(<uint8_t> variable, <uint16_t> arg)
    return place.kind, place.at


def variables():
    """{name: number} of `cdef enum Variable`, without VAR_LITERAL and VAR_CAPTURE."""
    return {
        "client_ip": _template.VAR_CLIENT_IP, "client_port": _template.VAR_CLIENT_PORT,
        "scheme": _template.VAR_SCHEME, "host": _template.VAR_HOST,
        "authority": _template.VAR_AUTHORITY, "method": _template.VAR_METHOD,
        "target": _template.VAR_TARGET, "path": _template.VAR_PATH, "query": _template.VAR_QUERY,
        "args": _template.VAR_ARGS, "request_id": _template.VAR_REQUEST_ID,
        "header": _template.VAR_HEADER, "response_header": _template.VAR_RESPONSE_HEADER,
        "cookie": _template.VAR_COOKIE, "param": _template.VAR_PARAM,
        "query_param": _template.VAR_QUERY_PARAM, "route": _template.VAR_ROUTE,
        "upstream": _template.VAR_UPSTREAM, "backend": _template.VAR_BACKEND,
        "listener": _template.VAR_LISTENER, "server_port": _template.VAR_SERVER_PORT,
        "status": _template.VAR_STATUS, "bytes_in": _template.VAR_BYTES_IN,
        "bytes_out": _template.VAR_BYTES_OUT, "time_total": _template.VAR_TIME_TOTAL,
        "time_connect": _template.VAR_TIME_CONNECT,
        "time_first_byte": _template.VAR_TIME_FIRST_BYTE, "retries": _template.VAR_RETRIES,
        "end_state": _template.VAR_END_STATE, "time_local": _template.VAR_TIME_LOCAL,
        "time_iso": _template.VAR_TIME_ISO, "protocol": _template.VAR_PROTOCOL,
        "peer_ip": _template.VAR_PEER_IP, "request_line": _template.VAR_REQUEST_LINE,
        "worker": _template.VAR_WORKER,
    }


def field_ids():
    """{lower-case field name: FieldId}; a name that is not here is FIELD_OTHER, 0."""
    return {
        "host": _head.FIELD_HOST, "connection": _head.FIELD_CONNECTION,
        "content-length": _head.FIELD_CONTENT_LENGTH,
        "transfer-encoding": _head.FIELD_TRANSFER_ENCODING, "expect": _head.FIELD_EXPECT,
        "upgrade": _head.FIELD_UPGRADE, "te": _head.FIELD_TE, "trailer": _head.FIELD_TRAILER,
        "keep-alive": _head.FIELD_KEEP_ALIVE, "proxy-connection": _head.FIELD_PROXY_CONNECTION,
        "proxy-authenticate": _head.FIELD_PROXY_AUTHENTICATE,
        "proxy-authorization": _head.FIELD_PROXY_AUTHORIZATION,
        "http2-settings": _head.FIELD_HTTP2_SETTINGS,
        "x-forwarded-for": _head.FIELD_X_FORWARDED_FOR,
        "x-forwarded-proto": _head.FIELD_X_FORWARDED_PROTO,
        "x-forwarded-host": _head.FIELD_X_FORWARDED_HOST,
        "x-forwarded-port": _head.FIELD_X_FORWARDED_PORT,
        "x-forwarded-prefix": _head.FIELD_X_FORWARDED_PREFIX,
        "x-real-ip": _head.FIELD_X_REAL_IP, "forwarded": _head.FIELD_FORWARDED,
        "via": _head.FIELD_VIA, "x-request-id": _head.FIELD_X_REQUEST_ID,
        "date": _head.FIELD_DATE, "server": _head.FIELD_SERVER, "accept": _head.FIELD_ACCEPT,
        "user-agent": _head.FIELD_USER_AGENT, "referer": _head.FIELD_REFERER,
        "cookie": _head.FIELD_COOKIE, "set-cookie": _head.FIELD_SET_COOKIE,
        "location": _head.FIELD_LOCATION, "content-type": _head.FIELD_CONTENT_TYPE,
        "sec-websocket-key": _head.FIELD_SEC_WEBSOCKET_KEY,
        "sec-websocket-accept": _head.FIELD_SEC_WEBSOCKET_ACCEPT,
        "client-cert": _head.FIELD_CLIENT_CERT,
        "client-cert-chain": _head.FIELD_CLIENT_CERT_CHAIN,
        "x-forwarded-client-cert": _head.FIELD_X_FORWARDED_CLIENT_CERT,
        "strict-transport-security": _head.FIELD_STRICT_TRANSPORT_SECURITY,
    }


def method_ids():
    """{method: Method}; one that is not here is METHOD_OTHER, 0."""
    return {
        "GET": _head.METHOD_GET, "HEAD": _head.METHOD_HEAD, "POST": _head.METHOD_POST,
        "PUT": _head.METHOD_PUT, "DELETE": _head.METHOD_DELETE, "PATCH": _head.METHOD_PATCH,
        "OPTIONS": _head.METHOD_OPTIONS, "TRACE": _head.METHOD_TRACE,
        "CONNECT": _head.METHOD_CONNECT,
    }
