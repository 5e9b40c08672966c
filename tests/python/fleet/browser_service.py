"""VM 25: sends screenshots (multipart), logs and heartbeat, with requests. The backend's address is written into it."""

import os
import time

import outcome
import requests

URL = "http://172.16.168.20:8001"
picture = os.urandom(300_000)

with requests.Session() as session:
    while outcome.running:
        answer = session.post(
            f"{URL}/api/browser/screenshots", files={"file": ("page.png", picture, "image/png")}, timeout=30
        )
        outcome.note("screenshot", answer.status_code, answer.text)
        if answer.status_code == 200 and answer.json()["size"] != len(picture):
            outcome.note("size of the screenshot", 0, answer.text)
        for path in ("/api/browser/logs", "/api/browser/heartbeat"):
            answer = session.post(URL + path, json={"lines": ["a", "b"]}, timeout=30)
            outcome.note(path, answer.status_code, answer.text)
        time.sleep(0.05)
outcome.tell(True)
