# SPDX-License-Identifier: MIT
"""The merged configuration as TOML again, for `fastproxy -T`.

It writes what stood in the files before `${...}` was filled in, so that no secret is shown.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def toml(data: Mapping[str, Any]) -> str:
    """TOML that reads back as `data`. None is left out: TOML has no word for it."""
    lines: list[str] = []
    _table(lines, (), data)
    return "\n".join(lines).strip("\n") + "\n"


def _table(lines: list[str], path: tuple[str, ...], data: Mapping[str, Any]) -> None:
    below = []
    for key, value in data.items():
        if value is None:
            continue
        if isinstance(value, dict) or (_is_tables(value) and len(path) < 2):
            below.append((key, value))
        else:
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in below:
        inner = (*path, key)
        name = ".".join(map(_key, inner))
        for item in value if isinstance(value, list) else [value]:
            header = f"[[{name}]]" if isinstance(value, list) else f"[{name}]"
            only_tables = item and all(isinstance(inside, dict) for inside in item.values())
            if isinstance(value, list) or not only_tables:
                lines += ["", header]
            if isinstance(value, list):
                # below a list item, everything goes on one line: headers would need its whole path
                lines += [f"{_key(k)} = {_value(v)}" for k, v in item.items() if v is not None]
            else:
                _table(lines, inner, item)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else _text(key)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple)):
        items = [_value(item) for item in value if item is not None]
        flat = "[" + ", ".join(items) + "]"
        return flat if len(flat) < 90 else "[\n    " + ",\n    ".join(items) + ",\n]"
    if isinstance(value, Mapping):
        pairs = [f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)
