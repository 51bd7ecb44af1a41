"""A FastAPI app that starts workflows, and answers while they run.

pip install fastapi uvicorn
processor worker examples.web.imports                     # on Kafka; the app needs no worker inside
uvicorn examples.web.fastapi_app:app
curl -i -X POST 'localhost:8000/imports?source=customers.csv' -H 'Idempotency-Key: 7'
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Header, HTTPException, Request, Response

from examples.web.imports import import_file
from processor import Client, InvalidArgument, Status, WorkflowNotFound


@asynccontextmanager
async def connected(app: FastAPI) -> AsyncIterator[None]:
    """One client for the whole life of the app."""
    async with Client(os.environ.get("PROCESSOR_SERVER", "localhost:9092")) as client:
        app.state.client = client
        yield


app = FastAPI(lifespan=connected)


@app.post("/imports", status_code=202)
async def begin(
    request: Request,
    response: Response,
    source: str,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> dict[str, str]:
    """Start an import; a request that is sent again with its key starts nothing again."""
    try:
        handle = await request.app.state.client.start(import_file, source, key=idempotency_key)
    except InvalidArgument as error:
        raise HTTPException(422, str(error)) from error
    response.headers["Location"] = str(request.url_for("show", id=handle.id))
    return {"id": handle.id}


@app.get("/imports/{id:path}")
async def show(request: Request, response: Response, id: str) -> dict[str, Any]:
    """Answer 202 with how far it is, or 200 with the result."""
    try:
        handle = request.app.state.client.handle(id)
        run = await handle.describe()
    except (InvalidArgument, WorkflowNotFound) as error:
        raise HTTPException(404, str(error)) from error
    if run.workflow != import_file.name:  # the ids of all workflows are in one space
        raise HTTPException(404, f"no import has id {id!r}")
    if run.status.is_open:
        response.status_code = 202
        return {"status": run.status, "progress": run.custom_status}
    if run.status is not Status.COMPLETED:
        raise HTTPException(500, f"the import is {run.status}")
    return {"status": run.status, "result": await handle.result()}
