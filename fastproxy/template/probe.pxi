# SPDX-License-Identifier: MIT
# Rendering and escaping for tests and micro benches. Behind route/probe.pxi in _probe.pyx,
# whose ProbeScene it renders.

from fastproxy.memory.span cimport put_uint
from fastproxy.template.escape cimport copy_clean
from fastproxy.template.line cimport copy_marks, line_check, render_line
from fastproxy.template.render cimport template_check
from fastproxy.template.table cimport Template


cdef void line_apart(Out *out, const char *base, const Template *template,
                     const Scene *scene) noexcept nogil:
    """In one place, as in the engine."""
    render_line(out, base, template, scene)


def render_template(bytes plan, size_t template_at, ProbeScene scene, size_t room=65536):
    """(bytes, full) of the Template row at `template_at`."""
    cdef char *room_ptr = <char *> calloc(1, room + 1)
    cdef Out out = out_over(room_ptr, room)
    cdef const char *base = plan
    cdef const Template *template = <const Template *> (base + template_at)
    render(&out, base, template, &scene.scene)
    got = out.ptr[:out.len]
    full = out.full
    if line_check(base, len(plan), template) == 0:
        memset(room_ptr, 0x5a, room + 1)
        out = out_over(room_ptr, room)
        line_apart(&out, base, template, &scene.scene)
        if out.full != full or (not full and out.ptr[:out.len] != got) or room_ptr[room] != 0x5a:
            free(room_ptr)
            raise AssertionError("the quick way is another")
    free(room_ptr)
    return got, full


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


def clean_whole(bytes text, bint front=False):
    """The copy of a text that is clean all through, else None. It lies at a wall: what is read
    behind it must be there. AssertionError if more than its length or 16 bytes were written."""
    cdef size_t length = len(text)
    cdef size_t most = length if length > 16 else 16
    cdef bytearray to = bytearray(b"\x5a" * (most + 16))
    cdef char *room = to
    cdef bint dirty = copy_marks(room + 8, _place(text, length, front), length) != 0
    if to[:8] != b"\x5a" * 8 or to[8 + most:] != b"\x5a" * 8:
        raise AssertionError("written outside")
    return None if dirty else bytes(to[8:8 + length])


def time_render(bytes plan, size_t template_at, ProbeScene scene, long rounds):
    """ns per render."""
    cdef char[8192] room
    cdef Out out
    cdef long round
    cdef const char *base = plan
    cdef const Template *template = <const Template *> (base + template_at)
    cdef bint line = line_check(base, len(plan), template) == 0
    start = perf_counter_ns()
    with nogil:
        for round in range(rounds):
            out = out_over(room, 8192)
            if line:
                line_apart(&out, base, template, &scene.scene)
            else:
                render(&out, base, template, &scene.scene)
    return (perf_counter_ns() - start) / rounds
