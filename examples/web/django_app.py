"""A Django project in one file, whose async views start a workflow and show it.

pip install django uvicorn
processor worker examples.web.imports                     # on Kafka; the app needs no worker inside
uvicorn examples.web.django_app:application
curl -i -X POST 'localhost:8000/imports?source=customers.csv' -H 'Idempotency-Key: 7'
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from examples.web.imports import import_file
from processor import Client, InvalidArgument, Status, WorkflowNotFound

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["localhost", "127.0.0.1"])
client: Client


@asynccontextmanager
async def connected() -> AsyncIterator[None]:
    """One client for the whole life of the project."""
    global client
    async with Client(os.environ.get("PROCESSOR_SERVER", "localhost:9092")) as client:
        yield


@require_POST
async def begin(request: HttpRequest) -> JsonResponse:
    """Start an import; a request that is sent again with its key starts nothing again."""
    key = request.headers.get("Idempotency-Key")
    try:
        handle = await client.start(import_file, request.GET["source"], key=key)
    except InvalidArgument as error:
        return JsonResponse({"error": str(error)}, status=422)
    location = request.build_absolute_uri(reverse("show", args=[handle.id]))
    return JsonResponse({"id": handle.id}, status=202, headers={"Location": location})


@require_GET
async def show(request: HttpRequest, id: str) -> JsonResponse:
    """Answer 202 with how far it is, or 200 with the result."""
    try:
        handle = client.handle(id)
        run = await handle.describe()
    except (InvalidArgument, WorkflowNotFound) as error:
        return JsonResponse({"error": str(error)}, status=404)
    if run.workflow != import_file.name:  # the ids of all workflows are in one space
        return JsonResponse({"error": f"no import has id {id!r}"}, status=404)
    if run.status.is_open:
        return JsonResponse({"status": run.status, "progress": run.custom_status}, status=202)
    if run.status is not Status.COMPLETED:
        return JsonResponse({"error": f"the import is {run.status}"}, status=500)
    return JsonResponse({"status": run.status, "result": await handle.result()})


urlpatterns = [path("imports", begin), path("imports/<path:id>", show, name="show")]
django = get_asgi_application()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Django, within the life of the client: the server says when that begins and ends."""
    if scope["type"] != "lifespan":
        await django(scope, receive, send)
        return
    await receive()
    async with connected():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
