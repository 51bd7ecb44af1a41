"""Restate: ai-examples, python-restate-only/. Models are functions of the test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from processor import RetryPolicy, WorkflowCancelled, activity, workflow
from processor.testing import Environment

# --- racing_agents


@activity.define(retry=RetryPolicy(maximum_attempts=3))
async def thinks(question: str, seconds: int) -> str:
    await asyncio.sleep(seconds)
    return f"{question} {'deep' if seconds > 10 else 'quick'} answer"


@workflow.define
async def agent(question: str, seconds: int) -> str:
    return await thinks(question, seconds)


@workflow.define
async def races_agents(question: str) -> str:
    agents = [await workflow.start_child(agent, question, seconds) for seconds in (60, 2)]
    done, slow = await asyncio.wait(agents, return_when=asyncio.FIRST_COMPLETED)
    for each in slow:
        each.cancel("another one was faster")
    return done.pop().result()


def test_racing_agents() -> None:
    """racing_agents: 22 lines, theirs 42. The first answer counts; the other agent is cancelled."""

    async def main() -> None:
        async with Environment([races_agents, agent], [thinks]) as env:
            assert await env.run(races_agents, "Why?") == "Why? quick answer"
            await env.sleep(1)
            statuses = sorted([run.status async for run in env.list(workflow="agent")])
            assert statuses == ["cancelled", "completed"]

    asyncio.run(main())


# --- parallel_tools_agent


@dataclass
class ToolCall:
    id: str
    city: str


@dataclass
class Message:
    role: str
    content: str = ""
    calls: list[ToolCall] | None = None


@activity.define(retry=RetryPolicy(maximum_attempts=3))
async def llm(messages: list[Message]) -> Message:
    if messages[-1].role == "user":
        return Message("assistant", calls=[ToolCall(c, c) for c in ("Rome", "Oslo")])
    return Message("assistant", " ".join(m.content for m in messages if m.role == "tool"))


@activity.define
async def weather(city: str) -> str:
    await asyncio.sleep(5)
    return f"{city}: sunny"


@workflow.define
async def parallel_tools(prompt: str) -> str:
    messages = [Message("user", prompt)]
    while True:
        answer = await llm(messages)
        messages.append(answer)
        if not answer.calls:
            return answer.content
        results = await asyncio.gather(*(weather(call.city) for call in answer.calls))
        messages += [Message("tool", result) for result in results]


def test_parallel_tools() -> None:
    """parallel_tools_agent: 34 lines, theirs 48. Tools of one answer run at once."""

    async def main() -> None:
        async with Environment([parallel_tools], [llm, weather], max_cached_runs=0) as env:
            answer = await env.run(parallel_tools, "How is the weather?", within=6)
            assert answer == "Rome: sunny Oslo: sunny"

    asyncio.run(main())


# --- human_approval_agent_with_timeout


@workflow.define
async def approves(claim: int) -> str:
    if claim < 1000:
        return "approved"
    try:
        return await workflow.wait_for_event("review", str, timeout=timedelta(hours=3))
    except TimeoutError:
        return "rejected: nobody looked"


def test_human_approval_with_timeout() -> None:
    """human_approval_agent_with_timeout: 16 lines, theirs 54. A person decides, or time does."""

    async def main() -> None:
        async with Environment([approves]) as env:
            handle = await env.start(approves, 5000)
            await handle.raise_event("review", "approved")
            assert await handle.result() == "approved"
            assert await env.run(approves, 5000) == "rejected: nobody looked"

    asyncio.run(main())


# --- workflow_evaluator_optimizer


@activity.define
async def writes(task: str, feedback: str) -> str:
    return f"{task}{feedback}"


@activity.define
async def evaluates(text: str) -> str | None:
    return None if text.endswith("!!") else "!"


@workflow.define
async def optimizes(task: str) -> str:
    feedback = ""
    for _ in range(5):
        text = await writes(task, feedback)
        better = await evaluates(text)
        if better is None:
            break
        feedback += better
    return text


def test_evaluator_optimizer() -> None:
    """workflow_evaluator_optimizer: 21 lines, theirs 43. Two models improve a text in turns."""

    async def main() -> None:
        async with Environment([optimizes], [writes, evaluates]) as env:
            assert await env.run(optimizes, "a poem") == "a poem!!"

    asyncio.run(main())


# --- interrupt-regenerate


@activity.define
async def step_of(kind: str, messages: list[str]) -> str:
    await asyncio.sleep(10)
    return f"{kind} of {len(messages)}"


@workflow.define
async def coding_task(agent_id: str, messages: list[str]) -> None:
    try:
        for kind in ("plan", "draft", "polish"):
            done = await step_of(kind, messages)
        workflow.signal(agent_id, CodingAgent.append, done)
    except asyncio.CancelledError:
        workflow.signal(agent_id, CodingAgent.append, "cleaned up")
        raise


@workflow.define
class CodingAgent:
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.task: workflow.Child[None] | None = None
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_for_event("never")

    @workflow.update
    async def message(self, text: str) -> int:
        async with self.lock:
            if self.task is not None and not self.task.done():
                self.task.cancel("there is a new message")
                await asyncio.wait([self.task], timeout=30)
            self.messages.append(text)
            me = workflow.info().workflow_id
            self.task = await workflow.start_child(coding_task, me, self.messages)
            return len(self.messages)

    @workflow.signal
    def append(self, text: str) -> None:
        self.messages.append(text)

    @workflow.query
    def history(self) -> list[str]:
        return self.messages


def test_interrupt_regenerate() -> None:
    """interrupt-regenerate: 52 lines, theirs 103. A message stops the task that runs, and waits."""

    async def main() -> None:
        async with Environment([CodingAgent, coding_task], [step_of]) as env:
            handle = await env.start(CodingAgent.run, id="agent")
            assert await handle.update(CodingAgent.message, "a todo list") == 1
            await env.sleep(15)
            assert await handle.update(CodingAgent.message, "in Rust") == 3
            await env.sleep(60)
            history = await handle.query(CodingAgent.history)
            assert history == ["a todo list", "cleaned up", "in Rust", "polish of 3"]
            await handle.cancel()
            with pytest.raises(WorkflowCancelled):
                await handle.result()

    asyncio.run(main())
