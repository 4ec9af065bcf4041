# SPDX-License-Identifier: MIT
# The tables of lifecycle.pxd as the compiler sees them, for tests/tidy/test_states.py.

from libc.stdint cimport uint32_t

from fastproxy.engine.lifecycle cimport (
    EXCHANGE_NAMES, EXCHANGE_STATES, PEER_NAMES, PEER_STATES, exchange_may, peer_may)


def peer_states():
    """Names of the states of a connection, by number."""
    return [PEER_NAMES[i].decode() for i in range(<int> PEER_STATES)]


def exchange_states():
    """Names of the states of an exchange, by number."""
    return [EXCHANGE_NAMES[i].decode() for i in range(<int> EXCHANGE_STATES)]


def peer_move(uint32_t source, uint32_t target):
    """May a connection move so? Any number is answered."""
    return bool(peer_may(source, target))


def exchange_move(uint32_t source, uint32_t target):
    """May an exchange move so? Any number is answered."""
    return bool(exchange_may(source, target))
