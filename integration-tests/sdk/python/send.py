"""Sends traces with the real OpenTelemetry Python SDK and prints every id it made.

usage: send.py grpc|http ENDPOINT TRACES

One line per span on standard output: trace id, span id, parent span id (or -), name.
"""

import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

protocol, endpoint, traces = sys.argv[1], sys.argv[2], int(sys.argv[3])

if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True)
else:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")

provider = TracerProvider(resource=Resource.create({"service.name": "python-shop"}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("integration-tests")


def show(span, parent):
    context = span.get_span_context()
    above = format(parent, "016x") if parent else "-"
    print(format(context.trace_id, "032x"), format(context.span_id, "016x"), above, span.name)


for number in range(traces):
    with tracer.start_as_current_span("GET /basket", kind=SpanKind.SERVER) as root:
        show(root, None)
        root_id = root.get_span_context().span_id
        with tracer.start_as_current_span("SELECT basket", kind=SpanKind.CLIENT) as query:
            query.set_attribute("db.system.name", "postgresql")
            show(query, root_id)
        links = [Link(query.get_span_context())]
        with tracer.start_as_current_span("notify", kind=SpanKind.PRODUCER, links=links) as notify:
            notify.add_event("queued", {"number": number})
            if number % 10 == 0:
                notify.set_status(Status(StatusCode.ERROR, "queue is slow"))
            show(notify, root_id)

if not provider.force_flush(30_000):
    sys.exit("force_flush timed out")
provider.shutdown()
