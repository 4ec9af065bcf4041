# SPDX-License-Identifier: MIT
"""The words all settings share: durations, sizes, networks, addresses, URLs.

Each word is a subclass of a builtin, made by `parse` from what a file or a flag holds. A wrong word
raises ValueError with a text for the user: what stood there, what is wanted, an example. msgspec
meets them through `dec_hook`; `word_schema` describes them in JSON Schema.

Not accepted anywhere: trailing text, signs, names that only a resolver would understand where an
address is asked for, control characters.
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import Any, ClassVar, Self

from fastproxy.addresses import check_unix_path, host_port, is_ip, quote

TIME_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {
    "": 1, "b": 1,
    "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2, "g": 1024**3, "gib": 1024**3,
    "kb": 1000, "mb": 1000**2, "gb": 1000**3,
}  # fmt: skip
DURATION_MAX = 3653 * 86400.0
SIZE_MAX = 1 << 62

DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?([A-Za-z]*)", re.ASCII)


def parse_duration(value: object) -> float:
    """Seconds from "10s", "500ms", "1h30m", "off" or a number of seconds."""
    example = 'write "10s", "500ms", "1h30m" or a number of seconds'
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif not isinstance(value, str):
        raise ValueError(f"expected a duration, got {_kind(value)}; {example}")
    elif value == "off":
        return 0.0
    elif DURATION.fullmatch(value):
        seconds = sum(float(n) * TIME_UNITS[unit] for n, unit in DURATION_PART.findall(value))
    elif re.fullmatch(r"\d+(\.\d+)?", value, re.ASCII):
        seconds = float(value)
    else:
        raise ValueError(f"{quote(value)} is not a duration; {example}")
    if not math.isfinite(seconds) or not 0 <= seconds <= DURATION_MAX:
        raise ValueError(f"{quote(value)} is out of range: 0 to 365 days")
    return seconds


def parse_size(value: object) -> int:
    """Bytes from "8KiB", "64k" (both powers of 1024), "10MB" (powers of 1000), "off" or an int."""
    example = 'write "8KiB", "1MiB", "64k" or a number of bytes'
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif not isinstance(value, str):
        raise ValueError(f"expected a size, got {_kind(value)}; {example}")
    elif value == "off":
        return 0
    else:
        match = SIZE.fullmatch(value)
        unit = SIZE_UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None or len(match[1]) > 24:
            raise ValueError(f"{quote(value)} is not a size; {example}")
        exact = float(match[1]) * unit if "." in match[1] else int(match[1]) * unit
        size = int(exact)
        if size != exact:
            raise ValueError(f"{quote(value)} is not a whole number of bytes")
    if not 0 <= size <= SIZE_MAX:
        raise ValueError(f"{quote(value)} is out of range: 0 to 2^62 bytes")
    return size


class Duration(float):
    """A time span in seconds; 0 or "off" switches the timeout off where that is allowed."""

    examples: ClassVar[list[Any]] = ["10s", "500ms", "1h30m", "off", 2.5]
    pattern: ClassVar[str] = r"^(off|\d+(\.\d+)?|(\d+(\.\d+)?(ms|s|m|h|d))+)$"

    def __new__(cls, value: object = 0) -> Self:
        return super().__new__(cls, parse_duration(value))

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(value)

    @property
    def ms(self) -> int:
        """Milliseconds, rounded up: a tiny timeout never becomes 0, which means off."""
        return math.ceil(self * 1000 - 1e-6)

    def __str__(self) -> str:
        if not self:
            return "off"
        if self.ms % 1000:
            return f"{self.ms}ms"
        for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60)):
            if self % seconds == 0 and (self >= 2 * seconds or unit == "h"):
                return f"{int(self // seconds)}{unit}"
        return f"{int(self)}s"


class ByteSize(int):
    """A number of bytes; "64k" and "64KiB" are 65536, "64kB" is 64000."""

    examples: ClassVar[list[Any]] = ["8KiB", "1MiB", "64k", 4096]
    pattern: ClassVar[str] = r"^(off|\d+(\.\d+)?\s?([kKmMgG]i?[bB]?|[bB])?)$"

    def __new__(cls, value: object = 0) -> Self:
        return super().__new__(cls, parse_size(value))

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(value)

    def __str__(self) -> str:
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if self and self % size == 0:
                return f"{self // size}{unit}"
        return f"{int(self)}"


class TextWord(str):
    """A word that stays text: how it was written is also how it is shown."""

    examples: ClassVar[list[Any]] = []
    pattern: ClassVar[str] = ""
    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        raise NotImplementedError

    @classmethod
    def _text(cls, value: object, wanted: str) -> str:
        if not isinstance(value, str):
            raise ValueError(f"expected {wanted}, got {_kind(value)}")
        if any(c < "!" or c == "\x7f" for c in value):
            raise ValueError(f"{quote(value)} has a space or a control character; {wanted}")
        return value


class Cidr(TextWord):
    """A network: "10.0.0.0/8", "fd00::/8", or one address. Host bits must be zero."""

    examples = ["10.0.0.0/8", "192.168.1.7", "fd00::/8"]

    @classmethod
    def parse(cls, value: object) -> Self:
        text = cls._text(value, 'a network such as "10.0.0.0/8" or "fd00::/8"')
        cls._network(text)
        return cls(text)

    @staticmethod
    def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        if "%" in text:
            raise ValueError(f"{quote(text)} has a scope id; write the plain network")
        try:
            return ipaddress.ip_network(text)
        except ValueError:
            pass
        try:
            whole = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(
                f'{quote(text)} is not a network; write "10.0.0.0/8", "fd00::/8" or one address'
            ) from None
        raise ValueError(f"{quote(text)} has bits behind its prefix; did you mean {whole}?")

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return self._network(self)

    def mapped(self) -> tuple[bytes, int]:
        """16 bytes and prefix bits, IPv4 as v4-mapped IPv6: what the engine compares."""
        network = self.network
        if isinstance(network, ipaddress.IPv4Network):
            return b"\0" * 10 + b"\xff\xff" + network.network_address.packed, 96 + network.prefixlen
        return network.network_address.packed, network.prefixlen


class HostPort(TextWord):
    """An address: "host:port" or "[v6]:port"."""

    examples = ["127.0.0.1:8080", "[::1]:8080", "example.com:443"]

    @classmethod
    def parse(cls, value: object) -> Self:
        text = cls._text(value, 'an address such as "127.0.0.1:8080"')
        host, _ = host_port(text, text)
        if not host:
            raise ValueError(f"{quote(text)} has no host before the port")
        return cls(text)

    @property
    def host(self) -> str:
        """Without brackets."""
        return host_port(self, self)[0]

    @property
    def port(self) -> int:
        return host_port(self, self)[1] or 0


class BindAddress(TextWord):
    """Where to listen: "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses), "unix:/path"."""

    examples = [":8080", "127.0.0.1:8080", "[::1]:8080", "unix:/run/fastproxy.sock"]

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError(f'a bare port is ambiguous; write ":{value}" for all addresses')
        text = cls._text(value, 'an address such as ":8080" or "unix:/run/fastproxy.sock"')
        if text.startswith("unix:"):
            check_unix_path(text[5:], text)
            return cls(text)
        host, _ = host_port(text, text)
        if host and host != "localhost" and not is_ip(host):
            raise ValueError(
                f"{quote(text)} names a host; bind to an IP address, "
                'to ":port" for all addresses, or to "unix:/path"'
            )
        return cls(text)

    @property
    def is_unix(self) -> bool:
        return self.startswith("unix:")

    @property
    def path(self) -> str:
        """Of a unix socket, else empty."""
        return self[5:] if self.is_unix else ""

    @property
    def host(self) -> str:
        """Numeric; "::" where none was given (dual stack); empty for unix."""
        if self.is_unix:
            return ""
        host = host_port(self, self)[0]
        return {"": "::", "localhost": "127.0.0.1"}.get(host, host)

    @property
    def port(self) -> int:
        """0 for unix, or for "any free port"."""
        return 0 if self.is_unix else host_port(self, self)[1] or 0


