"""A route that is split: by weight, by chance or by a part of the request, over all workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.flow.apps import Apps
from tests.flow.peers import Gateway
from tests.flow.sticking import ask
from tests.flow.test_reload import reload

USERS = 300


@pytest.fixture(scope="module")
def apps() -> Iterator[Apps]:
    with Apps(3) as some:
        yield some


def settings(apps: Apps, shop: int, canary: int, **route: Any) -> dict[str, Any]:
    parts = [{"upstream": "shop", "weight": shop}, {"upstream": "canary", "weight": canary}]
    hashed = {"balance": "hash", "hash": {"key": "{cookie:user}", "method": "maglev"}}
    return {
        "routes": [{"path": "/", "split": parts, **route}],
        "upstreams": {
            "shop": {"backends": [apps["a"].url]},
            "canary": {"backends": [apps["b"].url, apps["c"].url], **hashed},
        },
    }


def app_of(proxy: Gateway, user: int) -> str:
    """Which one answers this user, twice the same."""
    cookie = ("Cookie", f"x=1; user=u{user}")
    first, second = ask(proxy, "/", cookie), ask(proxy, "/", cookie)
    assert first.app == second.app
    return first.app


def parts_of(proxy: Gateway, users: int = USERS) -> list[str]:
    return ["shop" if app_of(proxy, user) == "a" else "canary" for user in range(users)]


def test_by_weight_and_by_chance(apps: Apps) -> None:
    with Gateway(settings=settings(apps, 3, 1), workers=2) as proxy:
        seen = Counter(ask(proxy).app == "a" for _ in range(400))
    assert 60 < seen[False] < 140  # 100 and 4.6 standard deviations
    assert seen.total() == 400


def test_the_same_user_stays_in_his_part_and_few_move_with_the_weights(apps: Apps) -> None:
    by = {"split_by": "{cookie:user}"}
    with Gateway(settings=settings(apps, 3, 1, **by), workers=2) as proxy:
        before = parts_of(proxy)
        assert 40 < before.count("canary") < 110
        assert len({ask(proxy).app for _ in range(80)}) > 1  # no cookie: by chance
        reload(proxy, settings(apps, 1, 1, **by))
        after = parts_of(proxy)
        moved = {pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]}
        assert moved == {("shop", "canary")}  # nobody goes back
        assert 110 < after.count("canary") < 190
        reload(proxy, settings(apps, 1, 0, **by))
        assert set(parts_of(proxy, 40)) == {"shop"}


def test_each_part_has_all_kinds_of_keys(apps: Apps) -> None:
    """Those of the canary, hashed by the same key, are spread over all its members."""
    with Gateway(settings=settings(apps, 3, 1, split_by="{cookie:user}"), workers=2) as proxy:
        seen = Counter(app_of(proxy, user) for user in range(USERS))
    assert min(seen["b"], seen["c"]) > 15
