# SPDX-License-Identifier: MIT
# What builders ask of routing's C code. Included by _core.pyx.

from fastproxy.route.hash cimport route_hash as _route_hash


def route_hash(unsigned int seed, bytes text not None):
    """The hash under which a segment (seed: its parent node) or a host (seed 0) is looked up."""
    return _route_hash(seed, text, len(text))
