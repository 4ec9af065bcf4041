# SPDX-License-Identifier: MIT
"""The proxies, one file for each; base.py says what a peer is and what is the same for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.peers import (
    caddy,
    envoy,
    fastproxy,
    h2o,
    haproxy,
    limit,
    nghttpx,
    nginx,
    proxy_py,
    traefik,
)
from bench.peers.base import Installed, Peer

OURS = fastproxy.PEER
ALL: tuple[Peer, ...] = (
    nginx.PEER,
    haproxy.PEER,
    nghttpx.PEER,
    h2o.PEER,
    envoy.PEER,
    caddy.PEER,
    traefik.PEER,
    proxy_py.PEER,
    limit.PEER,
)
"""All but ours, in the order of tables."""
BY_NAME = {one.name: one for one in ALL}


def find(
    paths: Mapping[str, str] = {},
    only: Sequence[str] = (),
    trees: Sequence[str] = (),
    ours: bool = True,
) -> tuple[list[Installed], list[str]]:
    """(ours and the peers that can be run, a line for each that cannot).

    `paths`: other programs by the peer's name; `only`: these peers; `trees`: other trees of
    fastproxy, which are compared instead of peers unless `only` names some; `ours`: whether this
    one takes part.
    """
    found = []
    notes = []
    if ours:
        own = OURS.find()
        assert own, "this tree is not built: make build"
        found.append(own)
    for directory in trees:
        tree = fastproxy.other_tree(directory)
        if tree is None:
            notes.append(f"{directory} is left out: no fastproxy there")
        else:
            found.append(tree)
    if trees and not only:
        return found, notes
    for peer in ALL:
        if only and peer.name not in only:
            continue
        path = paths.get(peer.name, "")
        installed = peer.find(path)
        if installed:
            found.append(installed)
        elif path:
            notes.append(f"{peer.name} is left out: no program {path} here")
        else:
            notes.append(f"{peer.name} is left out: not installed ({peer.hint() or 'no source'})")
    return found, notes
