# SPDX-License-Identifier: MIT
"""The knobs of an upstream: its members and how the next one is chosen."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from fastproxy.schema import Duration, UpstreamUrl

Balance = Literal["p2c", "round_robin", "random", "least_conn", "ewma", "hash"]
HOST_PATTERN = (
    r"^(pass|upstream|fixed:([A-Za-z0-9][A-Za-z0-9_.-]{0,252}|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?)\Z"
)
WANTED_HOST = {"wanted": '"pass", "upstream" or "fixed:NAME"'}
TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
COOKIE_PATTERN = rf"^({TOKEN})?\Z"
LEARN_PATTERN = rf"^((cookie|header):{TOKEN})?\Z"
COOKIE_PATH_PATTERN = r"^(/[!-:<-~]*)?\Z"
DOMAIN_PATTERN = r"^\.?[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z|^\Z"
WANTED_COOKIE = {"wanted": "the name of a cookie"}
WANTED_LEARN = {"wanted": '"cookie:NAME" or "header:NAME"'}
WANTED_COOKIE_PATH = {"wanted": 'a path such as "/"'}
FAILING_PATTERN = r"^[45][0-9]{2}(-[45][0-9]{2})?(, ?[45][0-9]{2}(-[45][0-9]{2})?)*\Z"
WANTED_FAILING = {"wanted": 'status codes from 400 to 599 such as "500-599" or "429, 500-599"'}
WANTED_DOMAIN = {"wanted": 'a domain such as "example.com"'}
Percent = Annotated[int, Meta(ge=0, le=100)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
WEIGHT_MAX = 256
PRIORITY_MAX = 7


class Backend(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """One member of an upstream. A plain URL is short for `{ url = ... }`."""

    url: UpstreamUrl
    """`http://host:port`, `http+srv://name` or `http+unix:/path`; `https` instead of `http` for
    TLS, `h2c://host:port` for HTTP/2 without it. A name is resolved at start and again whenever its
    answer has expired; each of its addresses becomes a member of its own. Of SRV records ports,
    weights and priorities come along."""
    weight: Annotated[int, Meta(ge=0, le=WEIGHT_MAX)] = 1
    """Share of the requests relative to the others. 0: no new requests."""
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = 0
    """Members of a higher number get requests only when those of the lower ones cannot take all:
    see `overprovision`."""
    backup: bool = False
    """Gets requests only when no other member can serve."""
    max_connections: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """Requests under way at this member, counted over all workers and never exceeded. Above it
    requests go to others, or wait in the `queue`. 0: no limit."""
    zone: Annotated[str, Meta(max_length=128)] = ""
    """Where it stands. Members of the proxy's own `zone` are preferred while enough of them can
    serve."""
    labels: dict[Label, Label] = {}
    """Words to choose by: see `subset`."""


class Hash(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Which part of the request decides, for `balance = "hash"`: the same goes to the same."""

    key: Annotated[str, Meta(min_length=1, max_length=1024)] = "{client_ip}"
    """A template: `{client_ip}`, `{header:x-user}`, `{cookie:session}`, `{path}`, `{query}`,
    or several together."""
    method: Literal["ring", "maglev", "rendezvous"] = "ring"
    """`ring`: ketama, 160 points for each unit of weight. `maglev`: more even, a little more moves
    when members are added or removed. `rendezvous`: most even, looks at every member."""
    bound: Annotated[float, Meta(ge=0, le=10)] = 0.0
    """The most load a member takes, of its fair share: 1.25 is 25% above it, and what is more goes
    to the next one. 0: no bound."""
    ipv6_prefix: Annotated[int, Meta(ge=1, le=128)] = 64
    """Bits of an IPv6 client address that count when the key is `{client_ip}` alone: a network's
    clients change the rest."""
    fallback: Literal["p2c", "round_robin", "random", "least_conn"] = "p2c"
    """How to choose when the key is empty (no such header or cookie)."""


