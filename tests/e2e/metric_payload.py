"""The outgoing payloads of metrics (`/api/v2/series`, `/api/beta/sketches`) as protobuf classes, from the documented tables of their
fields, and what a sketch says of its values."""

import math

from protobuf_table import build, refuse_unknown

SERIES = """
MetricPayload: 1 series Series*
Series: 1 resources Resource*, 2 metric string, 3 tags string*, 4 points Point*, 5 type int32, 6 unit string,
  7 source_type_name string, 8 interval int64, 9 metadata Metadata
Resource: 1 type string, 2 name string
Point: 1 value double, 2 timestamp int64
Metadata: 1 origin Origin
Origin: 3 metric_type uint32, 4 product uint32, 5 category uint32, 6 service uint32
"""

SKETCHES = """
SketchPayload: 1 sketches Sketch*, 2 metadata Nothing
Nothing: 1 nothing string
Sketch: 1 metric string, 2 host string, 4 tags string*, 7 dogsketches Dogsketch*, 8 metadata Metadata
Dogsketch: 1 ts int64, 2 cnt int64, 3 min double, 4 max double, 5 avg double, 6 sum double, 7 k sint32*, 8 n uint32*
Metadata: 1 origin Origin
Origin: 3 metric_type uint32, 4 product uint32, 5 category uint32, 6 service uint32
"""

COUNT, RATE, GAUGE = 1, 2, 3

MetricPayload = build(SERIES, "MetricPayload")
SketchPayload = build(SKETCHES, "SketchPayload")


def decode_series(body):
    payload = MetricPayload.FromString(body)
    for series in payload.series:
        for message in (series, *series.resources, *series.points):
            refuse_unknown(message)
    refuse_unknown(payload)
    return list(payload.series)


def decode_sketches(body):
    payload = SketchPayload.FromString(body)
    for sketch in payload.sketches:
        for message in (sketch, *sketch.dogsketches):
            refuse_unknown(message)
    refuse_unknown(payload)
    return list(payload.sketches)


GAMMA = 1 + 2 / 128
BIAS = 1338


def value_of(key):
    """The value that a bin stands for."""
    if key == 0:
        return 0.0
    return math.copysign(GAMMA ** (abs(key) - BIAS), key)


def quantile(bins, part):
    """The value at `part` of all values in the bins (key, count)."""
    bins = sorted(bins)
    rank = part * (sum(count for _, count in bins) - 1)
    seen = 0
    for key, count in bins:
        seen += count
        if rank < seen:
            return value_of(key)
    return value_of(bins[-1][0])