class UpstreamUrl(TextWord):
    """A backend: "http://host:port" (port 80 if absent), "http+srv://name" or "http+unix:/path";
    the same with "https" (port 443) speaks TLS; "h2c://host:port" speaks HTTP/2 in plain text."""

    examples = ["http://127.0.0.1:9001", "https://api.internal", "http+unix:/run/app.sock"]

    @classmethod
    def parse(cls, value: object) -> Self:
        wanted = 'a backend such as "http://127.0.0.1:9001" or "http+unix:/run/app.sock"'
        text = cls._text(value, wanted)
        scheme, colon, rest = text.partition(":")
        if scheme in ("http+unix", "https+unix"):
            check_unix_path(rest, text)
            return cls(text)
        if not colon or not rest.startswith("//"):
            plain = text and "://" not in text and text.isascii()
            hint = f'; did you mean "http://{text}"?' if plain else ""
            raise ValueError(f"{quote(text)} is not a backend URL{hint}")
        if scheme not in ("http", "http+srv", "https", "https+srv", "h2c"):
            raise ValueError(f"{quote(text)}: unknown scheme {quote(scheme)}; {wanted}")
        authority, slash, tail = rest[2:].partition("/")
        if tail or any(c in text for c in "?#"):
            raise ValueError(
                f"{quote(text)} has a path or query; a backend is host and port only, "
                "paths are changed by the route (strip_prefix, add_prefix)"
            )
        if "@" in authority:
            raise ValueError("a backend URL takes no user name or password")
        host, port = host_port(authority, text, port_optional=True)
        if not host:
            raise ValueError(f"{quote(text)} has no host")
        if scheme.endswith("+srv") and (port is not None or is_ip(host)):
            raise ValueError(f"{quote(text)}: SRV records have a name, and tell the port")
        return cls(text[:-1] if slash else text)

    @property
    def scheme(self) -> str:
        """What is spoken there: "http", "https" or "h2c"."""
        return self.partition(":")[0].partition("+")[0]

    @property
    def default_port(self) -> int:
        return 443 if self.scheme == "https" else 80

    @property
    def is_unix(self) -> bool:
        return self.startswith(("http+unix:", "https+unix:"))

    @property
    def is_srv(self) -> bool:
        return self.startswith(("http+srv:", "https+srv:"))

    @property
    def path(self) -> str:
        """Of a unix socket, else empty."""
        return self.partition(":")[2] if self.is_unix else ""

    @property
    def authority(self) -> str:
        """host[:port] as written, for `host = "upstream"`; "localhost" for unix sockets."""
        return "localhost" if self.is_unix else self.partition("//")[2]

    @property
    def host(self) -> str:
        """Without brackets; empty for unix."""
        return "" if self.is_unix else host_port(self.authority, self, port_optional=True)[0]

    @property
    def port(self) -> int:
        """80 or 443 if not given; 0 for unix and SRV."""
        if self.is_unix or self.is_srv:
            return 0
        port = host_port(self.authority, self, port_optional=True)[1]
        return self.default_port if port is None else port


