"""Restate: examples, python/, where topics come in."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from processor import activity, connect, entity, workflow
from processor.testing import Environment

# --- patterns/eventtransactions

LOOKS: dict[str, int] = {}
FEEDS: list[tuple[str, str]] = []


@activity.define
async def create_post(user: str, text: str) -> str:
    LOOKS[f"{user}-{text}"] = 0
    return f"{user}-{text}"


@activity.define
async def is_pending(post: str) -> bool:
    LOOKS[post] += 1
    return LOOKS[post] < (4 if "slow" in post else 2)


@activity.define
async def update_feed(user: str, post: str) -> None:
    FEEDS.append((user, post))


@entity.define
class UserFeed:
    async def process_post(self, text: str) -> None:
        user = entity.info().key
        post = await create_post(user, text)
        while await is_pending(post):
            await workflow.sleep(timedelta(seconds=5))
        await update_feed(user, post)


@connect.define("social-media-posts")
def posts(record: connect.Record[str]) -> connect.Action:
    assert record.key is not None
    return connect.SignalEntity(UserFeed.process_post, record.key.decode(), record.value)


def test_event_transactions() -> None:
    """patterns/eventtransactions: 34 lines, theirs 54. A post that waits holds up its user."""

    async def main() -> None:
        code = [create_post, is_pending, update_feed]
        async with Environment([], code, entities=[UserFeed]) as env:
            for user, text in (("ada", "slow"), ("ada", "next"), ("bob", "other")):
                await env.feed(posts, connect.Record(posts.topic, text, key=user.encode()))
            await env.sleep(60)
            assert FEEDS == [("bob", "bob-other"), ("ada", "ada-slow"), ("ada", "ada-next")]

    asyncio.run(main())
