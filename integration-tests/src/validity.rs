//! Whether spans are whole traces.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::sink::hex;

/// The traces that the spans make: each has one root, every parent is there, nothing goes in a
/// circle, no id stands twice, and nothing ends before it starts. The number of traces, or the
/// first fault.
pub fn traces(spans: &[Span]) -> anyhow::Result<usize> {
    let mut traces: BTreeMap<&[u8], BTreeMap<&[u8], &[u8]>> = BTreeMap::new();
    for span in spans {
        let ids = span.trace_id.len() == 16 && span.span_id.len() == 8;
        anyhow::ensure!(ids, "an id has the wrong length: {span:?}");
        let times = span.start_time_unix_nano <= span.end_time_unix_nano;
        anyhow::ensure!(times, "ends before it starts: {span:?}");
        let trace = traces.entry(&span.trace_id).or_default();
        let before = trace.insert(&span.span_id, &span.parent_span_id);
        anyhow::ensure!(before.is_none(), "{} twice", hex(&span.span_id));
    }
    for (id, trace) in &traces {
        let roots = trace.values().filter(|parent| parent.is_empty()).count();
        anyhow::ensure!(roots == 1, "trace {} has {roots} roots", hex(id));
        for mut at in trace.keys() {
            let mut steps = 0;
            while !trace[at].is_empty() {
                let parent = trace.get_key_value(trace[at]);
                at = parent
                    .ok_or_else(|| anyhow::anyhow!("{} has no parent", hex(at)))?
                    .0;
                steps += 1;
                anyhow::ensure!(steps <= trace.len(), "trace {} has a cycle", hex(id));
            }
        }
    }
    Ok(traces.len())
}
