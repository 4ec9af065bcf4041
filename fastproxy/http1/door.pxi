# SPDX-License-Identifier: MIT
# What configuration asks the grammar, through _core: numbers for names, and whether a name, a value
# or a host may be what a user wrote. Same code as the hot path, so both always agree.

from libc.stdint cimport uint16_t
from fastproxy.clib.scan cimport CHAR_TOKEN, CHAR_VALUE, char_class
from fastproxy.http1.authority cimport host_split
from fastproxy.http1.names cimport field_id as _field_id, method_id as _method_id
from fastproxy.memory.span cimport Span, span


def field_id(bytes name):
    """FieldId of a field name, whatever its case; 0 if the hot path knows no such name."""
    return _field_id(name, len(name))


def method_id(bytes name):
    """Method of a method token (case-sensitive); 0 if it is not one of ours."""
    return _method_id(name, len(name))


def is_token(bytes text):
    """May this be a field name or a method (1*tchar)?"""
    return len(text) > 0 and all(char_class[c] & CHAR_TOKEN for c in text)


def is_field_value(bytes text):
    """May this be a field's value: no control character but HTAB (B3 18)?"""
    return all(char_class[c] & CHAR_VALUE for c in text)


def split_host(bytes authority):
    """(host as routes match it, port or 0) of "host[:port]", or None if it is not valid."""
    cdef char lowered[256]
    cdef Span host
    cdef uint16_t port
    if host_split(span(authority, len(authority)), lowered, &host, &port) < 0:
        return None
    return host.ptr[:host.len], port
