"""VM 24: sends inference results, model status and heartbeat, with aiohttp, several at once. It takes a proxy from the
environment (trust_env)."""

import asyncio
import os

import aiohttp
import outcome

URL = os.environ.get("BASE_URL", "http://172.16.168.20:8001")


async def worker(session: aiohttp.ClientSession, number: int) -> None:
    while outcome.running:
        for path in ("/api/ai-stack/results", "/api/ai-stack/models", "/api/ai-stack/heartbeat"):
            async with session.post(URL + path, json={"worker": number}) as answer:
                outcome.note(path, answer.status, await answer.text())
        await asyncio.sleep(0.05)


async def main() -> None:
    async with aiohttp.ClientSession(trust_env=True, timeout=aiohttp.ClientTimeout(total=30)) as session:
        await asyncio.gather(*(worker(session, number) for number in range(4)))


asyncio.run(main())
outcome.tell(True)
