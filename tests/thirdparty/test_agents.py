"""Agent libraries run inside of a workflow as they are: their models are stubs, the rest is theirs.

Each is run twice, with its code in memory and replayed at every step, and says the same.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, TypedDict

import pytest

from processor import activity, workflow
from processor.testing import Environment

WHY = "run `make test`, or pip install -e '.[thirdparty]'"


@activity.define
async def asked_of_a_model(messages: str) -> str:
    return f"it was asked in {messages.count('timestamp')} stamps"


@activity.define
async def weather(city: str) -> str:
    return f"sun in {city}"


class State(TypedDict):
    """What a graph works on."""

    city: str
    answers: list[str]


async def look_again(state: State) -> State:
    await asyncio.sleep(60)
    return {**state, "answers": [*state["answers"], await weather(state["city"])]}


async def where_to(state: State) -> str:
    """Return the next node. A function that is not async would be run in a thread."""
    return "__end__" if len(state["answers"]) == 2 else "look_again"


async def outcome(flow: Any, cached: int | None, *activities: Any) -> Any:
    async with Environment(
        workflows=[flow], activities=[weather, *activities], max_cached_runs=cached
    ) as environment:
        handle = await environment.start(flow, "Ulm", id="agent-1")
        await environment.sleep(3600)
        described = await handle.describe()
        assert described.parked is None, described.parked
        return await handle.result(timeout=5)


def the_same_cached_and_replayed(flow: Any, *activities: Any) -> Any:
    cached = asyncio.run(outcome(flow, None, *activities))
    assert asyncio.run(outcome(flow, 0, *activities)) == cached
    return cached


def test_pydantic_ai() -> None:
    pytest.importorskip("pydantic_ai", reason=WHY)
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        asked = messages[-1].parts[-1]
        if asked.part_kind == "tool-return":
            await asyncio.sleep(60)
            return ModelResponse(parts=[TextPart(f"there is {asked.content}")])
        return ModelResponse(parts=[ToolCallPart("look", {"city": "Ulm"})])

    agent = Agent(FunctionModel(model))

    @agent.tool_plain
    async def look(city: str) -> str:
        return await weather(city)

    @workflow.define
    async def ask(city: str) -> list[str]:
        result = await agent.run(f"how is the weather in {city}?")
        return [result.output, str(len(result.all_messages())), str(workflow.uuid4())]

    assert the_same_cached_and_replayed(ask)[0] == "there is sun in Ulm"


def test_messages_that_pydantic_ai_stamps_are_recorded_as_a_side_effect() -> None:
    """It asks ``datetime.now()``, which answers otherwise at each replay."""
    pytest.importorskip("pydantic_ai", reason=WHY)
    from pydantic_ai import Agent
    from pydantic_ai.messages import (
        ModelMessage,
        ModelMessagesTypeAdapter,
        ModelResponse,
        TextPart,
    )
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        dumped = workflow.side_effect(
            lambda: ModelMessagesTypeAdapter.dump_json(messages).decode(), str
        )
        answer = await asked_of_a_model(dumped)
        await asyncio.sleep(60)
        return ModelResponse(parts=[TextPart(answer)])

    agent = Agent(FunctionModel(model))

    @workflow.define
    async def ask(city: str) -> str:
        return (await agent.run(f"how is the weather in {city}?")).output

    assert the_same_cached_and_replayed(ask, asked_of_a_model) == "it was asked in 2 stamps"


def test_pydantic_ai_with_the_calls_of_its_model_in_an_activity() -> None:
    """Its messages are stamped by the host's clock: an activity is given the stamps of the run."""
    pytest.importorskip("pydantic_ai", reason=WHY)
    from pydantic_ai import Agent
    from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import AgentInfo, FunctionModel

    asked: list[int] = []

    async def ask_model(messages: list[ModelMessage], tools: list[str]) -> ModelResponse:
        asked.append(len(messages))
        last = messages[-1].parts[-1]
        if last.part_kind == "tool-return":
            return ModelResponse(parts=[TextPart(f"there is {last.content}")])
        return ModelResponse(parts=[ToolCallPart(tools[0], {"city": "Ulm"}, "call-1")])

    # The names in the annotations are known within this function only.
    types = {"messages": list[ModelMessage], "tools": list[str], "return": ModelResponse}
    ask_model.__annotations__ = types
    provider = activity.define(ask_model)

    def stamped(message: Any) -> Any:
        now = workflow.now()
        parts = [
            replace(part, timestamp=now) if hasattr(part, "timestamp") else part
            for part in message.parts
        ]
        return replace(message, parts=parts, timestamp=now, run_id=None, conversation_id=None)

    async def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        tools = [tool.name for tool in info.function_tools]
        return await provider([stamped(each) for each in messages], tools)

    agent = Agent(FunctionModel(model))

    @agent.tool_plain
    async def look(city: str) -> str:
        await asyncio.sleep(60)
        return await weather(city)

    @workflow.define
    async def ask(city: str) -> list[str]:
        result = await agent.run(f"how is the weather in {city}?")
        return [result.output, str(len(result.all_messages())), str(workflow.uuid4())]

    assert the_same_cached_and_replayed(ask, provider)[0] == "there is sun in Ulm"
    assert asked == [1, 3, 1, 3], "the model is not asked again at replay"


def test_openai_agents() -> None:
    pytest.importorskip("agents", reason=WHY)
    from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage, function_tool
    from openai.types.responses import (
        ResponseFunctionToolCall,
        ResponseOutputMessage,
        ResponseOutputText,
    )

    class Stub(Model):
        async def get_response(
            self, system_instructions: Any, input: Any, *args: Any, **kw: Any
        ) -> Any:
            await asyncio.sleep(1)
            output: Any = ResponseFunctionToolCall(
                arguments='{"city": "Ulm"}', call_id="1", name="look", type="function_call"
            )
            if isinstance(input, list) and input[-1].get("type") == "function_call_output":
                text = ResponseOutputText(
                    annotations=[], text=f"there is {input[-1]['output']}", type="output_text"
                )
                output = ResponseOutputMessage(
                    id="2", content=[text], role="assistant", status="completed", type="message"
                )
            return ModelResponse(output=[output], usage=Usage(), response_id=None)

        def stream_response(self, *args: Any, **kw: Any) -> Any:
            raise NotImplementedError

    @function_tool
    async def look(city: str) -> str:
        return await weather(city)

    agent = Agent(name="weather", model=Stub(), tools=[look])

    @workflow.define
    async def ask(city: str) -> list[str]:
        config = RunConfig(tracing_disabled=True)
        result = await Runner.run(agent, f"how is the weather in {city}?", run_config=config)
        return [result.final_output, str(len(result.new_items)), str(workflow.uuid4())]

    assert the_same_cached_and_replayed(ask)[0] == "there is sun in Ulm"


def test_langgraph() -> None:
    pytest.importorskip("langgraph", reason=WHY)
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, StateGraph

    @workflow.define
    async def ask(city: str) -> list[str]:
        graph = StateGraph(State)
        graph.add_node("look_again", look_again)
        graph.add_edge(START, "look_again")
        graph.add_conditional_edges("look_again", where_to)
        compiled = graph.compile(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "1"}}
        found = await compiled.ainvoke({"city": city, "answers": []}, config)
        return [*found["answers"], str(workflow.uuid4())]

    assert the_same_cached_and_replayed(ask)[:2] == ["sun in Ulm", "sun in Ulm"]
