"""A long job that is started over HTTP: the answer is 202 at once, with where to ask.

processor dev examples.web.imports        # says where the HTTP API is: port 8233 if that is free
examples/web/poll.sh                      # start and poll with curl
node examples/web/poll.mjs                # the same in JavaScript, for Node.js and for web pages
go run examples/web/poll.go               # the same in Go
"""

import asyncio

from processor import activity, workflow


@activity.define
async def read_chunk(source: str, number: int) -> int:
    await asyncio.sleep(0.1)
    return len(source) + number


@workflow.define
async def import_file(source: str, chunks: int = 5) -> dict[str, int]:
    """Read a file chunk by chunk; each is read once, whatever dies meanwhile."""
    rows = 0
    for number in range(chunks):
        rows += await read_chunk(source, number)
        workflow.set_status({"chunks": number + 1, "of": chunks})
    return {"rows": rows}
