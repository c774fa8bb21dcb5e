"""What managers, cameras and bin stations do all day; benchmarks/gateway/load.py runs it.

STOCKTAKE_LOAD names the plan, a JSON file: tokens of each kind of user, photos, and how often cameras send.
"""

import json
import os
import random
import re
import secrets
import time
from pathlib import Path
from typing import Any

from locust import HttpUser, between, constant_pacing, events, task

ANSWERED_WITHIN_S = 300.0
LOOK_S = 2.0  # between two looks of a camera at its job


@events.init.add_listener
def read_plan(**_: Any) -> None:
    """Give each kind of user its tokens, of which every user has one, and its photos."""
    plan = json.loads(Path(os.environ["STOCKTAKE_LOAD"]).read_text())
    for kind in (Manager, Camera, BinStation):
        tokens = plan["tokens"][kind.__name__]
        kind.fixed_count, kind.tokens = len(tokens), enumerate(tokens)
        kind.photos = [Path(path).read_bytes() for path in plan["photos"][kind.task_name]]
    Camera.burst, Camera.jobs = plan["burst"], Path(plan["jobs"])
    Camera.wait_time = constant_pacing(plan["every_s"])


def another(photo: bytes) -> bytes:
    """The photo as another file, by a comment in its header: cameras do not send one file twice."""
    comment = secrets.token_bytes(12)
    return photo[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + photo[2:]


class Visitor(HttpUser):
    """Somebody with a token and photos."""

    abstract = True
    task_name = "shelves"

    def on_start(self) -> None:
        """Take a token."""
        self.number, self.token = next(self.tokens)
        self.about = {"task": self.task_name, "store": f"store {self.number % 10}"}

    def photo(self) -> tuple[str, bytes, str]:
        """A part of a form."""
        return f"{secrets.token_hex(4)}.jpg", another(random.choice(self.photos)), "image/jpeg"


class Manager(Visitor):
    """Looks at what is missing, opens photos, and hands one in now and then, all on the page."""

    wait_time = between(3, 10)

    def on_start(self) -> None:
        """Sign in."""
        super().on_start()
        self.client.post("/sign-in", {"token": self.token, "target": "/"}, name="/sign-in")

    @task(4)
    def look(self) -> None:
        """Look at a page, and at a photo that it names."""
        page = random.choice(("/", "/history", "/alerts", "/bays", "/jobs"))
        found = re.findall(r'href="(/photos/[\w-]+)"', self.client.get(page, name=page).text)
        if found:
            place = random.choice(found)
            self.client.get(place, name="/photos/[id]")
            self.client.get(f"/api{place}/image", name="/api/photos/[id]/image")

    @task
    def hand_in(self) -> None:
        """Check one photo, and look at what was found."""
        csrf = re.search(r'name="csrf" value="([^"]+)"', self.client.get("/", name="/").text)
        if csrf:
            fields = {"csrf": csrf[1], **self.about, "bay": f"bay {random.randrange(20)}"}
            self.client.post("/check", fields, files={"photos": self.photo()}, name="/check")


class Camera(Visitor):
    """Sends some photos of its bay in a job, and asks until they are answered."""

    burst = 4

    @task
    def send(self) -> None:
        """Send a job and follow it."""
        place = {"bay": f"bay {self.number}", "camera": f"camera {self.number}", "priority": "low"}
        files = [("photos", self.photo()) for _ in range(self.burst)]
        header = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": secrets.token_hex(16)}
        began = time.monotonic()
        sent = self.client.post(
            "/api/jobs", {**self.about, **place}, files=files, headers=header, name="/api/jobs"
        )
        if sent.status_code == 202:
            problem = self.follow(f"/api/jobs/{sent.json()['id']}", header, began)
            self.note(time.monotonic() - began, problem)

    def note(self, seconds: float, problem: Exception | None) -> None:
        """Write down how long a job took; among requests that are answered at once it would mislead."""
        with self.jobs.open("a") as file:
            file.write(f"{time.time():.1f},{seconds:.2f}\n")
        if problem:
            fields = {"response_time": seconds * 1000, "response_length": 0, "context": {}}
            events.request.fire(request_type="JOB", name="followed", exception=problem, **fields)

    def follow(self, link: str, header: dict[str, str], began: float) -> Exception | None:
        """Ask until all photos are over; what went wrong, if anything did."""
        while time.monotonic() - began < ANSWERED_WITHIN_S:
            time.sleep(LOOK_S)
            job = self.client.get(link, headers=header, name="/api/jobs/[id]")
            if job.ok and job.json()["state"] == "done":
                states = {photo["state"] for photo in job.json()["photos"]}
                return None if states == {"done"} else RuntimeError(f"photos are {', '.join(sorted(states))}")
        return TimeoutError(f"not answered within {ANSWERED_WITHIN_S:.0f} s")


class BinStation(Visitor):
    """Verifies a bin, waits for the answer, and takes the next one."""

    task_name = "bins"
    wait_time = between(2, 6)

    @task
    def verify(self) -> None:
        """Ask whether a bin holds what is recorded."""
        header = {"Authorization": f"Bearer {self.token}"}
        fields = {**self.about, "bay": f"aisle {self.number}", "expected_quantity": random.randrange(1, 6)}
        self.client.post(
            "/api/photos", fields, files={"photo": self.photo()}, headers=header, name="/api/photos"
        )
