// Sends traces with the real OpenTelemetry JavaScript SDK and prints every id it made.
//
// usage: send.mjs grpc|http ENDPOINT TRACES
//
// One line per span on standard output: trace id, span id, parent span id (or -), name.
import { SpanKind, SpanStatusCode, context, trace } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const [protocol, endpoint, traces] = process.argv.slice(2);
const { OTLPTraceExporter } = await import(
  protocol === "grpc"
    ? "@opentelemetry/exporter-trace-otlp-grpc"
    : "@opentelemetry/exporter-trace-otlp-proto"
);
const url = protocol === "grpc" ? endpoint : `${endpoint}/v1/traces`;
const provider = new NodeTracerProvider({
  resource: resourceFromAttributes({ "service.name": "javascript-shop" }),
  spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter({ url }))],
});
provider.register();
const tracer = provider.getTracer("integration-tests");

const show = (span, parent) => {
  const { traceId, spanId } = span.spanContext();
  console.log(traceId, spanId, parent ?? "-", span.name);
};

for (let number = 0; number < Number(traces); number += 1) {
  const root = tracer.startSpan("GET /basket", { kind: SpanKind.SERVER });
  show(root);
  const inside = trace.setSpan(context.active(), root);
  const query = tracer.startSpan("SELECT basket", { kind: SpanKind.CLIENT }, inside);
  show(query, root.spanContext().spanId);
  query.end();
  const links = [{ context: query.spanContext() }];
  const notify = tracer.startSpan("notify", { kind: SpanKind.PRODUCER, links }, inside);
  notify.addEvent("queued", { number });
  if (number % 10 === 0) notify.setStatus({ code: SpanStatusCode.ERROR, message: "queue is slow" });
  show(notify, root.spanContext().spanId);
  notify.end();
  root.end();
}

await provider.forceFlush();
await provider.shutdown();
