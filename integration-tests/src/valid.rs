//! Whether spans make whole traces.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::trace::v1::Span;

use crate::sink::hex;

/// One root a trace, every parent there, no cycle, no id twice; the number of traces.
pub fn check_valid(spans: &[Span]) -> anyhow::Result<usize> {
    let mut traces: BTreeMap<&[u8], BTreeMap<&[u8], &[u8]>> = BTreeMap::new();
    for span in spans {
        anyhow::ensure!(
            span.trace_id.len() == 16 && span.span_id.len() == 8,
            "{span:?}"
        );
        anyhow::ensure!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{span:?}"
        );
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
