"""DBOS: dbos-demo-apps, python/, agents. Models are stubs; HTTP endpoints are calls of a client."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from processor import activity, workflow
from processor.testing import Environment

# --- hacker-news-agent


@dataclass
class Found:
    query: str
    stories: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    insight: str = ""


@activity.define
async def search(query: str) -> list[str]:
    return {"kafka": ["a log", "a queue"], "tombstones": ["compaction"]}.get(query, [])


@activity.define
async def comments_of(story: str) -> list[str]:
    return [f"{story}?", f"{story}!"]


@activity.define
async def ask_model(what: str, topic: str, findings: list[str]) -> Any:
    """Stand in for the model, which evaluates, asks on, decides and reports."""
    if what == "follow up":
        return ["nothing here"] if len(findings) == 1 else ["tombstones"]
    if what == "continue":
        return len(findings) < 3
    return f"learnt {len(findings)}" if what == "evaluate" else f"{topic}: {', '.join(findings)}"


@workflow.define
async def research_query(topic: str, query: str) -> Found:
    stories = await search(query)
    read = await asyncio.gather(*map(comments_of, stories))
    comments = [each for some in read for each in some]
    insight = await ask_model("evaluate", topic, comments)
    return Found(query, stories, comments, insight)


@workflow.define
async def research(topic: str, iterations_max: int = 8) -> str:
    history: list[Found] = []
    query = topic
    for number in range(iterations_max):
        workflow.set_value("progress", f"{number + 1}: {query}")
        history.append(await workflow.call_child(research_query, topic, query))
        learnt = [each.insight for each in history]
        if history[-1].stories and not await ask_model("continue", topic, learnt):
            break
        follow_ups = await ask_model("follow up", topic, learnt)
        if not follow_ups:
            break
        query = follow_ups[0]
    return str(await ask_model("report", topic, [each.insight for each in history]))


def test_hacker_news_agent() -> None:
    """hacker-news-agent: 53 lines, theirs 561. Each question of the agent is a child."""

    async def main() -> None:
        flows, tools = [research, research_query], [search, comments_of, ask_model]
        async with Environment(flows, tools, max_cached_runs=0) as env:
            handle = await env.start(research, "kafka", id="agent")
            steps = [each async for each in handle.watch("progress")]
            assert steps[-1] == "3: tombstones"
            assert await handle.result() == "kafka: learnt 4, learnt 0, learnt 2"
            queries = [run async for run in env.list(workflow="research_query")]
            parents = [(await env.handle(each.workflow_id).describe()).parent for each in queries]
            assert [each.workflow_id for each in parents if each] == ["agent"] * 3

    asyncio.run(main())
