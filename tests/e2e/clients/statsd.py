"""Sends every type of metric with `datadog`, and writes what it sent.

    statsd.py udp:PORT|unix:PATH|stream:PATH TRUTH
"""

import json
import random
import sys

from datadog.dogstatsd import DogStatsd

where, truth_path = sys.argv[1:]
kind, _, address = where.partition(":")
paths = {"unix": address, "stream": f"unixstream://{address}"}
options = {"port": int(address)} if kind == "udp" else {"socket_path": paths[kind]}
# The library drops what a Unix socket does not take at once; the truth here is what was sent, so it waits.
options |= {"host": "127.0.0.1"} if kind == "udp" else {"socket_timeout": 30}
rnd = random.Random(11)
# Values beside their metric, as the library is given them.
truth = {"counts": {}, "gauges": {}, "sets": {}, "distributions": {}, "histograms": {}, "stamped": {}, "events": [], "checks": []}


def note(kind, name, tags, value, rate=1):
    truth[kind].setdefault(f"{name}|{','.join(sorted(tags))}", []).append([value, rate])


def everything(statsd, name, times):
    for number in range(times):
        tags = [f"shop:{number % 3}", "colour:grün", "plain"]
        statsd.increment(f"{name}.views", tags=tags)
        note("counts", f"{name}.views", tags, 1)
        statsd.decrement(f"{name}.stock", 2, tags=tags)
        note("counts", f"{name}.stock", tags, -2)
        value = rnd.randrange(1, 1000) / 4
        statsd.gauge(f"{name}.depth", value, tags=tags)
        note("gauges", f"{name}.depth", tags, value)
        statsd.set(f"{name}.users", f"u{number % 5}", tags=["plain"])
        note("sets", f"{name}.users", ["plain"], f"u{number % 5}")
        value = rnd.lognormvariate(3, 1)
        statsd.distribution(f"{name}.size", value, tags=tags)
        note("distributions", f"{name}.size", tags, value)
        value = rnd.randrange(1, 500)
        statsd.histogram(f"{name}.cost", value, tags=tags)
        note("histograms", f"{name}.cost", tags, value)
        statsd.timing(f"{name}.took", value, tags=[])
        note("histograms", f"{name}.took", [], value)


# One datagram a line, buffered lines, and what the library itself puts together (values packed with colons).
everything(DogStatsd(disable_buffering=True, disable_telemetry=True, **options), "single", 60)
with DogStatsd(disable_buffering=False, disable_telemetry=True, **options) as buffered:
    everything(buffered, "buffered", 200)
packing = DogStatsd(disable_buffering=True, disable_telemetry=True, disable_aggregation=False,
                    max_metric_samples_per_context=1000, flush_interval=60, **options)
everything(packing, "packed", 90)
packing.flush_aggregated_metrics()
packing.stop()

sampled = DogStatsd(disable_buffering=True, disable_telemetry=True, **options)
for _ in range(40):
    # The library leaves lines out by itself; what it sends says so, and the agent makes up for it.
    sampled._report("sampled.views", "c", 1, ["plain"], 1)
    sampled._send(f"sampled.half:1|c|@0.5|#plain")
    note("counts", "sampled.views", ["plain"], 1)
    note("counts", "sampled.half", ["plain"], 1, 0.5)
# Points of another time, which leave as they are, with a word about tags that the agent has none for.
for number in range(5):
    sampled.gauge_with_timestamp("stamped.depth", number / 4, 1700000000 + number, tags=["plain"], cardinality="low")
    sampled.count_with_timestamp("stamped.views", number, 1700000000 + 60 * number, tags=["plain"])
    note("stamped", "stamped.depth", ["plain"], 1700000000 + number, number / 4)
    note("stamped", "stamped.views", ["plain"], 1700000000 + 60 * number, number)
sampled.event("Lösung", "zwei\nZeilen | mit Strich", alert_type="warning", priority="low", tags=["a:b"],
              aggregation_key="key", source_type_name="shop", date_happened=1700000000, hostname="other")
sampled.service_check("shop.up", DogStatsd.WARNING, tags=["a:b"], message="m: läuft\nnoch", timestamp=1700000001,
                      hostname="other")
truth["events"] = [{"title": "Lösung", "text": "zwei\nZeilen | mit Strich", "alert_type": "warning", "priority": "low",
                    "tags": ["a:b"], "aggregation_key": "key", "source_type_name": "shop", "date_happened": 1700000000,
                    "host": "other"}]
truth["checks"] = [{"check": "shop.up", "status": 1, "tags": ["a:b"], "message": "m: läuft\nnoch", "timestamp": 1700000001,
                    "host_name": "other"}]
with open(truth_path, "w", encoding="utf-8") as file:
    json.dump(truth, file)
