//! The triggers, in the order in which they are tried: how each is known, what it is called, and the tags and the span that it yields.
//!
//! ```text
//! when   a.b  is there    a.b=x  reads x    a.b~x  has x in it    a.b!x  is there without x in it; all of them, blanks between
//! tags   a line each: where, name, template (see `template`)
//!        =  on the function's span and the inferred one    <  on the function's    >  on the inferred one
//! ```
//! Source: AWS's documentation of the events that it invokes functions with, and what Datadog's extension makes of them.

use crate::decode::trigger::row::Carried;
use crate::decode::trigger::row::Record;
use crate::decode::trigger::row::Row;
use crate::decode::trigger::row::SpanRow;

const MS: f64 = 1e6;
const S: f64 = 1e9;

/// All of them.
pub const ROWS: &[Row] = &[
    // What authorises a request has most of the request's members, and is no part of its way.
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "type=TOKEN authorizationToken methodArn",
        carried: Carried::Nowhere,
        arn: "{methodArn}",
        tags: "\
< http.method {methodArn|/2}
< http.url_details.path /{methodArn|/3+}",
        span: None,
    },
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "type=REQUEST methodArn requestContext.apiId",
        carried: Carried::Headers,
        arn: "{methodArn}",
        tags: "\
< http.url_details.path {requestContext.path?path}
< http.method {requestContext.httpMethod?httpMethod}
< http.route {requestContext.resourcePath?resource}
< http.user_agent {requestContext.identity.userAgent}
< http.referer {headers.referer}",
        span: None,
    },
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "type=REQUEST routeArn requestContext.apiId",
        carried: Carried::Headers,
        arn: "{routeArn}",
        tags: "\
< http.url_details.path {requestContext.http.path}
< http.method {requestContext.http.method}
< http.route {routeKey| -1}
< http.user_agent {requestContext.http.userAgent}
< http.referer {headers.referer}",
        span: None,
    },
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "version=2.0 rawQueryString requestContext.domainName!lambda-url",
        carried: Carried::Headers,
        arn: "arn:{$P}:apigateway:{$R}::/restapis/{requestContext.apiId}/stages/{requestContext.stage}",
        tags: "\
= http.url https://{requestContext.domainName}{requestContext.http.path}
< http.url_details.path {requestContext.http.path}
> endpoint {requestContext.http.path}
= http.method {requestContext.http.method}
< http.route {routeKey| -1}
= http.user_agent {requestContext.http.userAgent}
< http.referer {headers.referer}
> http.protocol {requestContext.http.protocol}
> http.source_ip {requestContext.http.sourceIp}
> request_id {requestContext.requestId}
> dd_resource_key arn:{$P}:apigateway:{$R}::/apis/{requestContext.apiId}",
        span: Some(SpanRow {
            name: "aws.httpapi",
            kind: "web",
            resource: "{requestContext.http.method} {requestContext.http.path|~}",
            key: "{requestContext.apiId}",
            generic_key: "lambda_api_gateway",
            service: "{requestContext.domainName}",
            generic_service: "{requestContext.domainName}",
            start: "{requestContext.timeEpoch}",
            start_unit: MS,
            is_async: false,
        }),
    },
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "requestContext.stage httpMethod resource",
        carried: Carried::Headers,
        arn: "arn:{$P}:apigateway:{$R}::/restapis/{requestContext.apiId}/stages/{requestContext.stage}",
        tags: "\
= http.url https://{requestContext.domainName}{requestContext.path?path}
< http.url_details.path {requestContext.path?path}
> endpoint {requestContext.path?path}
= http.method {requestContext.httpMethod?httpMethod}
= http.route {requestContext.resourcePath?resource}
= http.user_agent {requestContext.identity.userAgent}
< http.referer {headers.referer}
> http.protocol {requestContext.protocol}
> http.source_ip {requestContext.identity.sourceIp}
> request_id {requestContext.requestId}
> dd_resource_key arn:{$P}:apigateway:{$R}::/restapis/{requestContext.apiId}",
        span: Some(SpanRow {
            name: "aws.apigateway",
            kind: "web",
            resource: "{requestContext.httpMethod?httpMethod} {requestContext.path?path|~}",
            key: "{requestContext.apiId}",
            generic_key: "lambda_api_gateway",
            service: "{requestContext.domainName}",
            generic_service: "{requestContext.domainName}",
            start: "{requestContext.requestTimeEpoch}",
            start_unit: MS,
            is_async: false,
        }),
    },
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "requestContext.messageDirection",
        carried: Carried::Headers,
        arn: "arn:{$P}:apigateway:{$R}::/apis/{requestContext.apiId}/stages/{requestContext.stage}",
        tags: "\
= http.url https://{requestContext.domainName}{requestContext.routeKey}
< http.url_details.path {requestContext.routeKey}
< http.referer {headers.referer}
> endpoint {requestContext.routeKey}
> resource_names {requestContext.routeKey}
> request_id {requestContext.requestId}
> apiid {requestContext.apiId}
> apiname {requestContext.apiId}
> stage {requestContext.stage}
> connection_id {requestContext.connectionId}
> event_type {requestContext.eventType}
> message_direction {requestContext.messageDirection}",
        span: Some(SpanRow {
            name: "aws.apigateway",
            kind: "web",
            resource: "{requestContext.routeKey}",
            key: "{requestContext.apiId}",
            generic_key: "lambda_api_gateway",
            service: "{requestContext.domainName}",
            generic_service: "api_gateway_websocket",
            start: "{requestContext.requestTimeEpoch}",
            start_unit: MS,
            is_async: true,
        }),
    },
    Row {
        source: "application-load-balancer",
        record: Record::Event,
        when: "requestContext.elb.targetGroupArn",
        carried: Carried::Headers,
        arn: "{requestContext.elb.targetGroupArn}",
        tags: "\
< http.url {headers.x-forwarded-proto}://{headers.host}{path}
< http.url_details.path {path}
< http.method {httpMethod}
< http.user_agent {headers.user-agent}
< http.referer {headers.referer}",
        span: None,
    },
    Row {
        source: "lambda-function-url",
        record: Record::Event,
        when: "requestContext.domainName~lambda-url",
        carried: Carried::Headers,
        arn: "arn:aws:lambda:{$R}:{requestContext.accountId}:url:{$F}",
        tags: "\
= http.url https://{requestContext.domainName}{requestContext.http.path}
< http.url_details.path {requestContext.http.path}
> endpoint {requestContext.http.path}
= http.method {requestContext.http.method}
= http.user_agent {requestContext.http.userAgent}
< http.referer {headers.referer}
> http.protocol {requestContext.http.protocol}
> http.source_ip {requestContext.http.sourceIp}
> request_id {requestContext.requestId}",
        span: Some(SpanRow {
            name: "aws.lambda.url",
            kind: "http",
            resource: "{requestContext.http.method} {requestContext.http.path|~}",
            key: "{requestContext.apiId}",
            generic_key: "lambda_url",
            service: "{requestContext.domainName}",
            generic_service: "{requestContext.domainName}",
            start: "{requestContext.timeEpoch}",
            start_unit: MS,
            is_async: false,
        }),
    },
    Row {
        source: "msk",
        record: Record::Kafka,
        when: "topic",
        carried: Carried::Kafka,
        arn: "{^eventSourceArn}",
        tags: "\
> topic {topic}
> partition {partition}
> event_source {^eventSource}
> event_source_arn {^eventSourceArn}",
        span: Some(SpanRow {
            name: "aws.msk",
            kind: "web",
            resource: "{topic}",
            key: "{^eventSourceArn|/1}",
            generic_key: "lambda_msk",
            service: "{^eventSourceArn|/1}",
            generic_service: "msk",
            start: "{timestamp}",
            start_unit: MS,
            is_async: true,
        }),
    },
    Row {
        source: "sqs",
        record: Record::First,
        when: "eventSource=aws:sqs",
        carried: Carried::Sqs,
        arn: "arn:{$P}:sqs:{$R}:{eventSourceARN|:4}:{eventSourceARN|:5}",
        tags: "\
> receipt_handle {receiptHandle}
= retry_count {attributes.ApproximateReceiveCount}
= sender_id {attributes.SenderId}
= source_arn {eventSourceARN}
= aws_region {awsRegion}",
        span: Some(SpanRow {
            name: "aws.sqs",
            kind: "web",
            resource: "{eventSourceARN|:-1}",
            key: "{eventSourceARN|:-1}",
            generic_key: "lambda_sqs",
            service: "{eventSourceARN|:-1}",
            generic_service: "sqs",
            start: "{attributes.SentTimestamp}",
            start_unit: MS,
            is_async: true,
        }),
    },
    Row {
        source: "sns",
        record: Record::First,
        when: "Sns",
        carried: Carried::Sns,
        arn: "{Sns.TopicArn}",
        tags: "\
> topicname {Sns.TopicArn|:-1}
> topic_arn {Sns.TopicArn}
> message_id {Sns.MessageId}
> type {Sns.Type}
> subject {Sns.Subject}
> event_subscription_arn {EventSubscriptionArn}",
        span: Some(SpanRow {
            name: "aws.sns",
            kind: "web",
            resource: "{Sns.TopicArn|:-1}",
            key: "{Sns.TopicArn|:-1}",
            generic_key: "lambda_sns",
            service: "{Sns.TopicArn|:-1}",
            generic_service: "sns",
            start: "{Sns.Timestamp}",
            start_unit: MS,
            is_async: true,
        }),
    },
    Row {
        source: "dynamodb",
        record: Record::First,
        when: "dynamodb",
        carried: Carried::Nowhere,
        arn: "{eventSourceARN}",
        tags: "\
> table_name {eventSourceARN|/1}
> event_id {eventID}
> event_name {eventName}
> event_version {eventVersion}
> event_source_arn {eventSourceARN}
> size_bytes {dynamodb.SizeBytes}
> stream_view_type {dynamodb.StreamViewType}",
        span: Some(SpanRow {
            name: "aws.dynamodb",
            kind: "web",
            resource: "{eventName} {eventSourceARN|/1}",
            key: "{eventSourceARN|/1}",
            generic_key: "lambda_dynamodb",
            service: "{eventSourceARN|/1}",
            generic_service: "dynamodb",
            start: "{dynamodb.ApproximateCreationDateTime}",
            start_unit: S,
            is_async: true,
        }),
    },
    Row {
        source: "s3",
        record: Record::First,
        when: "s3",
        carried: Carried::Nowhere,
        arn: "aws:s3",
        tags: "\
> event_name {eventName}
> bucketname {s3.bucket.name}
> bucket_arn {s3.bucket.arn}
> object_key {s3.object.key}
> object_size {s3.object.size}
> object_etag {s3.object.eTag}",
        span: Some(SpanRow {
            name: "aws.s3",
            kind: "web",
            resource: "{s3.bucket.name}",
            key: "{s3.bucket.name}",
            generic_key: "lambda_s3",
            service: "{s3.bucket.name}",
            generic_service: "s3",
            start: "{eventTime}",
            start_unit: MS,
            is_async: true,
        }),
    },
    Row {
        source: "eventbridge",
        record: Record::Event,
        when: "detail-type source!aws.events",
        carried: Carried::EventBridge,
        arn: "{source}",
        tags: "> detail_type {detail-type}",
        span: Some(SpanRow {
            name: "aws.eventbridge",
            kind: "web",
            resource: "{detail._datadog.x-datadog-resource-name?source}",
            key: "{source}",
            generic_key: "lambda_eventbridge",
            service: "{source}",
            generic_service: "eventbridge",
            start: "{detail._datadog.x-datadog-start-time?time}",
            start_unit: MS,
            is_async: true,
        }),
    },
    Row {
        source: "kinesis",
        record: Record::First,
        when: "kinesis",
        carried: Carried::Kinesis,
        arn: "{eventSourceARN}",
        tags: "\
> stream_name {eventSourceARN|/-1}
> shard_id {eventID|:0}
> event_source_arn {eventSourceARN}
> event_id {eventID}
> event_name {eventName}
> event_version {eventVersion}
> partition_key {kinesis.partitionKey}",
        span: Some(SpanRow {
            name: "aws.kinesis",
            kind: "web",
            resource: "{eventSourceARN|/-1}",
            key: "{eventSourceARN|/-1}",
            generic_key: "lambda_kinesis",
            service: "{eventSourceARN|/-1}",
            generic_service: "kinesis",
            start: "{kinesis.approximateArrivalTimestamp}",
            start_unit: S,
            is_async: true,
        }),
    },
    Row {
        source: "states",
        record: Record::Steps,
        when: "Execution.Id State.Name State.EnteredTime",
        carried: Carried::Steps,
        arn: "{StateMachine.Id}",
        tags: "",
        span: None,
    },
    Row {
        source: "cloudwatch-events",
        record: Record::Event,
        when: "source=aws.events",
        carried: Carried::Nowhere,
        arn: "{resources.0}",
        tags: "",
        span: None,
    },
    Row {
        source: "cloudwatch-logs",
        record: Record::Event,
        when: "awslogs",
        carried: Carried::Nowhere,
        arn: "",
        tags: "",
        span: None,
    },
    Row {
        source: "cloudfront",
        record: Record::First,
        when: "cf",
        carried: Carried::Nowhere,
        arn: "",
        tags: "\
< http.method {cf.request.method}
< http.url_details.path {cf.request.uri}",
        span: None,
    },
    // Its headers are those of any event's `request`.
    Row {
        source: "appsync",
        record: Record::Event,
        when: "info.selectionSetGraphQL",
        carried: Carried::Nowhere,
        arn: "",
        tags: "",
        span: None,
    },
    // A batch job over objects, which begins each invocation with one of them.
    Row {
        source: "s3",
        record: Record::Event,
        when: "invocationSchemaVersion job.id tasks.0.s3Key",
        carried: Carried::Nowhere,
        arn: "aws:s3",
        tags: "",
        span: None,
    },
    // Kong's gateway writes what API Gateway does but for its context; after all others, since it has nothing that only it has.
    Row {
        source: "api-gateway",
        record: Record::Event,
        when: "httpMethod resource",
        carried: Carried::Headers,
        arn: "",
        tags: "\
< http.url_details.path {path}
< http.method {httpMethod}
< http.route {resource}
< http.user_agent {headers.user-agent}
< http.referer {headers.referer}",
        span: None,
    },
];
