"""The typed face of the compiled hot path. What Python may ask of it; nothing per byte."""

from collections.abc import Callable
from typing import Any

def layout() -> dict[str, tuple[int, dict[str, tuple[int, int, str]]]]:
    """Every table struct as {name: (size, {field: (offset, bytes, type)})}."""

def layout_hash() -> int:
    """64 bits that change when any table struct changes; plans, rosters and boards carry it."""

def field_id(name: bytes) -> int:
    """FieldId of a field name, whatever its case; 0 if the hot path knows no such name."""

def method_id(name: bytes) -> int:
    """Method of a method token (case-sensitive); 0 if it is not one of ours."""

def is_token(text: bytes) -> bool:
    """May this be a field name or a method (1*tchar)?"""

def is_field_value(text: bytes) -> bool:
    """May this be a field's value: no control character but HTAB?"""

def split_host(authority: bytes) -> tuple[bytes, int] | None:
    """(host as routes match it, port or 0) of "host[:port]", or None if it is not valid."""

def regex_inspect(pattern: bytes, options: int = 0) -> tuple[int, dict[str, int]]:
    """(number of groups, {name: group}) of a PCRE2 pattern; ValueError(text, offset) if bad."""

def literal_behind() -> int:
    """Bytes that must be there to be read behind a template's literal."""

def part_place(variable: int, arg: int) -> tuple[int, int]:
    """(PartKind, where in the Scene) of a template's variable."""

def variables() -> dict[str, int]:
    """{name: number} of the variables of templates."""

def field_ids() -> dict[str, int]:
    """{lower-case field name: FieldId}."""

def method_ids() -> dict[str, int]:
    """{method: Method}."""

def route_hash(seed: int, text: bytes) -> int:
    """The hash under which a path segment or a host is looked up."""

def normal_path(path: bytes, merge_slashes: bool, reject_encoded_slash: bool) -> bytes:
    """The form of a path that routes match and upstreams read. ValueError: it would get 400."""

def smooth_wheel(weights: list[int]) -> bytes:
    """One cycle of smooth weighted round robin, as uint16 indices."""

def key_hash(key: bytes) -> int:
    """The 64-bit hash of a key or a member's name, the same everywhere and for good."""

def hash_ring(hashes: list[int], weights: list[int]) -> bytes:
    """RingPoint rows of a ketama ring; `hashes` are of the members' names."""

def maglev_table(hashes: list[int], weights: list[int]) -> bytes:
    """The entries of a Maglev table, as uint16 indices."""

def eject(board: Board, roster: bytes, upstream: int, member: int) -> bool:
    """Eject a member (an index into its upstream in this roster), as a worker does for failures in
    a row. False: it is not able anyway, or the limits do not allow it."""

def uneject(board: Board, row: int, upstream: int) -> bool:
    """A good check: the member in this row may serve again, at once. False: it was not ejected."""

def forgive(board: Board, row: int) -> int:
    """An interval without an ejection of this member has passed: its next one is shorter again. How
    many are left that make it longer."""

class Board:
    """One mapping of the scoreboard (fastproxy/scoreboard/door.pxi says who may call what)."""

    workers: int
    fd: int
    def __init__(self, fd: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def ring(self, slot: int, bits: int) -> None: ...
    def take(self, slot: int) -> int: ...
    def state(self, slot: int) -> int: ...
    def set_state(self, slot: int, state: int) -> None: ...
    def pid(self, slot: int) -> int: ...
    def begin(self, slot: int, pid: int, generation: int) -> None: ...
    def beat(self, slot: int) -> None: ...
    def beat_age_ms(self, slot: int) -> int: ...
    def reclaim(self, slot: int) -> int: ...
    def touch(self, upstream: int) -> None: ...
    def rotate_tickets(self, key: bytes) -> None: ...
    def ticket_age_ms(self) -> int: ...
    def inflight(self, backend: int) -> int: ...

def board_words() -> dict[str, int]:
    """Numbers of the board's format: magic, version, capacities."""

def no_new_privileges() -> None:
    """PR_SET_NO_NEW_PRIVS for this process."""

def regex_search(pattern: bytes, subject: bytes) -> bool:
    """Whether a PCRE2 pattern matches, by the rules and limits of the hot path."""

def explain(
    plan: bytes,
    listener: int,
    method: bytes,
    host: bytes,
    path: bytes,
    query: bytes,
    headers: list[tuple[bytes, bytes]],
) -> dict[str, Any]:
    """What the hot path makes of a request: {why, allow} and, on a hit, {route, name, params,
    target, value, request}. ValueError if the plan is not sound."""

class WorkerEngine:
    """One worker's engine: an epoll set of its own, with the worker's event loop nested in it.

    All methods are called from the worker's loop thread. Errors of configuration raise ValueError,
    errors of the system OSError; traffic never raises.
    """

    def __init__(self, slot: int, board: int) -> None:
        """`slot`: this worker's number. `board`: the scoreboard's memfd (mapped, not kept)."""
    def fileno(self) -> int:
        """Readable whenever a turn is due, for `loop.add_reader(engine.fileno(), engine.turn)`."""
    def host(self, loop: Any) -> None:
        """Nest this uvloop in the engine's epoll set: turns wait for traffic from now on, and end
        when the loop has an event, a callback or a timer due. OSError: it is not uvloop's own."""
    def turn(self) -> bool:
        """Do what is ready, without the GIL, and wait for more until the loop has something to do
        (never without `host`). True: work is left, call again soon."""
    def plan(self, fd: int) -> int:
        """Map, check and swap in a plan memfd (not closed); its generation. ValueError: unsound."""
    def roster(self, fd: int) -> int:
        """Map and swap in a roster memfd (not closed); its epoch. ValueError if unsound."""
    def configure(self, plan: int, roster: int) -> int:
        """Both memfds (not closed) or neither: a plan and the roster made for it. Its generation.
        ValueError if one is unsound; what is in force stays so."""
    def queue_bells(self, fds: list[int]) -> None:
        """Eventfds by slot (not closed): the engine wakes when its own is written, and writes that
        of the worker whose turn it is when a place at a full backend comes free. Once."""
    def listen(self, slot: int, listener: int, fd: int) -> None:
        """Hand over the listening socket of (slot, listener). The engine accepts on its own slot's
        at once and on another's while that slot is dead or stuck. Unix sockets: slot -1, shared."""
    def log_to(self, fd: int) -> None:
        """Write access-log lines to this file from now on (the fd is duplicated, not closed); the
        old one is closed when drained."""
    def adopt(self) -> None:
        """Look at all slots now, not at the next tick: whose queue to take, whose to hand back."""
    def drain(self, seconds: float) -> None:
        """Accept until EAGAIN, then no more; idle connections close, busy ones end with their
        answer (`Connection: close`), tunnels and event streams shortly before `seconds` are over,
        when the caller is about to `close`."""
    def drained(self) -> bool:
        """Nothing is accepted any more and no client connection is left."""
    def connections(self) -> int:
        """Open client connections."""
    def responder(self, name: str, handler: Callable[[object], object]) -> None:
        """Name an async handler that routes with a Python responder may use."""
    def close(self) -> None:
        """Close everything now. The log is flushed."""
