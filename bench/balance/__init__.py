# SPDX-License-Identifier: MIT
"""Balancing, simulated: the pictures of docs/balancing.md.

    python -m bench.balance [DIR]        draw them (into docs/balancing)
    python -m bench.balance --figures    only print the figures

What is simulated are clients, time and backends (queueing.py). What chooses is the compiled pick
itself, one for each worker, on a real roster and a real scoreboard (world.py). All chance comes
from seeds, so that the same tree draws the same pictures.
"""