class SlowStart(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A member that comes (back) gets its share little by little. Not at the proxy's own start, not
    with `hash`."""

    window: Duration = Duration("off")
    """How long it takes until it gets all of its share. off: at once."""
    aggression: Annotated[float, Meta(ge=0.1, le=10)] = 1.0
    """1: a straight line. Above 1: steep at first; below: slow at first. The share is
    (time / window) to the power of 1 / aggression."""
    least: Annotated[int, Meta(ge=1, le=100)] = 10
    """Percent of its share that it gets from the first moment."""


class Queue(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Where requests wait while every member is at its `max_connections`."""

    length: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    """Requests that may wait, over all workers. More are answered 503 at once. 0: nobody waits."""
    timeout: Duration = Duration("5s")
    """How long one waits; then it is answered 503. off: for as long as the client and the timeouts
    of the route let it."""
    priority: Annotated[str, Meta(max_length=1024)] = ""
    """A template that gives the class of a request, 0 (first) to 7; anything else is 4. For
    example `{header:x-priority}`. Empty: all are equal."""


class Outlier(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Members that answer badly are ejected for a while, by what is seen of real requests. One
    decision for all workers. 0 switches a test off."""

    consecutive: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    """Failures in a row, over all workers: no answer in time, a broken one, or one of `status`."""
    consecutive_gateway: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    """The same, but of connect errors, timeouts, broken answers, 502, 503 and 504 only."""
    failures: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Failures within `window`, whether or not there are good answers between them."""
    window: Annotated[Duration, Meta(extra={"ge": 0.01, "le": 86400})] = Duration("10s")
    """It begins with the first failure that is in no other window."""
    status: Annotated[str, Meta(pattern=FAILING_PATTERN, extra=WANTED_FAILING)] = "500-599"
    """Answers that are failures: status codes and ranges, from 400 to 599, with commas between. No
    answer in time and a broken one always are."""
    interval: Duration = Duration("10s")
    """How often the tests below are made, on what was seen since the last time."""
    success_sigma: Annotated[float, Meta(ge=0, le=10)] = 1.9
    """Success rates this many standard deviations below the mean of all are out. Needs
    `hosts` members with `volume` requests each."""
    error_percent: Percent = 85
    """Failures of all answers, in percent. Needs 50 requests, and `hosts` members with so many."""
    latency_factor: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    """Median time to the first byte this many times that of all members together is out."""
    hosts: Annotated[int, Meta(ge=1, le=1024)] = 5
    """Members with enough requests, before any of the tests of `interval` is made."""
    volume: Annotated[int, Meta(ge=1, le=1_000_000)] = 100
    """Requests of a member in one interval, before its success rate counts."""
    ejection: Duration = Duration("30s")
    """How long the first ejection lasts; the n-th in a row n times as long."""
    longest: Duration = Duration("300s")
    """The longest ejection."""
    most: Percent = 10
    """Percent of the members that may be ejected at once; one always may, the last one never."""


class Subset(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Choose among the members whose label has the value that the request asks for."""

    label: Annotated[str, Meta(max_length=128)] = ""
    """The name of the label. Empty: no subsets."""
    value: Annotated[str, Meta(max_length=1024)] = ""
    """A template: `{header:x-version}`. An empty value, or one that no member has, is any member;
    with `strict` it is nobody."""
    strict: bool = False
    """Answer 503 when nobody of the subset can serve, instead of taking anybody."""


class Session(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Requests of one session go to one member, as long as it can serve. With `cookie` fastproxy
    gives each client a cookie of its own that names the member; with `learn` it remembers which
    member the application's cookie, or a field of the requests, belongs to. A member that is only
    drained goes on serving its sessions. One at its `max_connections` is passed over for that one
    request."""

    cookie: Annotated[str, Meta(pattern=COOKIE_PATTERN, max_length=128, extra=WANTED_COOKIE)] = ""
    """The name of the cookie to give. Empty: none."""
    learn: Annotated[str, Meta(pattern=LEARN_PATTERN, max_length=128, extra=WANTED_LEARN)] = ""
    """`cookie:NAME`: learn from the answers that set this cookie. `header:NAME`: learn from the
    requests that have this field. Empty: learn nothing. All workers share what one has learned."""
    idle: Duration = Duration("10m")
    """A learned session is forgotten when it was not used for so long. At most 7 days; earlier when
    the table is full: then the one that was not used for longest goes."""
    secret: Annotated[str, Meta(max_length=1024)] = ""
    """Key of the cookie's value, of at least 16 characters. Several proxies in front of the same
    members need the same. Empty: a random one, made at the start."""
    path: Annotated[str, Meta(pattern=COOKIE_PATH_PATTERN, max_length=512,
                              extra=WANTED_COOKIE_PATH)] = "/"  # fmt: skip
    """Path of the cookie. Empty: that of the request."""
    domain: Annotated[str, Meta(pattern=DOMAIN_PATTERN, extra=WANTED_DOMAIN)] = ""
    """Domain of the cookie. Empty: the host asked for, alone."""
    max_age: Duration = Duration("off")
    """How long a browser keeps the cookie. off: until it is closed."""
    http_only: bool = True
    """Scripts in the page do not see the cookie."""
    secure: Literal["auto"] | bool = "auto"
    """The browser sends the cookie over TLS only. `auto`: when it was given over TLS (or a trusted
    proxy's X-Forwarded-Proto says so)."""
    same_site: Literal["lax", "strict", "none", ""] = "lax"
    """SameSite of the cookie. Empty: as the browser likes."""
    hide: bool = False
    """Take the cookie out of what the member reads."""


class UpstreamTimeouts(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Timeouts of one upstream; what is absent is as `[timeouts]` says."""

    connect: Duration | None = None
    """As `timeouts.upstream_connect`."""
    first_byte: Duration | None = None
    """As `timeouts.upstream_first_byte`."""
    idle: Duration | None = None
    """As `timeouts.upstream_idle`."""


class Upstream(Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A named group of backends that serve the same thing."""

    backends: list[UpstreamUrl | Backend] = []
    """The members: URLs, or tables with `url`, `weight` and more. At most 1024 addresses."""
    balance: Balance = "p2c"
    """How the next member is chosen. `p2c`: the less busy of two drawn by weight. `round_robin`:
    smooth weighted, as in nginx. `random`: by weight. `least_conn`: the least busy of all. `ewma`:
    the fastest to answer of a few, against how busy it is. `hash`: by a part of the request, see
    `hash`."""
    draws: Annotated[int, Meta(ge=2, le=16)] = 2
    """Members that `p2c` and `ewma` compare."""
    hash: Hash = Hash()
    slow_start: SlowStart = SlowStart()
    queue: Queue = Queue()
    outlier: Outlier = Outlier()
    subset: Subset = Subset()
    session: Session = Session()
    panic_threshold: Percent = 50
    """When fewer percent of the members (by weight) can serve, requests are spread over all of
    them, the down ones too: the checks may be wrong, and the few that are left would fall next. Not
    while other priorities, zones or backups can take them. 0: only to those that can serve, else
    503."""
    overprovision: Annotated[float, Meta(ge=1, le=10)] = 1.4
    """A priority keeps all requests while its able share times this is 1 or more; what is missing
    goes to the next one."""
    host: Annotated[str, Meta(pattern=HOST_PATTERN, extra=WANTED_HOST)] = "pass"
    """The Host field sent: `pass` (the client's), `upstream` (that of the backend's URL), or
    `fixed:name`."""
    timeouts: UpstreamTimeouts = UpstreamTimeouts()
    """Timeouts of this upstream alone."""

    @property
    def proven_first(self) -> bool:
        """Whether a new member must be found well before it serves (config/model.py knows)."""
        return False

    @property
    def scheme(self) -> str:
        """What all its members speak: http, https or h2c."""
        for first in self.backends:
            return (first.url if isinstance(first, Backend) else first).scheme
        return "http"

    def members(self) -> list[Backend]:
        """Every member in the long form."""
        return [b if isinstance(b, Backend) else Backend(url=b) for b in self.backends]
