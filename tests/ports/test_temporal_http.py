"""Temporal: a web handler that starts a workflow, and tells how it stands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Response

from processor import Client, Worker, WorkflowNotFound, workflow

# --- web-handler/start_and_status


@workflow.define
class Checkout:
    def __init__(self) -> None:
        self.stage = "reserving"

    @workflow.run
    async def run(self, cart: str) -> str:
        self.stage = "waits for the payment"
        await workflow.wait_for_event("paid")
        self.stage = "done"
        return f"{cart} is on its way"

    @workflow.query
    def at(self) -> str:
        return self.stage


def web_of(client: Client) -> FastAPI:
    app = FastAPI()

    @app.post("/carts/{cart}/checkout", status_code=202)
    async def check_out(cart: str, response: Response) -> dict[str, Any]:
        handle = await client.start(Checkout.run, cart, id=cart, reuse="use-existing")
        response.headers["location"] = f"/carts/{cart}"
        return {"started": handle.created}

    @app.get("/carts/{cart}")
    async def status(cart: str) -> dict[str, Any]:
        handle = client.handle(cart, workflow=Checkout.run)
        try:
            run = await handle.describe()
        except WorkflowNotFound as error:
            raise HTTPException(404) from error
        return {"status": run.status, "at": await handle.query(Checkout.at), "says": run.result}

    return app


def test_start_and_status(tmp_path: Path) -> None:
    """web-handler/start_and_status: 48 lines. Two clicks start once; anybody may look."""

    async def main() -> None:
        server = f"embedded:{tmp_path}"
        worker = Worker(server, workflows=[Checkout])
        async with asyncio.timeout(60), worker, Client(server) as client:
            transport = httpx.ASGITransport(web_of(client))
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as http:
                clicks = [await http.post("/carts/c-1/checkout") for _ in range(2)]
                assert [each.json()["started"] for each in clicks] == [True, False]
                place = clicks[0].headers["location"]
                seen = (await http.get(place)).json()
                assert (seen["status"], seen["at"]) == ("running", "waits for the payment")
                handle = client.handle("c-1", workflow=Checkout.run)
                await handle.raise_event("paid")
                assert await handle.result() == "c-1 is on its way"
                seen = (await http.get(place)).json()
                assert seen == {"status": "completed", "at": "done", "says": "c-1 is on its way"}
                assert (await http.get("/carts/none")).status_code == 404

    asyncio.run(main())
