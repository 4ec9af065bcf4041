# SPDX-License-Identifier: MIT
# The walk over frames, for tests and benches.

from libc.stdint cimport uint32_t

from fastproxy.memory.span cimport Out, out_over
from fastproxy.websocket.frames cimport (
    GOODBYE_BYTES, WALK_OVER, FrameWalk, frames_between, frames_goodbye, frames_walk)


def frames_state(bytes data, cuts=None):
    """"between" frames, "over" behind a close frame, or "inside": where `data`, passing in pieces
    that end at `cuts`, leaves the walk."""
    cdef FrameWalk walk
    cdef size_t before = 0, cut
    memset(&walk, 0, sizeof(walk))
    for cut in [*(cuts or ()), len(data)]:
        frames_walk(&walk, <const char *> data + before, cut - before)
        before = cut
    if frames_between(&walk):
        return "between"
    return "over" if walk.state == WALK_OVER else "inside"


def goodbye(uint32_t key):
    """The close frame, masked by the bytes of `key` unless it is 0."""
    cdef char room[GOODBYE_BYTES]
    cdef Out out = out_over(room, GOODBYE_BYTES)
    frames_goodbye(&out, key)
    return room[:out.len] if not out.full else None


def frame_walk_bytes():
    """How much a direction of a tunnel keeps."""
    return sizeof(FrameWalk)


def time_frames(bytes data, int rounds):
    """Nanoseconds for `data` to pass once."""
    cdef FrameWalk walk
    cdef const char *at = data
    cdef size_t length = len(data)
    cdef int i
    cdef double began
    memset(&walk, 0, sizeof(walk))
    with nogil:
        began = _seconds()
        for i in range(rounds):
            frames_walk(&walk, at, length)
        began = _seconds() - began
    if not frames_between(&walk):
        raise ValueError("these are not whole frames")
    return began / rounds * 1e9
