"""A function under `datadog-lambda`, run by AWS's own runtime interface client."""

from datadog_lambda.metric import lambda_metric
from ddtrace.trace import tracer


def handler(event, context):
    with tracer.trace("work", resource=context.aws_request_id):
        lambda_metric("shop.orders", event.get("count", 1) if isinstance(event, dict) else 1, tags=["kind:e2e"])
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("kaputt: «e2e»")
    return {"statusCode": 200, "body": "ok"}
