"""Requests that go to the members with a label, through two workers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flow.apps import Apps
from tests.flow.peers import Gateway
from tests.flow.sticking import (
    MAINT,
    STICKY,
    ask,
    ask_both,
    say,
    settings_of,
    with_cookie,
)


def labelled(apps: Apps, strict: bool, **more: Any) -> dict[str, Any]:
    labels = [{"v": "1"}, {"v": "2"}, {"v": "2"}, {}]
    return {
        "backends": [
            {"url": url, "labels": one} for url, one in zip(apps.urls, labels, strict=True)
        ],
        "subset": {"label": "v", "value": "{header:x-version}", "strict": strict},
        "outlier": {"consecutive": 0},  # one that is down stays able: 502, not 503
        **more,
    }


def apps_of(proxy: Gateway, version: str, count: int = 30) -> set[str]:
    """Who answers requests for a version; the status where nobody did."""
    fields = [("X-Version", version)] if version else []
    answers = [ask(proxy, "/", *fields) for _ in range(count)]
    return {one.app or str(one.status) for one in answers}


@pytest.mark.parametrize("strict", [False, True])
def test_requests_go_to_the_members_with_their_label(strict: bool) -> None:
    with (
        Apps(4) as apps,
        Gateway(settings=settings_of(apps, upstream=labelled(apps, strict)), workers=2) as proxy,
    ):
        assert apps_of(proxy, "1") == {"a"}
        assert apps_of(proxy, "2") == {"b", "c"}
        others = {"503"} if strict else set("abcd")
        assert apps_of(proxy, "3") == others
        assert apps_of(proxy, "") == others
        assert apps_of(proxy, "2" * 3000, 10) <= others
        # nobody of it can serve: by what control says, and by what connecting says
        say(proxy, apps["a"].url, admin=MAINT)
        assert apps_of(proxy, "1") == ({"503"} if strict else set("bcd"))
        say(proxy, apps["a"].url, admin=0)
        assert apps_of(proxy, "1", 10) == {"a"}
        apps["a"].down()
        assert apps_of(proxy, "1") == ({"502"} if strict else set("bcd"))
        apps["b"].down()
        assert apps_of(proxy, "2") == {"c"}


def test_a_session_holds_within_its_subset_only() -> None:
    with Apps(4) as apps:
        upstream = labelled(apps, True, **STICKY)
        with Gateway(settings=settings_of(apps, upstream=upstream), workers=2) as proxy:
            two = ("X-Version", "2")
            first = ask(proxy, "/", two)
            assert first.app in "bc"
            for answer in ask_both(proxy, two, with_cookie(first.cookie)):
                assert (answer.app, answer.set_cookies) == (first.app, [])
            moved = ask(proxy, "/", ("X-Version", "1"), with_cookie(first.cookie))
            assert moved.app == "a"
            assert moved.cookie != first.cookie
