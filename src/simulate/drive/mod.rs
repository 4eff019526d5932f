//! Live traffic of a simulated system, sent through a real socket as its SDKs would.

mod outbox;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use self::outbox::Outbox;
use super::{Simulator, System};

/// How often the outbox is looked at.
const BEAT: Duration = Duration::from_millis(10);
/// Traces begun in a beat at most: beyond 20,000 a second they would only fill memory.
const BURST: u64 = 200;
/// Requests on their way at once; where a backend is slower than that, requests wait their turn.
const IN_FLIGHT: usize = 64;
/// A request that is refused is tried again after so long, twice as long each time,
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// and given up after so many attempts.
const ATTEMPTS: u32 = 8;
/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long what is left may take once it was told to stop.
const LAST: Duration = Duration::from_secs(10);

/// Live traffic: which system's, how much of it, and where to.
#[derive(Debug)]
pub struct Drive {
    /// `host:port` of an OTLP/gRPC receiver without TLS.
    pub endpoint: String,
    /// Whose traffic.
    pub system: System,
    /// Of the traces; ids and shapes are the same for the same seed, times are the present's.
    pub seed: u64,
    /// Requests to the system per second. What is more than the simulation or the receiver keeps up
    /// with is not begun, 20,000 a second at most.
    pub rate: f64,
    /// How many traces; for ever if none.
    pub traces: Option<u64>,
    /// What was sent so far, to be read meanwhile.
    pub meter: DriveMeter,
}

/// What became of the traffic, in the present. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct DriveMeter(Arc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    traces: AtomicU64,
    spans: AtomicU64,
    sent: AtomicU64,
    rejected: AtomicU64,
    refusals: AtomicU64,
    given_up: AtomicU64,
}

/// What became of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriveCounts {
    /// Traces begun.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// Spans that the receiver took.
    pub sent: u64,
    /// Spans that it cut out (`partial_success`).
    pub rejected: u64,
    /// Requests that were turned away for a while, each time counted.
    pub refusals: u64,
    /// Spans that it did not take in the end.
    pub given_up: u64,
}

impl DriveMeter {
    /// The counts so far.
    pub fn counts(&self) -> DriveCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DriveCounts {
            traces: read(&self.0.traces),
            spans: read(&self.0.spans),
            sent: read(&self.0.sent),
            rejected: read(&self.0.rejected),
            refusals: read(&self.0.refusals),
            given_up: read(&self.0.given_up),
        }
    }
}

impl Drive {
    /// Traffic without an end.
    pub fn new(endpoint: impl Into<String>, system: System, seed: u64, rate: f64) -> Self {
        Self {
            endpoint: endpoint.into(),
            system,
            seed,
            rate,
            traces: None,
            meter: DriveMeter::default(),
        }
    }

    /// Drives until `stop`, or until all traces were begun; then sends what is left. An endpoint
    /// that does not answer is tried again as one that is busy is; spans given up are counted.
    ///
    /// # Errors
    ///
    /// The endpoint is no address.
    pub async fn run(
        self,
        stop: CancellationToken,
    ) -> Result<DriveCounts, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{}", self.endpoint))?
            .timeout(TIMEOUT)
            .connect_lazy();
        let mut road = Road {
            client: TraceServiceClient::new(channel),
            tally: self.meter.0.clone(),
            permits: Arc::new(Semaphore::new(IN_FLIGHT)),
            sends: JoinSet::new(),
        };
        let mut simulator = Simulator::new(self.system, self.seed);
        let mut outbox = Outbox::default();
        let mut left = self.traces.unwrap_or(u64::MAX);
        let mut next = now() + simulator.next_gap(self.rate);
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while left > 0 {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => {}
            }
            let now = now();
            // Requests that a stall held up come when it is over, those of a second at most.
            next = next.max(now.saturating_sub(1_000_000_000));
            let least = left.saturating_sub(BURST);
            while next <= now && left > least {
                let trace = simulator.next_trace(next);
                road.tally.traces.fetch_add(1, Ordering::Relaxed);
                road.tally.spans.fetch_add(spans(&trace), Ordering::Relaxed);
                outbox.take(trace);
                next += simulator.next_gap(self.rate);
                left -= 1;
            }
            for request in outbox.due(now) {
                road.send(request).await;
            }
        }
        for request in outbox.rest() {
            road.send(request).await;
        }
        road.end().await;
        Ok(self.meter.counts())
    }
}

/// The way to the receiver.
struct Road {
    client: TraceServiceClient<Channel>,
    tally: Arc<Tally>,
    permits: Arc<Semaphore>,
    sends: JoinSet<()>,
}

impl Road {
    async fn send(&mut self, request: ExportTraceServiceRequest) {
        while self.sends.try_join_next().is_some() {}
        let Ok(permit) = self.permits.clone().acquire_owned().await else {
            return;
        };
        let (client, tally) = (self.client.clone(), self.tally.clone());
        self.sends.spawn(async move {
            // Counted as given up until it is known better: the task may be ended from outside.
            let spans = spans(&request);
            tally.given_up.fetch_add(spans, Ordering::Relaxed);
            if let Some(rejected) = attempts(client, request, &tally).await {
                tally.given_up.fetch_sub(spans, Ordering::Relaxed);
                tally.rejected.fetch_add(rejected, Ordering::Relaxed);
                let taken = spans.saturating_sub(rejected);
                tally.sent.fetch_add(taken, Ordering::Relaxed);
            }
            drop(permit);
        });
    }

    /// Waits for what is on its way, but not for ever.
    async fn end(mut self) {
        let all = async { while self.sends.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST, all).await.is_err() {
            self.sends.shutdown().await;
        }
    }
}

/// Rejected spans of a request that was taken; none where it was given up.
async fn attempts(
    mut client: TraceServiceClient<Channel>,
    request: ExportTraceServiceRequest,
    tally: &Tally,
) -> Option<u64> {
    let mut wait = FIRST_WAIT;
    for _ in 0..ATTEMPTS {
        match client.export(request.clone()).await {
            Ok(answer) => {
                let partial = answer.into_inner().partial_success;
                let rejected = partial.map_or(0, |partial| partial.rejected_spans);
                return Some(u64::try_from(rejected).unwrap_or_default());
            }
            Err(status) if passes(&status) => {
                tally.refusals.fetch_add(1, Ordering::Relaxed);
                let asked = status.get_details_retry_info();
                let asked = asked.and_then(|info| info.retry_delay);
                tokio::time::sleep(asked.unwrap_or_default().max(wait)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(_) => return None,
        }
    }
    None
}

/// Whether the protocol has the same request tried again.
fn passes(status: &Status) -> bool {
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => status.get_details_retry_info().is_some(),
        _ => false,
    }
}

fn spans(request: &ExportTraceServiceRequest) -> u64 {
    let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
    scopes.map(|scope| scope.spans.len() as u64).sum()
}

/// Nanoseconds since the epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "live traffic bears the present's times, and this loop owns its clock"
)]
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests;
