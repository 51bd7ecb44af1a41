"""Kafka Streams: kafka-streams-examples, as tables of what happens to runs."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from processor import entity, views, workflow
from processor.testing import Environment

NINE = datetime(2027, 3, 1, 9, tzinfo=UTC)

# --- TopArticles


@workflow.define
async def page_view(page: str, industry: str) -> None: ...


def industry_and_hour(event: views.RunEvent) -> str | None:
    if not isinstance(event, views.RunBegan) or event.workflow != "page_view":
        return None
    return f"{event.arguments()[1]} {event.time:%H}"


@views.table("articles", key=industry_and_hour)
def articles(row: dict[str, int] | None, event: views.RunBegan) -> dict[str, int]:
    row, page = row or {}, event.arguments()[0]
    return {**row, page: row.get(page, 0) + 1}


def test_top_articles() -> None:
    """TopArticles: 27 lines, theirs 137. The pages of each hour that were seen most."""

    async def main() -> None:
        async with Environment([page_view], views=[articles], start=NINE) as env:
            for hour in ("aabbbc", "cc"):
                for page in hour:
                    await env.run(page_view, page, "news")
                await env.run(page_view, "z", "sport")
                await env.sleep(3600)
            counts = {row.key: Counter(row.value) async for row in env.view("articles")}
            assert {key: count.most_common(2) for key, count in counts.items()} == {
                "news 09": [("b", 3), ("a", 2)],
                "news 10": [("c", 2)],
                "sport 09": [("z", 1)],
                "sport 10": [("z", 1)],
            }
            assert [row.key async for row in env.view("articles", prefix="news")] == [*counts][:2]

    asyncio.run(main())


# --- PageViewRegion


@entity.define
class Profile:
    region: str = "nowhere"

    def move(self, region: str) -> None:
        self.region = region

    @entity.read
    def lives_in(self) -> str:
        return self.region


@workflow.define
async def click(who: str) -> None:
    workflow.upsert_attributes({"region": await workflow.call_entity(Profile.lives_in, who)})


FIRST = ("08:56", "08:57", "08:58", "08:59", "09:00")
SECOND = ("08:59", "09:00", "09:01", "09:02", "09:03")


def windows(event: views.RunEvent) -> list[str]:
    """Return the windows of five minutes that begin in the last five minutes, each at a minute."""
    if not isinstance(event, views.AttributesChanged) or event.workflow != "click":
        return []
    begins = [event.time - timedelta(minutes=minutes) for minutes in range(5)]
    return [f"{event.attributes['region']} {begin:%H:%M}" for begin in begins]


@views.table("clicks", key=windows)
def clicks(row: int | None, event: views.RunEvent) -> int:
    return (row or 0) + 1


def test_page_views_by_region() -> None:
    """PageViewRegion: 39 lines, theirs 70. Clicks meet profiles, and count in hopping windows."""

    async def main() -> None:
        how = {"entities": [Profile], "views": [clicks], "start": NINE}
        async with Environment([click], **how) as env:
            await env.entity(Profile, "ada").call(Profile.move, "asia")
            await env.run(click, "ada")
            await env.run(click, "bob")
            await env.entity(Profile, "ada").call(Profile.move, "africa")
            await env.sleep(180)
            await env.run(click, "ada")
            await env.run(click, "bob")
            rows = {row.key: row.value async for row in env.view("clicks")}
            assert rows == {
                **dict.fromkeys((f"asia {at}" for at in FIRST), 1),
                **dict.fromkeys((f"africa {at}" for at in SECOND), 1),
                **{f"nowhere {at}": (at in FIRST) + (at in SECOND) for at in {*FIRST, *SECOND}},
            }

    asyncio.run(main())


# --- UserRegion


@workflow.define
async def user(region: str) -> None:
    while True:
        workflow.upsert_attributes({"region": region})
        region = await workflow.wait_for_event("moved", str)


def regions(event: views.RunEvent) -> set[str]:
    if not isinstance(event, views.AttributesChanged):
        return set()
    return {str(each["region"]) for each in (event.before, event.attributes) if "region" in each}


@views.table("users", key=regions)
def users(row: int | None, event: views.AttributesChanged, region: str) -> int | None:
    is_here, was_here = (each.get("region") == region for each in (event.attributes, event.before))
    return (row or 0) + is_here - was_here or None


def test_users_by_region() -> None:
    """UserRegion: 27 lines, theirs 39. Who moves is counted there, and here no more."""

    async def main() -> None:
        async with Environment([user], views=[users]) as env:
            for name, region in {
                "alice": "asia", "bob": "americas", "chao": "asia", "dave": "europe",
                "eve": "americas", "fang": "asia", "gandalf": "europe", "hal": "africa",
            }.items():  # fmt: skip
                await env.start(user, region, id=name)
            await env.handle("alice").raise_event("moved", "europe")
            await env.handle("hal").raise_event("moved", "asia")
            await env.sleep(1)
            found = {row.key: row.value async for row in env.view("users")}
            assert found == {"americas": 2, "asia": 3, "europe": 3}

    asyncio.run(main())
