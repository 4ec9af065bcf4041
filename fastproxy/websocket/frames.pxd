# SPDX-License-Identifier: MIT
"""Where does a WebSocket frame end? (RFC 6455 section 5.2)

    frames_walk(walk, data, size)       these bytes passed
    frames_between(walk)                a frame of ours could be put in here
    frames_goodbye(out, key)            a close frame, 1001 "going away"; key 0: not masked

A tunnel relays bytes and looks at nothing. To end one politely (RFC 6455 7.1.1, 7.4.1) a close
frame has to stand between two frames, in the midst of one it would be payload. So each direction
has a walk of 16 bytes: it steps over heads and skips payloads. It judges nothing: opcodes, reserved
bits (extensions), masks and lengths are the two ends' business. Fragments of a message are frames,
and control frames may come between them. After a close frame nothing more may come.

Who calls: the worker, once per read of a tunnel; a zeroed walk stands at the beginning.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fastproxy.memory.span cimport Out, put, put_char


cdef enum WalkState:
    WALK_FIRST = 0              # between frames: opcode next
    WALK_SECOND = 1             # mask bit and short length next
    WALK_LENGTH = 2             # `rest` bytes of a long length next
    WALK_MASK = 3               # `rest` bytes of the masking key next
    WALK_PAYLOAD = 4            # `left` bytes, not 0
    WALK_OVER = 5               # a close frame has passed

cdef enum:
    OPCODE_BITS = 0x0f
    OPCODE_CLOSE = 0x08
    MASK_BIT = 0x80
    MASK_BYTES = 4
    HEAD_BYTES_MAX = 14
    CLOSE_GOING_AWAY = 1001
    GOODBYE_BYTES = 8


cdef struct FrameWalk:
    uint64_t left               # of the payload, once the length is known
    uint8_t state               # WalkState
    uint8_t rest                # bytes still to come of length or key
    uint8_t masked
    uint8_t close               # this is a close frame
    uint32_t reserved


cdef inline void _head_done(FrameWalk *walk) noexcept nogil:
    """Length and key are known."""
    if walk.left != 0:
        walk.state = WALK_PAYLOAD
    else:
        walk.state = WALK_OVER if walk.close else WALK_FIRST


cdef inline void _length_known(FrameWalk *walk) noexcept nogil:
    if walk.masked:
        walk.state = WALK_MASK
        walk.rest = MASK_BYTES
    else:
        _head_done(walk)


cdef inline void _head_byte(FrameWalk *walk, uint8_t byte) noexcept nogil:
    """One byte of a frame's head."""
    if walk.state == WALK_FIRST:
        walk.close = (byte & OPCODE_BITS) == OPCODE_CLOSE
        walk.state = WALK_SECOND
    elif walk.state == WALK_SECOND:
        walk.masked = byte & MASK_BIT
        walk.left = byte & (MASK_BIT - 1)
        if walk.left < 126:
            _length_known(walk)
            return
        walk.rest = 2 if walk.left == 126 else 8
        walk.left = 0
        walk.state = WALK_LENGTH
    else:
        walk.rest -= 1
        if walk.state == WALK_LENGTH:
            walk.left = walk.left << 8 | byte
            if walk.rest == 0:
                _length_known(walk)
        elif walk.rest == 0:
            _head_done(walk)


cdef inline size_t _whole_head(FrameWalk *walk, const uint8_t *head) noexcept nogil:
    """From between frames, over a head that is all there. How long is it?"""
    cdef size_t used = 2
    cdef int i
    walk.close = (head[0] & OPCODE_BITS) == OPCODE_CLOSE
    walk.left = head[1] & (MASK_BIT - 1)
    if walk.left == 126:
        walk.left = <uint64_t> head[2] << 8 | head[3]
        used = 4
    elif walk.left == 127:
        walk.left = 0
        for i in range(2, 10):
            walk.left = walk.left << 8 | head[i]
        used = 10
    if head[1] & MASK_BIT:
        used += MASK_BYTES
    _head_done(walk)
    return used


cdef inline void frames_walk(FrameWalk *walk, const char *data, size_t size) noexcept nogil:
    """These bytes have passed, in this direction."""
    cdef const char *end = data + size
    while data != end and walk.state != WALK_OVER:
        if walk.state == WALK_FIRST and end - data >= HEAD_BYTES_MAX:
            data += _whole_head(walk, <const uint8_t *> data)
        elif walk.state != WALK_PAYLOAD:
            _head_byte(walk, <uint8_t> data[0])
            data += 1
        elif walk.left > <size_t> (end - data):
            walk.left -= <size_t> (end - data)
            return
        else:
            data += walk.left
            walk.left = 0
            _head_done(walk)


cdef inline bint frames_between(const FrameWalk *walk) noexcept nogil:
    return walk.state == WALK_FIRST


cdef inline void frames_goodbye(Out *out, uint32_t key) noexcept nogil:
    """Written to `out`, which has GOODBYE_BYTES. A client masks what it sends, a server does not:
    with any `key` but 0 it is a client's."""
    cdef uint16_t code = CLOSE_GOING_AWAY
    put_char(out, <char> 0x88)
    put_char(out, <char> (0x82 if key != 0 else 0x02))
    if key != 0:
        put(out, <const char *> &key, MASK_BYTES)
        code ^= <uint16_t> ((key & 0xff) << 8 | (key >> 8 & 0xff))
    put_char(out, <char> (code >> 8))
    put_char(out, <char> (code & 0xff))
