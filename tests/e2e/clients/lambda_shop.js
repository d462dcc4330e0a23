// A function under `datadog-lambda-js`, and its runtime: a line of JSON in is an invocation, a line out its answer.
"use strict";

const answers = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr); // whatever a library prints is no answer
const tracer = require("dd-trace").init();
const { datadog, sendDistributionMetric } = require("datadog-lambda-js");

const handler = datadog(async (event, context) => {
  await tracer.trace("work", { resource: context.awsRequestId }, async () => {
    sendDistributionMetric("shop.orders", event.count ?? 1, "kind:e2e");
  });
  if (event.fail) throw new Error("kaputt: «e2e»");
  return { statusCode: 200, body: "ok" };
});

async function main() {
  for await (const line of require("readline").createInterface({ input: process.stdin })) {
    const call = JSON.parse(line);
    const context = {
      awsRequestId: call.request_id, invokedFunctionArn: call.arn, functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
      functionVersion: "$LATEST", memoryLimitInMB: "256", getRemainingTimeInMillis: () => 30000,
    };
    let answer;
    try {
      answer = { answer: await handler(call.event, context) };
    } catch (err) {
      answer = { error: err.message };
    }
    answers(JSON.stringify(answer) + "\n");
  }
  process.exit(0); // the tracer's timers would wait on
}

main();
