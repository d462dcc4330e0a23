"""A program that uses what a tracer offers besides traces: profiler, data streams, LLM observability. Telemetry comes by itself."""

import json
import sys
import time

from ddtrace.data_streams import set_produce_checkpoint
from ddtrace.llmobs import LLMObs
from ddtrace.profiling import Profiler


def work(seconds):
    """Something for the profiler to see: it samples what runs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(i * i for i in range(1000))


def main(path):
    profiler = Profiler()
    profiler.start()
    LLMObs.enable(ml_app="shop", agentless_enabled=False)
    with LLMObs.workflow(name="answer"):
        LLMObs.annotate(input_data="what is in stock", output_data="nothing")
        span = LLMObs.export_span()
        set_produce_checkpoint("kafka", "shop-queue", lambda key, value: None)
    LLMObs.submit_evaluation("polite", "categorical", "very", span=span)
    work(0.5)
    LLMObs.flush()
    profiler.stop(flush=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump([], file)


main(sys.argv[1])
