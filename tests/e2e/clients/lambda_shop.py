"""A function under `datadog-lambda`. Run as a program it is the runtime as well: a line of JSON in is an invocation, a line out its answer."""

import json
import os
import sys
from types import SimpleNamespace

from datadog_lambda.metric import lambda_metric
from ddtrace.trace import tracer


def handler(event, context):
    with tracer.trace("work", resource=context.aws_request_id):
        lambda_metric("shop.orders", event.get("count", 1) if isinstance(event, dict) else 1, tags=["kind:e2e"])
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("kaputt: «e2e»")
    return {"statusCode": 200, "body": "ok"}


def main():
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    from datadog_lambda.handler import handler as wrapped

    for line in sys.stdin:
        call = json.loads(line)
        context = SimpleNamespace(
            aws_request_id=call["request_id"], invoked_function_arn=call["arn"], function_name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
            function_version="$LATEST", memory_limit_in_mb="256", client_context=None, get_remaining_time_in_millis=lambda: 30_000)
        try:
            answer = {"answer": wrapped(call["event"], context)}
        except ValueError as err:
            answer = {"error": str(err)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