WORDS = (Duration, ByteSize, Cidr, HostPort, BindAddress, UpstreamUrl)


def status_ranges(text: str) -> tuple[tuple[int, int], ...]:
    """((200, 399), (404, 404)) from "200-399, 404". ValueError for a range that holds nothing."""
    pairs = []
    for part in re.split(r", ?", text):
        low, _, high = part.partition("-")
        pairs.append((int(low), int(high or low)))
        if pairs[-1][0] > pairs[-1][1]:
            raise ValueError(f"{quote(part)} holds nothing: write the smaller number first")
    return tuple(pairs)


def dec_hook(kind: type[Any], value: object) -> Any:
    """msgspec's way to our words."""
    if isinstance(kind, type) and issubclass(kind, WORDS):
        return kind.parse(value)
    raise NotImplementedError(f"no way to make a {kind!r}")


def enc_hook(value: object) -> Any:
    """Words as they would be written in a file."""
    if isinstance(value, WORDS):
        return str(value)
    raise NotImplementedError(f"no way to write a {type(value)!r}")


def word_schema(kind: type[Any]) -> dict[str, Any]:
    """JSON Schema of a word."""
    if not (isinstance(kind, type) and issubclass(kind, WORDS)):
        raise NotImplementedError(f"no schema for {kind!r}")
    schema: dict[str, Any] = {"type": "string"}
    if issubclass(kind, (Duration, ByteSize)):
        number = "number" if issubclass(kind, Duration) else "integer"
        schema = {"type": ["string", number], "minimum": 0}
    if kind.pattern:
        schema["pattern"] = kind.pattern
    return {**schema, "examples": kind.examples, "description": (kind.__doc__ or "").strip()}


def _kind(value: object) -> str:
    names = {bool: "a boolean", dict: "a table", list: "a list", int: "a number", str: "text"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")
