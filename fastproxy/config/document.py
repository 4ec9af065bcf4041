# SPDX-License-Identifier: MIT
"""Writes docs/configuration.md: `python -m fastproxy.config.document > docs/configuration.md`.

Everything comes from the settings classes and their texts; a test compares the committed file.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any, Literal, get_args, get_origin

import msgspec

from fastproxy import schema
from fastproxy.config import describe
from fastproxy.config.convert import hints
from fastproxy.config.model import Config
from fastproxy.route.settings import Route
from fastproxy.template.presets import PRESETS
from fastproxy.template.variables import describe as variables

INTRO = """\
# Configuration

<!-- Written by `python -m fastproxy.config.document`; edit the settings classes, not this file. -->

One file, TOML first; YAML and JSON are read too, by extension. `fastproxy check -c FILE` tells
every mistake at once, with its line. `fastproxy schema` prints a JSON Schema for editors.

```toml
workers = "auto"
listeners = [":8080"]

[[routes]]
path = "/v1/"
methods = ["GET", "POST"]
upstream = "api"

[upstreams.api]
backends = ["http://10.0.0.1:9001", { url = "http://10.0.0.2:9001", weight = 2 }]
```

Without a file, flags do: `fastproxy run --listen :8080 --upstream http://127.0.0.1:9001`. A flag
wins over the file, and `--set section.key=value` reaches every key. The file is `-c FILE`, else
`./fastproxy.toml`, else `/etc/fastproxy/fastproxy.toml`.

## Words

| word | written as |
|---|---|
| duration | `"10s"`, `"500ms"`, `"1h30m"`, a number of seconds; `"off"` or 0: no timeout |
| size | `"8KiB"` or `"8k"` (8192), `"8kB"` (8000), a number of bytes; `"off"` or 0: no limit |
| network | `"10.0.0.0/8"`, `"fd00::/8"`, or one address |
| template | text with variables, see [Variables](#variables); `{{` and `}}` are plain braces |
"""


def main() -> None:
    print(document(), end="")


def document() -> str:
    """The whole page."""
    parts = [INTRO]
    order: list[tuple[str, type[msgspec.Struct]]] = [("Top level", Config)]
    seen: set[type[msgspec.Struct]] = {Config}
    while order:
        title, kind = order.pop(0)
        parts.append(_section(title, kind))
        below: list[tuple[str, type[msgspec.Struct]]] = []
        for name, annotation in hints(kind).items():
            for inner in describe.structs(annotation):
                if inner not in seen:
                    seen.add(inner)
                    below.append((_title(title, name, annotation), inner))
        order = below + order if title != "Top level" else below
    parts.append(_formats())
    parts.append(_variables())
    return "\n".join(parts)


def _title(parent: str, name: str, annotation: Any) -> str:
    prefix = "" if parent == "Top level" else f"{parent}."
    inner, _ = describe.split(annotation)
    if get_origin(inner) is dict:
        return f"{prefix}{name}.NAME"
    return f"{prefix}{name}[]" if get_origin(inner) is list else f"{prefix}{name}"


def _section(title: str, kind: type[msgspec.Struct]) -> str:
    intro, texts = describe.texts(kind)
    lines = [f"## {title}" if title == "Top level" else f"## `{title}`", ""]
    if intro:
        lines += [intro, ""]
    if kind is Route:
        # which route takes a request is told once, above the class
        about = inspect.cleandoc(sys.modules[Route.__module__].__doc__ or "")
        lines += [about.partition("\n\n")[2], ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for field in msgspec.structs.fields(kind):
        shown = _default(describe.default(field))
        cells = (
            f"`{field.encode_name}`",
            _type(hints(kind)[field.name]),
            shown,
            texts.get(field.name) or _section_text(hints(kind)[field.name]),
        )
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _section_text(annotation: Any) -> str:
    """For a key that is a section of its own: the first sentence of its class."""
    for kind in describe.structs(annotation):
        return describe.texts(kind)[0].split(". ")[0].rstrip(".") + "."
    return ""


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def _default(value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "**required**"
    if value is None:
        return ""
    return f"`{json.dumps(value)}`"


def _type(annotation: Any) -> str:
    inner, metas = describe.split(annotation)
    low, high = describe.bounds(metas)
    text = " or ".join(_plain_type(member) for member in describe.members(inner))
    if low is not None or high is not None:
        cast: Any = inner if isinstance(inner, type) and issubclass(inner, schema.WORDS) else str
        text += f", {cast(low or 0)} to {cast(high)}" if high is not None else f", from {low}"
    return text


def _plain_type(kind: Any) -> str:
    inner, metas = describe.split(kind)
    if metas:
        return _type(kind)
    origin, args = get_origin(inner), get_args(inner)
    if origin is Literal:
        return " or ".join(f"`{json.dumps(choice)}`" for choice in args)
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"table of {_type(args[1])}"
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        return "table"
    names: dict[Any, str] = {
        bool: "boolean", int: "integer", float: "number", str: "text", schema.Duration: "duration",
        schema.ByteSize: "size", schema.Cidr: "network", schema.BindAddress: "address",
        schema.UpstreamUrl: "URL", schema.HostPort: "address",
    }  # fmt: skip
    return names.get(inner, str(inner))


def _formats() -> str:
    lines = ["## Log formats", "", "What the names of `log_format` stand for:", ""]
    for name, preset in PRESETS.items():
        lines += [f"`{name}`:", "", "```text", preset.text, "```", ""]
    return "\n".join(lines)


def _variables() -> str:
    lines = [
        "## Variables",
        "",
        "In templates: header values, redirects, replies, log formats.",
        "",
    ]
    lines += ["| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(meaning)} |" for name, meaning in variables()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
