# SPDX-License-Identifier: MIT
# Rendering and escaping for tests and micro benches. Behind route/probe.pxi in _probe.pyx,
# whose ProbeScene it renders.

from fastproxy.memory.span cimport put_uint
from fastproxy.template.escape cimport copy_clean
from fastproxy.template.render cimport template_check
from fastproxy.template.table cimport Template


def render_template(bytes plan, size_t template_at, ProbeScene scene, size_t room=65536):
    """(bytes, full) of the Template row at `template_at`."""
    cdef char *room_ptr = <char *> calloc(1, room + 1)
    cdef Out out = out_over(room_ptr, room)
    cdef const char *base = plan
    render(&out, base, <const Template *> (base + template_at), &scene.scene)
    got = out.ptr[:out.len]
    free(room_ptr)
    return got, out.full


def check_template(bytes plan, size_t template_at):
    cdef const char *base = plan
    return template_check(base, len(plan), <const Template *> (base + template_at))


def decimal(uint64_t value, size_t room=20):
    """put_uint; None if it does not fit."""
    cdef char digits[20]
    cdef Out out = out_over(digits, room)
    put_uint(&out, value)
    return None if out.full else digits[:out.len]


def clean_copy(bytes text, bint front=False):
    """(leading bytes that are clean, the copy), `text` lying at a wall. AssertionError if a byte
    beside the copy was written."""
    cdef size_t length = len(text), clean
    cdef bytearray to = bytearray(b"\x5a" * (length + 16))
    cdef char *room = to
    clean = copy_clean(room + 8, _place(text, length, front), length)
    if to[:8] != b"\x5a" * 8 or to[8 + length:] != b"\x5a" * 8:
        raise AssertionError("written outside")
    return clean, bytes(to[8:8 + length])


def time_render(bytes plan, size_t template_at, ProbeScene scene, long rounds):
    """ns per render."""
    cdef char[8192] room
    cdef Out out
    cdef long round
    cdef const char *base = plan
    start = perf_counter_ns()
    with nogil:
        for round in range(rounds):
            out = out_over(room, 8192)
            render(&out, base, <const Template *> (base + template_at), &scene.scene)
    return (perf_counter_ns() - start) / rounds
