# SPDX-License-Identifier: MIT
# What tests, fuzzers and micro benches ask the grammar. Included by _probe.pyx; never shipped into
# the engine. Inputs lie at the end of a mapped page with nothing readable behind it (or, with
# `front`, at its beginning with nothing before it), so a read outside kills the test.

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint16_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset
from posix.mman cimport (
    MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, mmap, mprotect,
)

from fastproxy.clib.scan cimport Scan, char_class, scan_choose, scan_named
from fastproxy.http1.authority cimport host_split
from fastproxy.http1.chunked cimport Chunked, chunked_decode, chunked_init
from fastproxy.http1.faults cimport FAULT_REASONS, fault_name, fault_rows, fault_text
from fastproxy.http1.framing cimport frame_request, frame_response
from fastproxy.http1.head cimport FIELD_IDS, Fault, Field, Framing, Head
from fastproxy.http1.names cimport field_id, field_text, method_id, method_text, name_guards
from fastproxy.http1.parse cimport (
    HeadLimits, HeadParser, parse_request, parse_response, parser_init_request,
    parser_init_response,
)
from fastproxy.http1.target cimport TargetParts, path_normalise, target_split
from fastproxy.memory.span cimport Out, Span, out_over, span

DEF_LIMITS = (8192, 8192, 32768, 128)

cdef enum:
    GUARD_PAGE = 4096
    GUARD_BYTES = 1048576

cdef char *_guarded = NULL


