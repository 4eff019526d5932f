//! Drives against a backend on a free port.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use tonic::{Request, Response};
use tonic_types::ErrorDetails;

use super::*;

/// How a backend answers.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Takes,
    /// Rejects one span of each request.
    Rejects,
    /// Sends each sender away this many times before it takes anything.
    Busy(usize),
    Refuses,
}

#[derive(Debug)]
struct Backend {
    mood: Mood,
    asked: AtomicU64,
    taken: Mutex<Vec<ExportTraceServiceRequest>>,
}

struct Answers(Arc<Backend>);

#[tonic::async_trait]
impl TraceService for Answers {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let asked = self.0.asked.fetch_add(1, Ordering::Relaxed);
        let mut answer = ExportTraceServiceResponse::default();
        match self.0.mood {
            Mood::Takes => {}
            Mood::Rejects => {
                answer.partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans: 1,
                    error_message: "span 1 of 9: no".to_owned(),
                });
            }
            Mood::Busy(times) if asked < times as u64 => {
                let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
                return Err(Status::with_error_details(
                    Code::Unavailable,
                    "busy",
                    details,
                ));
            }
            Mood::Busy(_) => {}
            Mood::Refuses => return Err(Status::invalid_argument("no")),
        }
        self.0.taken.lock().unwrap().push(request.into_inner());
        Ok(Response::new(answer))
    }
}

async fn backend(mood: Mood) -> (SocketAddr, Arc<Backend>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let backend = Arc::new(Backend {
        mood,
        asked: AtomicU64::new(0),
        taken: Mutex::default(),
    });
    let service = TraceServiceServer::new(Answers(backend.clone()));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    (address, backend)
}

/// Drives forty traces; the counts and what arrived.
async fn check(mood: Mood) -> (DriveCounts, Vec<ExportTraceServiceRequest>) {
    let (address, backend) = backend(mood).await;
    let mut drive = Drive::new(address.to_string(), System::Shop, 1, 400.0);
    drive.traces = Some(40);
    let counts = drive.run(CancellationToken::new()).await.unwrap();
    assert_eq!(counts.traces, 40);
    let met = counts.sent + counts.rejected + counts.given_up;
    assert_eq!(met, counts.spans, "each span is in one count: {counts:?}");
    let taken = std::mem::take(&mut *backend.taken.lock().unwrap());
    (counts, taken)
}

#[tokio::test]
async fn every_span_arrives_once_and_whole_traces_arrive_in_parts() {
    let (counts, taken) = check(Mood::Takes).await;
    assert_eq!((counts.sent, counts.refusals), (counts.spans, 0));
    assert_eq!(taken.iter().map(spans).sum::<u64>(), counts.spans);
    let mut parts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for request in &taken {
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        let mut ids: Vec<_> = scopes
            .flat_map(|scope| &scope.spans)
            .map(|span| span.trace_id.clone())
            .collect();
        ids.sort();
        ids.dedup();
        ids.into_iter()
            .for_each(|id| *parts.entry(id).or_default() += 1);
    }
    assert_eq!(parts.len(), 40);
    assert!(parts.values().all(|parts| *parts > 1), "{parts:?}");
}

#[tokio::test]
async fn a_busy_backend_is_asked_again_after_the_time_it_names() {
    let (counts, taken) = check(Mood::Busy(5)).await;
    assert_eq!((counts.sent, counts.refusals), (counts.spans, 5));
    assert_eq!(taken.iter().map(spans).sum::<u64>(), counts.spans);
}

#[tokio::test]
async fn spans_that_a_backend_cuts_out_are_counted_and_not_sent_again() {
    let (counts, taken) = check(Mood::Rejects).await;
    assert_eq!(counts.rejected, taken.len() as u64);
    assert_eq!((counts.given_up, counts.refusals), (0, 0));
}

#[tokio::test]
async fn what_a_backend_will_never_take_is_given_up_at_once() {
    let (counts, taken) = check(Mood::Refuses).await;
    assert_eq!((counts.sent, counts.given_up), (0, counts.spans));
    assert!(taken.is_empty() && counts.refusals == 0);
}

/// A drive without an end, told to stop as soon as something was sent.
async fn check_stop(rate: f64) {
    let (address, backend) = backend(Mood::Takes).await;
    let drive = Drive::new(address.to_string(), System::TicketOffice, 1, rate);
    let (meter, stop) = (drive.meter.clone(), CancellationToken::new());
    let run = tokio::spawn(drive.run(stop.clone()));
    while meter.counts().sent == 0 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    let counts = run.await.unwrap().unwrap();
    assert_eq!((counts.sent, counts.given_up), (counts.spans, 0));
    let taken = backend.taken.lock().unwrap().iter().map(spans).sum::<u64>();
    assert_eq!(taken, counts.spans);
}

#[tokio::test]
async fn a_drive_without_end_sends_what_is_left_when_it_is_told_to_stop() {
    check_stop(300.0).await;
}

#[tokio::test]
async fn a_drive_that_nobody_keeps_up_with_stops_as_soon() {
    check_stop(1e6).await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_address_is_told_at_once() {
    let drive = Drive::new("no address", System::Shop, 1, 1.0);
    assert!(drive.run(CancellationToken::new()).await.is_err());
}
