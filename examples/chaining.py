"""Function chaining: each step takes the result of the one before.

processor run greet '"Ada"' --server embedded:./state --module examples.chaining
"""

from processor import activity, workflow


@activity.define
async def look_up_title(name: str) -> str:
    return {"Ada": "Countess", "Grace": "Rear Admiral"}.get(name, "Dear")


@activity.define
def compose(title: str, name: str) -> str:  # a plain function runs in a thread
    return f"{title} {name}, welcome"


@activity.define
async def sign(text: str) -> str:
    return f"{text}.\n-- the team"


@workflow.define
async def greet(name: str) -> str:
    title = await look_up_title(name)
    text = await compose(title, name)
    return await sign(text)
