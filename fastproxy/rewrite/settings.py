# SPDX-License-Identifier: MIT
"""What of a route this stage compiles.

The fields themselves belong to the route a user writes (`route/settings.py`); a Protocol tells
which of them are read here, since stages of one level do not import each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fastproxy.template.settings import HeaderEdits, PathRewrite

__all__ = ["HeaderEdits", "PathRewrite", "ReplyHeaders", "Rewriting"]


class ReplyHeaders(Protocol):
    """A fixed reply, of which only the headers are ours."""

    @property
    def headers(self) -> Mapping[str, str]: ...


class Rewriting(Protocol):
    """The part of a route that says what the other side reads.

    Path steps run in the order strip_prefix, rewrite, add_prefix; rewrite_path replaces all.
    """

    @property
    def strip_prefix(self) -> str | None: ...
    @property
    def add_prefix(self) -> str | None: ...
    @property
    def rewrite(self) -> PathRewrite | None: ...
    @property
    def rewrite_path(self) -> str | None: ...
    @property
    def request_headers(self) -> HeaderEdits: ...
    @property
    def response_headers(self) -> HeaderEdits: ...
