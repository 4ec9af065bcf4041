# SPDX-License-Identifier: MIT
"""The knobs of gRPC-Web: which sites' scripts may call, and what they may see."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from fastproxy.schema import Duration

ORIGIN_PATTERN = r"^(\*|https?://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)\Z"
WANTED_ORIGIN = {"wanted": 'an origin as browsers write it, "https://app.example", or "*"'}
NAME_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"
WANTED_NAME = {"wanted": "the name of a header field"}
Origin = Annotated[str, Meta(pattern=ORIGIN_PATTERN, max_length=255, extra=WANTED_ORIGIN)]
Name = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64, extra=WANTED_NAME)]
Names = Annotated[list[Name], Meta(max_length=32)]


class GrpcWeb(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """gRPC-Web calls of browsers become gRPC calls.

    origins: Sites whose scripts may call (CORS): "https://app.example", or "*" for any. None: \
pages that come from this very host and port, no others.
    allow_headers: Request fields that such scripts may send, beside those of gRPC-Web itself.
    expose_headers: Answer fields that they may read, likewise.
    credentials: They may send cookies and other credentials. Not with "*".
    max_age: How long a browser may keep what it was told about this.
    """

    origins: list[Origin] = []
    allow_headers: Names = []
    expose_headers: Names = []
    credentials: bool = False
    max_age: Duration = Duration("10m")
