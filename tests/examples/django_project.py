"""Talks to the Django project in a process of its own: Django stays in a process for good.

python -m tests.examples.django_project FOLDER
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.examples.test_web import ROWS, served


async def starts_and_shows(_: str) -> None:
    from django.test import AsyncClient

    from examples.web import django_app

    async with django_app.connected():
        http = AsyncClient()
        key = {"Idempotency-Key": "7"}
        begun = await http.post("/imports?source=customers.csv", headers=key)
        again = await http.post("/imports?source=customers.csv", headers=key)
        assert begun.status_code == again.status_code == 202
        assert begun.json() == again.json()
        place = urlsplit(begun.headers["location"]).path
        while (shown := await http.get(place)).status_code == 202:
            assert shown.json()["status"] == "running"
            await asyncio.sleep(0.05)
        assert shown.json() == {"status": "completed", "result": {"rows": ROWS}}
        assert (await http.get("/imports/nobody")).status_code == 404
        assert (await http.get("/imports")).status_code == 405


async def lives_as_long_as_its_server(_: str) -> None:
    from examples.web.django_app import application

    heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
    living = asyncio.create_task(application(scope, heard.get, said.put))
    for event in ("lifespan.startup", "lifespan.shutdown"):
        heard.put_nowait({"type": event})
        assert await said.get() == {"type": f"{event}.complete"}
    await living


def main(folder: Path) -> None:
    os.environ["PROCESSOR_SERVER"] = f"embedded:{folder}"
    from django.test import override_settings

    from examples.web import django_app

    assert django_app.application is not None
    with override_settings(ALLOWED_HOSTS=["testserver"]):
        served(folder, starts_and_shows)
    served(folder, lives_as_long_as_its_server)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
