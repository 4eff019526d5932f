//! The traces of the Nezha data set (FSE 2023): OnlineBoutique and TrainTicket.
//!
//! A row has a pod in place of a service, nanoseconds, `root` for no parent, and neither kind nor
//! status.

use super::group::{Observed, service, text};
use super::ids;
use super::rows::{Header, Processes, Wrong, nanos};

use opentelemetry_proto::tonic::trace::v1::Span;

/// The columns that are read.
pub(super) const COLUMNS: [&str; 8] = [
    "TraceID",
    "SpanID",
    "ParentID",
    "PodName",
    "OperationName",
    "StartTimeUnixNano",
    "EndTimeUnixNano",
    "Duration",
];

/// The span of a row.
pub(super) fn span(
    header: &Header<8>,
    processes: &mut Processes,
    row: &[String],
) -> Result<Observed, Wrong> {
    let [trace, span, parent, pod, operation, start, end, duration] = header.pick(&COLUMNS, row)?;
    let absent = |column| Wrong(column, "is empty".to_owned());
    let trace_id = ids::trace_id(trace).ok_or_else(|| absent("TraceID"))?;
    let span_id = ids::span_id(span).ok_or_else(|| absent("SpanID"))?;
    if pod.is_empty() {
        return Err(absent("PodName"));
    }
    let start = nanos("StartTimeUnixNano", start, 1)?;
    let end = match end {
        // Durations are in microseconds.
        "" => start.saturating_add(nanos("Duration", duration, 1_000)?),
        end => nanos("EndTimeUnixNano", end, 1)?,
    };
    let resource = processes.of(pod, || {
        let mut resource = service(service_of_pod(pod));
        resource.attributes.push(text("k8s.pod.name", pod));
        resource
    });
    Ok(Observed {
        resource,
        scope: None,
        span: Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: ids::parent_id(parent, span_id).map_or(Vec::new(), Vec::from),
            name: operation.to_owned(),
            start_time_unix_nano: start,
            end_time_unix_nano: end,
            ..Span::default()
        },
    })
}

/// A pod's name without what Kubernetes puts behind it: the hash of a replica set and five signs of
/// the pod (`cart-579f59597d-wc2lz`), or the number within a stateful set (`redis-0`).
fn service_of_pod(pod: &str) -> &str {
    // Kubernetes draws these from letters and digits that spell no word.
    let drawn = |part: &str| {
        part.bytes()
            .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
    };
    let Some((before, last)) = pod
        .rsplit_once('-')
        .filter(|(before, _)| !before.is_empty())
    else {
        return pod;
    };
    if last.len() <= 3 && !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return before;
    }
    match before.rsplit_once('-') {
        Some((name, hash))
            if last.len() == 5
                && drawn(last)
                && (6..=10).contains(&hash.len())
                && drawn(hash)
                && !name.is_empty() =>
        {
            name
        }
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_names_its_service() {
        let check = |pod, expected| assert_eq!(service_of_pod(pod), expected);
        check("frontend-579b9bff58-t2dbm", "frontend");
        check("ts-order-service-5b67c48447-fj8b7", "ts-order-service");
        check(
            "ts-station-food-service-dc4d75dd-fw6ft",
            "ts-station-food-service",
        );
        check("redis-cart-0", "redis-cart");
        check("ts-order-service", "ts-order-service");
        check("currencyservice", "currencyservice");
        check("my-service-audio-http2", "my-service-audio-http2");
        check("-579b9bff58-t2dbm", "-579b9bff58-t2dbm");
        check("", "");
    }
}
