"""What a reload does to the words of health checks and agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastproxy.process import client
from tests.flow.orders import order
from tests.flow.peers import Gateway
from tests.flow.wards import QUICK, check, spread, state, wards
from tests.running import wait_until


def reload(proxy: Gateway, **upstream: Any) -> None:
    """With these keys of its upstream; None takes one away."""
    assert proxy.config
    given = json.loads(Path(proxy.config).read_text())
    table = {**given["upstreams"]["web"], **upstream}
    given["upstreams"]["web"] = {key: one for key, one in table.items() if one is not None}
    Path(proxy.config).write_text(json.dumps(given))
    found = client.reload(proxy.control)
    assert found["done"], found["problems"]
    assert found["in_force"], found


def test_without_checks_nobody_is_down_any_more() -> None:
    """Nobody would ever find it well again. What an operator said stays."""
    with wards(3, panic_threshold=0) as (house, proxy):
        house[0].status = 500
        wait_until(lambda: state(proxy, house[0].url) == "down")
        order(proxy, "drain", house[1].url)
        reload(proxy, health=None)
        wait_until(lambda: state(proxy, house[0].url) == "up")
        assert state(proxy, house[1].url) == "drain"
        assert set(spread(proxy, 12)) == {house[0].url, house[2].url}


def test_without_an_agent_its_words_are_over() -> None:
    agent = {"agent": {"header": "X-Agent"}}
    with wards(2, agent, panic_threshold=0) as (house, proxy):
        house[0].words, house[1].words = "drain", "50% maxconn:7"
        wait_until(lambda: state(proxy, house[0].url) == "drain")
        wait_until(lambda: proxy.backends()[house[1].url]["max_connections"] == 7)
        assert set(spread(proxy, 12)) == {house[1].url}
        reload(proxy, health=QUICK)
        wait_until(lambda: state(proxy, house[0].url) == "up")
        found = proxy.backends()[house[1].url]
        assert (found["percent"], found["max_connections"]) == (100, 0)
        assert set(spread(proxy, 12)) == {house[0].url, house[1].url}


def test_who_is_down_stays_so_until_its_checks_are_good() -> None:
    with wards(2, panic_threshold=0) as (house, proxy):
        house[0].status = 500
        wait_until(lambda: state(proxy, house[0].url) == "down")
        reload(proxy, health={**QUICK, "rise": 4})
        assert state(proxy, house[0].url) == "down"
        assert set(spread(proxy, 12)) == {house[1].url}
        house[0].status = 200
        wait_until(lambda: check(proxy, house[0].url)["up"])
        wait_until(lambda: house[0].url in spread(proxy, 4))
