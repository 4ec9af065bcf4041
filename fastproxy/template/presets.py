# SPDX-License-Identifier: MIT
"""Access-log lines by name. Templates without the newline, which the writer adds.

`combined` and `common` are byte for byte what nginx writes with `combined` (and so what Apache
does, but for a body of 0 bytes, where Apache's %b writes "-"): tools parse them by position.
"""

from __future__ import annotations

from typing import NamedTuple

from fastproxy.template.build import Escape

COMMON = '{client_ip} - - [{time_local}] "{request_line}" {status} {bytes_out}'
COMBINED = COMMON + ' "{header:Referer}" "{header:User-Agent}"'

# Name in the log -> variable, in this order. Those that are numbers stand bare: null if unknown.
JSON_FIELDS: dict[str, str] = {
    "time": '"{time_iso}"',
    "client_ip": '"{client_ip}"',
    "method": '"{method}"',
    "host": '"{host}"',
    "target": '"{target}"',
    "protocol": '"{protocol}"',
    "status": "{status}",
    "bytes_in": "{bytes_in}",
    "bytes_out": "{bytes_out}",
    "time_total": "{time_total}",
    "time_connect": "{time_connect}",
    "time_first_byte": "{time_first_byte}",
    "route": '"{route}"',
    "upstream": '"{upstream}"',
    "backend": '"{backend}"',
    "retries": "{retries}",
    "end_state": '"{end_state}"',
    "request_id": '"{request_id}"',
    "referer": '"{header:Referer}"',
    "user_agent": '"{header:User-Agent}"',
    "worker": "{worker}",
}
JSON = "{{" + ",".join(f'"{name}":{value}' for name, value in JSON_FIELDS.items()) + "}}"


class LogFormat(NamedTuple):
    """A log line: the template's text and how variables are escaped in it."""

    text: str
    escape: Escape


PRESETS = {
    "combined": LogFormat(COMBINED, Escape.LOG),
    "common": LogFormat(COMMON, Escape.LOG),
    "json": LogFormat(JSON, Escape.JSON),
}


def log_format(wanted: str) -> LogFormat:
    """A preset by name, or a template of the user's own. One that begins with "{{" is taken for a
    JSON object: its variables are escaped for JSON, numbers stand bare."""
    preset = PRESETS.get(wanted)
    if preset is not None:
        return preset
    return LogFormat(wanted, Escape.JSON if wanted.lstrip().startswith("{{") else Escape.LOG)
