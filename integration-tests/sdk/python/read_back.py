"""Reads an OTLP/JSON lines file with the Python project's own OTLP JSON types.

usage: read_back.py FILE

Prints: lines, traces, spans, resources that carry doppelspan.synthetic = true, resources.
Fails on the first line that the types refuse, and on a span whose ids have a wrong length
or whose parent is missing.
"""

import json
import sys

from opentelemetry.proto_json.collector.trace.v1.trace_service import ExportTraceServiceRequest

lines = resources = marked = 0
spans = {}
for line in open(sys.argv[1], encoding="utf-8"):
    lines += 1
    request = ExportTraceServiceRequest.from_dict(json.loads(line))
    for resource_spans in request.resource_spans:
        resources += 1
        attributes = {a.key: a.value for a in resource_spans.resource.attributes}
        if attributes.get("doppelspan.synthetic") and attributes["doppelspan.synthetic"].bool_value:
            marked += 1
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                assert len(span.trace_id) == 16, span
                assert len(span.span_id) == 8, span
                key = (bytes(span.trace_id), bytes(span.span_id))
                assert key not in spans, f"span {key} twice"
                spans[key] = bytes(span.parent_span_id or b"")
                assert span.end_time_unix_nano >= span.start_time_unix_nano > 0, span

for (trace_id, span_id), parent in spans.items():
    if parent:
        assert (trace_id, parent) in spans, f"{span_id.hex()} has no parent"

traces = len({trace_id for trace_id, _ in spans})
roots = sum(1 for parent in spans.values() if not parent)
assert roots == traces, f"{roots} roots in {traces} traces"
print(lines, traces, len(spans), marked, resources)
