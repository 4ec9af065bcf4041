# SPDX-License-Identifier: MIT
"""Settings made of text with variables, used by more than one stage.

They stand here, below routing and rewriting, because stages of one level do not import each other.
"""

from __future__ import annotations

import msgspec


class HeaderEdits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Changes to the header fields of a message. Values are templates: `{client_ip}`.

    They take effect in the order remove, set, append, add. A value can never bring in CR, LF, NUL
    or another control character: such bytes of a variable are left out. Names that frame a message
    or belong to one connection (Content-Length, Connection, Host...) are refused.

    set: Fields to write; every field of that name that was there is dropped.
    add: Fields to write beside those that are there.
    append: Values joined onto the field with ", " (Cookie: "; "); written alone if it is absent.
    remove: Names of fields to drop.
    """

    set: dict[str, str] = {}
    add: dict[str, str | list[str]] = {}
    append: dict[str, str] = {}
    remove: list[str] = []


class PathRewrite(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A regular expression and what takes the place of the part of the path that it matches.

    regex: PCRE2, matched against the normalised path without query; not anchored, so write ^ and $.
    to: The replacement: a template in which $1 or ${name} is a group and $$ a dollar sign. With \
a "?" in it, it also replaces the query.
    """

    regex: str
    to: str
