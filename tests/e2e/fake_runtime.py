"""A stand-in for the Lambda runtime API: what the runtime interface client of a language talks to. One invocation at a time."""

import json
from collections import deque

from checks import wait_until
from fake_http import Answer, FakeServer, json_answer

BASE = "/2018-06-01/runtime/"


class FakeRuntime(FakeServer):
    """Gives events and takes answers; `failure` is what the runtime says when it cannot start."""

    def __init__(self):
        self.events, self.answers, self.failure = deque(), {}, None
        super().__init__()

    def handle(self, method, path, _headers, body):
        words = path.removeprefix(BASE).split("/")
        if (method, words) == ("GET", ["invocation", "next"]):
            return self._next()
        if method == "POST" and words[0] == "invocation" and words[-1] in ("response", "error"):
            with self.changed:
                self.answers[words[1]] = {"answer" if words[-1] == "response" else "error": json.loads(body)}
                self.changed.notify_all()
            return json_answer(202, {"status": "OK"})
        self.failure = body.decode(errors="replace")
        return json_answer(202, {"status": "OK"})

    def _next(self):
        with self.changed:
            self.changed.wait_for(lambda: self.events or self.closing.is_set())
            if not self.events:
                return Answer(reset=True)
            request_id, arn, deadline_ms, event = self.events.popleft()
        return json_answer(200, event, **{"Lambda-Runtime-Aws-Request-Id": request_id, "Lambda-Runtime-Invoked-Function-Arn": arn,
                                          "Lambda-Runtime-Deadline-Ms": str(deadline_ms)})

    def call(self, request_id, arn, deadline_ms, event, seconds):
        """One invocation: what the runtime answers, as `answer` or `error`."""
        with self.changed:
            self.events.append((request_id, arn, deadline_ms, event))
            self.changed.notify_all()
        return wait_until(lambda: self.answers.pop(request_id, None) or self.failure and {"failure": self.failure}, seconds, f"the function's answer to {request_id}")
