"""A stand-in for the sandbox: Extensions API, Telemetry API, and the clients inside the function.

It is strict: what AWS would refuse is refused with AWS's status and noted in `violations`.
"""

import http.client
import json
import socket
import time
from collections import deque
from urllib.parse import urlsplit

from checks import check, equal, wait_until
from fake_http import Answer, FakeServer, json_answer
from recording import FUNCTION

REGISTER, NEXT = "/2020-01-01/extension/register", "/2020-01-01/extension/event/next"
TELEMETRY = "/2022-07-01/telemetry"
IDENTIFIER = "8f507cfc-0000-4000-8000-0000000000e2"
BUFFERING = {"maxItems": (1000, 10000), "maxBytes": (262144, 1048576), "timeoutMs": (25, 30000)}
GUARD_S = 30


class Refused(Exception):
    """What the API answers with an error status."""

    def __init__(self, status, kind, text):
        super().__init__(text)
        self.status, self.kind = status, kind


class FakeLambda(FakeServer):
    """One sandbox for one extension process. `on_call(name)` sees each call of the API as it arrives."""

    def __init__(self, extension_name, on_call=lambda name: None):
        self.extension_name, self.on_call = extension_name, on_call
        self.violations, self.events = [], deque()
        self.registered, self.telemetry_port = False, None
        self.next_calls, self.waiting = 0, False
        super().__init__()

    # The API as the extension sees it.

    def handle(self, method, path, headers, body):
        routes = {("POST", REGISTER): self._register, ("PUT", TELEMETRY): self._subscribe, ("GET", NEXT): self._next}
        try:
            if (method, path) not in routes:
                raise Refused(404, "NotFound", "no such call")
            self.on_call({REGISTER: "register", TELEMETRY: "telemetry", NEXT: "next"}[path])
            return routes[method, path](headers, body)
        except Refused as err:
            self.violations.append(f"{method} {path}: {err}")
            return json_answer(err.status, {"errorType": err.kind, "errorMessage": str(err)})

    def _register(self, headers, body):
        if headers.get("Lambda-Extension-Name") != self.extension_name:
            raise Refused(403, "Extension.InvalidExtensionName", f"name {headers.get('Lambda-Extension-Name')!r}")
        if self.registered:
            raise Refused(403, "Extension.InvalidExtensionState", "registered twice")
        request = _parse(body)
        if sorted(request.get("events", [])) != ["INVOKE", "SHUTDOWN"] or set(request) != {"events"}:
            raise Refused(403, "Extension.InvalidEventType", f"body {request}")
        self.registered = True
        answer = {"functionName": FUNCTION, "functionVersion": "$LATEST", "handler": "app.handler"}
        if "accountId" in headers.get("Lambda-Extension-Accept-Feature", ""):
            answer["accountId"] = "123456789012"
        return json_answer(200, answer, **{"Lambda-Extension-Identifier": IDENTIFIER})

    def _subscribe(self, headers, body):
        self._require_identifier(headers)
        if self.next_calls or self.telemetry_port:
            raise Refused(403, "Telemetry.SubscriptionClosed", "not once and before the first /next")
        request = _parse(body)
        target = urlsplit(request.get("destination", {}).get("URI", ""))
        limits = request.get("buffering", {})
        sane = {
            "schemaVersion": request.get("schemaVersion") in ("2022-07-01", "2022-12-13", "2025-01-29"),
            "types": set(request.get("types", [])) == {"platform", "function", "extension"},
            "protocol": request.get("destination", {}).get("protocol") == "HTTP",
            "host": target.scheme == "http" and target.hostname in ("sandbox", "sandbox.localdomain"),
            "port": bool(target.port) and target.port != 9001,
            "path": target.path == "/lambda/logs",
            "buffering": all(low <= limits.get(key, low) <= high for key, (low, high) in BUFFERING.items()),
        }
        wrong = [name for name, fine in sane.items() if not fine]
        if wrong:
            raise Refused(400, "ValidationError", f"wrong {wrong} in {request}")
        if not _listens(target.port):
            raise Refused(400, "ValidationError", "subscribed before the listener was up")
        self.telemetry_port = target.port
        return json_answer(200, "OK")

    def _next(self, headers, _body):
        self._require_identifier(headers)
        with self.changed:
            if self.waiting:
                raise Refused(403, "Extension.InvalidExtensionState", "two calls of /next at once")
            self.next_calls += 1
            self.waiting = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.events or self.closing.is_set())
            self.waiting = False
            return self.events.popleft() if self.events else Answer(reset=True)

    def _require_identifier(self, headers):
        if headers.get("Lambda-Extension-Identifier") != IDENTIFIER:
            raise Refused(403, "Extension.UnknownExtensionIdentifier", "wrong or missing Lambda-Extension-Identifier")

    # The sandbox as a case drives it.

    def wait_next(self, count):
        """Waits until the extension has asked for its `count`th event."""
        wait_until(lambda: self.waiting and count <= self.next_calls, GUARD_S, f"call {count} of /next")

    def answer_next(self, event):
        with self.changed:
            check(self.waiting, "the extension does not wait for an event")
            self.events.append(json_answer(200, event, **{"Lambda-Extension-Event-Identifier": event.get("requestId", "")}))
            self.changed.notify_all()

    def send_telemetry(self, events):
        """One batch; anything but 200 would make Lambda send it again."""
        status, _ = post(self.telemetry_port, "/lambda/logs", json.dumps(events, ensure_ascii=False).encode())
        equal(status, 200, "answer to a telemetry batch")

    def shutdown(self, reason, within_ms=2000):
        self.answer_next({"eventType": "SHUTDOWN", "shutdownReason": reason,
                          "deadlineMs": int(time.time() * 1000) + within_ms})


def post(port, path, body, **headers):
    """What code inside the function sends to the agent's ports. Gives status and answer headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD_S)
    try:
        headers = {"Content-Type": "application/json"} | {key.replace("_", "-"): text for key, text in headers.items()}
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


def _parse(body):
    try:
        return json.loads(body)
    except ValueError:
        raise Refused(400, "InvalidRequestFormat", f"not JSON: {body[:80]!r}") from None


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
