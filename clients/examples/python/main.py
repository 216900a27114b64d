"""Joins the lobby, says who is there, sends a message, adds a like, leaves."""

import asyncio
import os
import time
import uuid

from centrifuge import Client, PublicationContext, SubscriptionEventHandler

URL = os.environ.get("HEADCOUNT_URL", "ws://127.0.0.1:8000")
TOKEN = os.environ.get("HEADCOUNT_TOKEN", "")


class Lobby(SubscriptionEventHandler):
    def __init__(self) -> None:
        self.echoed = asyncio.Event()

    async def on_join(self, ctx) -> None:
        print("joined:", ctx.info.user or ctx.info.client)

    async def on_publication(self, ctx: PublicationContext) -> None:
        print("message", ctx.pub.offset, ctx.pub.data)
        self.echoed.set()


class Likes(SubscriptionEventHandler):
    async def on_publication(self, ctx: PublicationContext) -> None:
        print("likes:", ctx.pub.data["value_s"])  # the value now, then every change


def uuid7() -> str:
    """48 bits of time, then chance (RFC 9562): the same token never counts twice, so a retry is safe."""
    bits = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | uuid.uuid4().int & ((1 << 76) - 1)
    return str(uuid.UUID(int=bits))


async def main() -> None:
    client = Client(f"{URL}/connection/websocket", token=TOKEN)
    handler = Lobby()
    # `recoverable` brings what was missed while the connection was away; `join_leave` tells who comes and goes.
    lobby = client.new_subscription("lobby", handler, recoverable=True, join_leave=True)
    likes = client.new_subscription("counter:likes", Likes())
    await client.connect()
    await lobby.subscribe()
    await likes.subscribe()
    await lobby.ready()
    here = await lobby.presence()
    print("here:", [info.user or info.client for info in here.clients.values()])
    await lobby.publish({"text": "hello from Python"})
    await handler.echoed.wait()
    counter = await client.rpc("counter.add", {"key": "likes", "by": 1, "token": uuid7()})
    print("after my like:", counter.data["value_s"])
    await client.disconnect()


asyncio.run(main())