cdef char *_room() except NULL:
    """GUARD_BYTES of memory with an unreadable page on both sides, mapped once."""
    global _guarded
    cdef void *at
    if _guarded == NULL:
        at = mmap(NULL, GUARD_BYTES + 2 * GUARD_PAGE, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if at == MAP_FAILED:
            raise OSError(errno, "mmap")
        mprotect(at, GUARD_PAGE, PROT_NONE)
        mprotect(<char *> at + GUARD_PAGE + GUARD_BYTES, GUARD_PAGE, PROT_NONE)
        _guarded = <char *> at + GUARD_PAGE
    return _guarded


cdef char *_place(const char *data, size_t length, bint front) except NULL:
    """A copy of `data` against a wall: its end, or with `front` its beginning."""
    cdef char *room = _room()
    if length > GUARD_BYTES:
        raise ValueError("input too long for the probe")
    cdef char *at = room if front else room + GUARD_BYTES - length
    memcpy(at, data, length)
    return at


cdef const Scan *_scan(simd) except NULL:
    """The scan table of that name, or the one the program would choose."""
    if simd is None:
        return scan_choose()
    return scan_named(<bytes> simd.encode())


cdef HeadLimits _limits(limits):
    cdef HeadLimits given
    given.line_bytes, given.field_bytes, given.fields_bytes, given.fields_max = limits
    return given


cdef tuple _fault_tuple(const Fault *fault):
    return ("fault", fault.status, fault_name(fault.reason).decode(), fault.offset, fault.side)


cdef bytes _bytes(Span s):
    return s.ptr[:s.len]


cdef dict _head_dict(const Head *head):
    """Everything a Head says, as Python."""
    cdef int i
    cdef const Field *f
    fields = []
    for i in range(head.count):
        f = &head.fields[i]
        fields.append((
            head.base[f.name_off:f.name_off + f.name_len],
            head.base[f.value_off:f.value_off + f.value_len],
            f.id, f.flags, f.line_len,
            head.base[f.name_off:f.name_off + f.line_len],
        ))
    return {
        "length": head.length, "fields_off": head.fields_off, "status": head.status,
        "minor": head.minor, "method": head.method, "ids": head.ids, "fields": fields,
        "twice": head.twice,
        "last": {i: head.last[i] for i in range(<int> FIELD_IDS) if head.ids >> i & 1},
        "method_text": head.base[head.method_text.off:head.method_text.off + head.method_text.len],
        "target": head.base[head.target.off:head.target.off + head.target.len],
        "reason": head.base[head.reason.off:head.reason.off + head.reason.len],
    }


cdef dict _framing_dict(const Framing *f):
    return {
        "length": f.length, "body": f.body, "keep_alive": f.keep_alive,
        "expect_continue": f.expect_continue, "upgrade": f.upgrade, "te_trailers": f.te_trailers,
        "host": f.host, "upgrade_field": f.upgrade_field,
    }


cdef inline void _begin(HeadParser *p, bint request, const Scan *scan,
                        const HeadLimits *given) noexcept nogil:
    if request:
        parser_init_request(p, scan, given)
    else:
        parser_init_response(p, scan, given)


cdef inline int64_t _parse(HeadParser *p, bint request, const char *at, size_t length,
                           Fault *fault) noexcept nogil:
    return parse_request(p, at, length, fault) if request else parse_response(p, at, length, fault)


cdef int64_t _feed(HeadParser *p, bint request, const char *data, list cuts, bint front,
                   Fault *fault) except? -2:
    """Feed prefixes of `data`, each at another address than the one before."""
    cdef int64_t r = 0
    cdef char *at
    cdef size_t cut
    for cut in cuts:
        at = _place(data, cut, front)
        r = _parse(p, request, at, cut, fault)
        if r != 0:
            return r
        memset(at, 0, cut)
        front = not front
    return r


def head_parse(bint request, bytes data, cuts=None, limits=DEF_LIMITS, simd=None,
               bint front=False, int request_method=1):
    """Parse and frame one head.

    `cuts`: lengths of the prefixes to feed, ascending; by default the whole at once. Returns
    ("more",), ("fault", status, reason, offset, side) or
    ("head", consumed, head, framing or the framing's fault).
    """
    cdef HeadParser p
    cdef HeadLimits given = _limits(limits)
    cdef Fault fault
    cdef Framing framing
    cdef int64_t r
    memset(&p, 0x5a, sizeof(p))
    memset(&framing, 0x5a, sizeof(framing))
    _begin(&p, request, _scan(simd), &given)
    r = _feed(&p, request, data, [len(data)] if cuts is None else list(cuts), front, &fault)
    if r == 0:
        return ("more",)
    if r < 0:
        return _fault_tuple(&fault)
    if request:
        bad = frame_request(&p.head, &framing, &fault)
    else:
        bad = frame_response(&p.head, request_method, &framing, &fault)
    framed = _fault_tuple(&fault) if bad else _framing_dict(&framing)
    return ("head", r, _head_dict(&p.head), framed)


def body_decode(bytes data, cuts=None, int side=0, trailer_room=None):
    """Decode a chunked body fed in pieces that end at `cuts`.

    Returns ("more" | "done", consumed, payload, trailers or None, trailers.full, moved) or a fault.
    `moved`: some read had its payload anywhere but where it came in (the decoder had to move it).
    """
    cdef Chunked c
    cdef Fault fault
    cdef Out trailers
    cdef size_t start, produced, before = 0, cut
    cdef int64_t r
    cdef char *at
    cdef bytearray room = bytearray(trailer_room or 0)
    cdef bint front = False, moved = False
    memset(&c, 0x5a, sizeof(c))
    trailers = out_over(room, len(room))
    chunked_init(&c, side, &trailers if trailer_room is not None else NULL)
    payload = b""
    consumed = 0
    for cut in ([len(data)] if cuts is None else cuts):
        at = _place(<const char *> data + before, cut - before, front)
        r = chunked_decode(&c, at, cut - before, &start, &produced, &fault)
        if r < 0:
            return _fault_tuple(&fault)
        payload += at[start:start + produced]
        moved = moved or produced > 0 and data[before + start:before + start + produced] != \
            at[start:start + produced]
        consumed += r
        before = cut
        front = not front
        if c.done:
            break
    if c.total != <uint64_t> len(payload) or c.at != <uint64_t> consumed:
        raise AssertionError("the decoder counted wrong")
    return ("done" if c.done else "more", consumed, payload,
            bytes(room[:trailers.len]) if trailer_room is not None else None,
            bool(trailers.full), bool(moved))


def path_form(bytes raw, int options=0, cap=None, bint front=False):
    """Normalise a path: (normal form, whether it is the raw one itself) or a fault."""
    cdef Fault fault
    cdef Span normal
    cdef size_t room_bytes = len(raw) if cap is None else cap
    cdef bytearray room = bytearray(room_bytes + 1)
    cdef char *at = _place(raw, len(raw), front)
    room[room_bytes] = 0x5a
    if path_normalise(span(at, len(raw)), <char *> room, room_bytes, options, &normal, &fault) < 0:
        return _fault_tuple(&fault)
    if room[room_bytes] != 0x5a:
        raise AssertionError("the normaliser wrote past its room")
    return (_bytes(normal), normal.ptr == at)


def target_parts(bytes data):
    """Split the target of a whole request head: a dict, or a fault."""
    cdef HeadParser p
    cdef HeadLimits given = _limits(DEF_LIMITS)
    cdef Fault fault
    cdef TargetParts parts
    parser_init_request(&p, scan_choose(), &given)
    cdef char *at = _place(data, len(data), False)
    if parse_request(&p, at, len(data), &fault) <= 0:
        raise ValueError("not a whole head")
    if target_split(&p.head, &parts, &fault) < 0:
        return _fault_tuple(&fault)
    return {
        "form": parts.form, "https": parts.https, "has_query": parts.has_query,
        "authority": _bytes(parts.authority), "path": _bytes(parts.path),
        "query": _bytes(parts.query),
    }


def host_form(bytes authority):
    """(host for matching, port) or None if it is not valid."""
    cdef char lowered[256]
    cdef Span host
    cdef uint16_t port
    cdef char *at = _place(authority, len(authority), False)
    if host_split(span(at, len(authority)), lowered, &host, &port) < 0:
        return None
    return (_bytes(host), port)


def scan_ends(bytes data, simd=None, bint front=False):
    """(offset of value_end, offset of target_end, name of the table used)."""
    cdef const Scan *scan = _scan(simd)
    cdef char *at = _place(data, len(data), front)
    return (scan.value_end(at, at + len(data)) - at, scan.target_end(at, at + len(data)) - at,
            scan.name.decode())


def char_classes():
    """The 256 CHAR_ class words."""
    return [char_class[i] for i in range(256)]


def fault_table():
    """Every reason: (name, status for a client, text)."""
    return [(fault_name(i).decode(), fault_rows[i].status, fault_text(i).decode())
            for i in range(<int> FAULT_REASONS)]


def field_table():
    """Every known field name by id."""
    return [field_text(i).decode() for i in range(<int> FIELD_IDS)]


def name_to_id(bytes name):
    """FieldId of a name."""
    return field_id(_place(name, len(name), False), len(name))


def method_to_id(bytes name):
    """(Method, its text) of a token."""
    cdef uint8_t id = method_id(_place(name, len(name), False), len(name))
    return id, method_text(id).decode()


def guards_of(bytes name):
    """name_guards bits."""
    return name_guards(span(name, len(name)))
