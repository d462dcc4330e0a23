"""Writes the seeds of fuzz targets, made of fixtures, into the folder named as argument: seeds.py FOLDER TARGET."""

import base64
import json
import sys
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "fixtures"
FORMATS = {"decode_v04": "traces_v04", "decode_v05": "traces_v05", "decode_v07": "traces_v07", "decode_v10": "traces_v10",
           "decode_client_stats": "client_stats"}
CHOICES = {"decode_v04": 0, "decode_v05": 1, "decode_v07": 2, "decode_v10": 3}  # of the target whole_path


def requests(target):
    return [path.read_bytes() for path in sorted((FIXTURES / "decode" / FORMATS[target]).glob("*.bin"))]


def json_requests():
    """The spans that fixtures expect of requests, as requests in JSON."""
    for path in sorted((FIXTURES / "decode/traces_v04").glob("*.expected.json")):
        traces = json.loads(path.read_text())
        for span in (span for trace in traces for span in trace):
            structs = span.get("meta_struct", {})
            span["meta_struct"] = {key: base64.b64encode(bytes.fromhex(v["hex"])).decode() for key, v in structs.items()}
        yield traces


def texts(file, *kinds):
    cases = json.loads((FIXTURES / file).read_text())
    return sorted({case["in"] for kind in kinds for case in cases[kind] if isinstance(case["in"], str)})


def datagrams():
    """Datagrams of one fixture, and those that another sends together."""
    lines = json.loads((FIXTURES / "decode/dogstatsd/lines.json").read_text())
    together = [case["datagrams"] for case in json.loads((FIXTURES / "aggregation.json").read_text())]
    return [[case["in"].encode()] for what in ("datagrams", "events", "service_checks") for case in lines[what]] + [
        [datagram.encode() for datagram in datagrams] for datagrams in together]


def seeds(target):
    if target in FORMATS:
        return requests(target)
    if target in ("decode_json", "decode_json_flat"):
        flat = target == "decode_json_flat"
        return [json.dumps(sum(traces, []) if flat else traces).encode() for traces in json_requests()]
    if target == "whole_path":
        packed = [bytes([c | more]) + r for name, c in CHOICES.items() for r in requests(name) for more in (0, 8, 48)]
        return packed + [bytes([4]) + json.dumps(traces).encode() for traces in json_requests()]
    if target == "sql":
        return [bytes([choice]) + s.encode() for s in texts("obfuscate.json", "sql") for choice in (0, 1, 2, 3, 7, 240)]
    if target == "json_values":
        return [bytes([choice]) + s.encode() for s in texts("obfuscate.json", "json") for choice in (0, 3)]
    if target == "short_values":
        kinds = ("redis_quantize", "redis", "redis_remove", "memcached", "http", "credit_card", "peer_ip")
        return [bytes([choice]) + s.encode() for s in texts("obfuscate.json", *kinds) for choice in (0, 7)]
    if target == "normalize":
        return [s.encode() for s in texts("normalize.json", "name", "service", "tag", "tagvalue", "peer")]
    if target == "dogstatsd":
        return [bytes([choice]) + b"\0".join(case) for case in datagrams() for choice in (0, 9, 31)]
    if target == "dogstatsd_stream":
        framed = [b"".join(len(datagram).to_bytes(4, "little") + datagram for datagram in case) for case in datagrams()]
        return [bytes([choice]) + stream for stream in framed for choice in (2, 23)]
    sys.exit(f"no such target: {target}")


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
for number, seed in enumerate(seeds(sys.argv[2])):
    (folder / f"{number:03}").write_bytes(seed)
