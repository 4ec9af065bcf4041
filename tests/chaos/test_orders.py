"""Control is killed in the middle of orders: each is done whole or not at all, and nobody loses a
request."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

from fastproxy.process import client
from tests.flow.ledger import Ledger
from tests.flow.orders import Timed, order, rows, states
from tests.running import Proxy, alive, wait_until

KILLS = 5


def test_kill_9_of_control_among_orders() -> None:
    with (
        Timed() as stays,
        Timed() as comes,
        Proxy(upstreams=[stays.url], workers=2) as proxy,
        Ledger(proxy.port, lines=8) as ledger,
    ):
        over = threading.Event()
        done: list[str] = []
        broken: list[str] = []

        def give() -> None:
            """As an operator would: look, and order what is not so."""
            while not over.is_set():
                try:
                    state = states(proxy).get(comes.url)
                    if state is None:
                        order(proxy, "add", comes.url, settings={"weight": 3})
                        done.append("add")
                    elif state == ("up", 3):
                        order(proxy, "drain", comes.url)
                        done.append("drain")
                    elif state == ("drain", 3):
                        order(proxy, "remove", comes.url)
                        done.append("remove")
                    else:
                        broken.append(f"half an order: {state}")
                except client.ControlError:
                    time.sleep(0.01)  # killed while it answered

        giver = threading.Thread(target=give)
        giver.start()
        try:
            chance = random.Random(7)
            for _ in range(KILLS):
                goal = len(done) + 3
                wait_until(lambda: len(done) >= goal, 20)  # noqa: B023
                time.sleep(chance.random() * 0.02)
                pid = proxy.status()["control_pid"]
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: not alive(pid))  # noqa: B023
        finally:
            over.set()
            giver.join(60)
        assert not giver.is_alive()
        assert not broken, broken
        assert {"add", "drain", "remove"} <= set(done)
        the_last_word_counts(proxy, stays, comes, ledger)
    assert not ledger.failed, ledger.count()


def the_last_word_counts(proxy: Proxy, stays: Timed, comes: Timed, ledger: Ledger) -> None:
    """It is the operator's, in all workers."""
    if comes.url not in rows(proxy):
        order(proxy, "add", comes.url)
    order(proxy, "enable", comes.url)
    answer = order(proxy, "remove", stays.name)
    assert answer["in_force"]
    time.sleep(0.1)
    count = len(stays.times)
    ledger.until(100)
    assert len(stays.times) == count
    assert list(rows(proxy)) == [comes.url]
    epochs = {row["roster_epoch"] for row in proxy.status()["workers"]}
    assert epochs == {answer["roster_epoch"]}
