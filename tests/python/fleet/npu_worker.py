"""VM 22: sends results, heartbeat and status to the backend, with httpx. BASE_URL says where the backend is."""

import os
import time

import httpx
import outcome

with httpx.Client(base_url=os.environ.get("BASE_URL", "http://172.16.168.20:8001"), timeout=30) as client:
    task = 0
    while outcome.running:
        task += 1
        for path, body in (
            (f"/api/npu/results/task-{task}", {"task": task, "result": [0.1] * 50}),
            ("/api/npu/heartbeat", {"worker": "npu-1", "load": 0.5}),
            ("/api/npu/status", {"state": "busy"}),
            ("/api/npu/results/größe %3F a", {"task": task}),
        ):
            answer = client.post(path, json=body)
            outcome.note(path, answer.status_code, answer.text)
        time.sleep(0.02)
outcome.tell(True)
