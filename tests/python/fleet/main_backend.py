"""VM 20: the backend's own calls to the other services, with httpx. Variables say where each of them is."""

import asyncio
import os

import httpx
import outcome

NPU = os.environ.get("NPU_WORKER_URL", "http://172.16.168.22:8081")
AI = os.environ.get("AI_STACK_URL", "http://172.16.168.24:8080")
BROWSER = os.environ.get("BROWSER_SERVICE_URL", "http://172.16.168.25:3000")


async def caller(client: httpx.AsyncClient, url: str) -> None:
    while outcome.running:
        answer = await client.post(url, json={"prompt": "hello"})
        outcome.note(url, answer.status_code, answer.text)
        await asyncio.sleep(0.05)


async def main() -> None:
    async with httpx.AsyncClient(timeout=30) as client:
        urls = (f"{NPU}/api/inference", f"{AI}/api/process", f"{BROWSER}/api/screenshot")
        await asyncio.gather(*(caller(client, url) for url in urls))


asyncio.run(main())
outcome.tell(True)
