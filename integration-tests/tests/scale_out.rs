//! Several instances share a topic: every trace whole on one of them, models exchanged, and one that
//! is lost or added costs nothing. By `pipelines/kafka-scale-out.yaml`, against a real broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use integration_tests::broker::until;
use integration_tests::process::root;
use integration_tests::{Broker, Reading, Running, Sink, free_port, traffic};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(240);
const PARTITIONS: i32 = 6;

/// One of several instances, and the backend of its own that it sends to.
struct Instance {
    running: Running,
    sink: Sink,
    metrics: String,
}

impl Instance {
    /// The example, with quick settings and free ports.
    async fn start(broker: &Broker, role: &str) -> anyhow::Result<Self> {
        let sink = Sink::start().await?;
        let health = address()?;
        let metrics = address()?;
        let text = std::fs::read_to_string(root().join("pipelines/kafka-scale-out.yaml"))?;
        let text = text
            .replace("${env:KAFKA:-localhost:9092}", &broker.address)
            .replace("${env:BACKEND:-localhost:14317}", &sink.address.to_string())
            .replace("role: peer", &format!("role: {role}, interval: 2s"))
            .replace(
                "    group_id: doppelspan\n",
                "    group_id: doppelspan\n    session_timeout: 6s\n    heartbeat_interval: 1s\n",
            )
            .replace(
                "    generation:",
                "    assembler: { max_wait: 5s, initial_quiet: 1s }\n    generation:",
            )
            .replace("localhost:13133", &health)
            .replace("localhost:8888", &metrics);
        Ok(Self {
            running: Running::start(&text, &health).await?,
            sink,
            metrics,
        })
    }

    async fn told(&self) -> anyhow::Result<Reading> {
        Reading::of(&self.metrics).await
    }

    async fn exchanged(&self, fate: &str) -> anyhow::Result<usize> {
        let told = self.told().await?;
        Ok(told.count("doppelspan_exchange_models_total", &[("fate", fate)]))
    }

    fn observed(&self) -> BTreeSet<(String, String)> {
        let ids = self.sink.ids(false).into_iter();
        ids.map(|(trace, span, _)| (trace, span)).collect()
    }
}

fn address() -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", free_port()?))
}

/// Writes to the topic by trace id, for whoever sends OTLP to the address.
async fn writer(broker: &Broker) -> anyhow::Result<(Running, String)> {
    let grpc = address()?;
    let yaml = format!(
        "receivers:
  otlp: {{ protocols: {{ grpc: {{ endpoint: '{grpc}' }} }} }}
exporters:
  kafka: {{ brokers: ['{}'], partition_traces_by_id: true }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    traces: {{ receivers: [otlp], exporters: [kafka] }}
",
        broker.address
    );
    Ok((Running::start(&yaml, &grpc).await?, grpc))
}

/// A topic, what writes to it, and three instances that share it.
async fn three(
    broker: &Broker,
    roles: [&str; 3],
) -> anyhow::Result<(Running, String, Vec<Instance>)> {
    broker.create_topic("otlp_spans", PARTITIONS, &[]).await?;
    let (writer, grpc) = writer(broker).await?;
    let mut instances = Vec::new();
    for role in roles {
        instances.push(Instance::start(broker, role).await?);
    }
    all_have_joined(&instances).await?;
    Ok((writer, grpc, instances))
}

async fn all_end_well(instances: Vec<Instance>) -> anyhow::Result<()> {
    for instance in instances {
        let (code, log) = instance.running.terminate().await?;
        assert_eq!(code, Some(0), "{log}");
    }
    Ok(())
}

/// Sends traces of five spans until told to stop, each in two requests that follow each other: the
/// ids of all that were accepted.
fn keep_sending(
    grpc: &str,
    from: u64,
    stop: CancellationToken,
) -> tokio::task::JoinHandle<anyhow::Result<BTreeSet<(String, String)>>> {
    let grpc = grpc.to_owned();
    tokio::spawn(async move {
        let mut accepted = BTreeSet::new();
        let all = traffic::requests(from + 20_000, 50).split_off(from as usize);
        for mut first in all {
            if stop.is_cancelled() {
                break;
            }
            let mut second = first.clone();
            for (request, odd) in [(&mut first, 1), (&mut second, 0)] {
                let spans = &mut request.resource_spans[0].scope_spans[0].spans;
                spans.retain(|span| span.span_id[7] % 2 == odd);
            }
            for request in [first, second] {
                let ids: Vec<_> = traffic::spans(&request).map(ids).collect();
                let sent = traffic::send(&grpc, vec![request]).await?;
                if sent.refused == 0 {
                    accepted.extend(ids);
                }
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        Ok(accepted)
    })
}

fn ids(span: &opentelemetry_proto::tonic::trace::v1::Span) -> (String, String) {
    let hex = integration_tests::sink::hex;
    (hex(&span.trace_id), hex(&span.span_id))
}

/// Waits until every instance has partitions and all have all.
async fn all_have_joined(instances: &[Instance]) -> anyhow::Result<()> {
    until("the partitions are shared", PATIENCE, || async {
        let mut shares = Vec::new();
        for instance in instances {
            let told = instance.told().await?;
            shares.push(told.sum("doppelspan_receiver_partitions", &[]) as i32);
        }
        let all: i32 = shares.iter().sum();
        Ok(all == PARTITIONS && shares.iter().all(|share| *share > 0))
    })
    .await
}

/// Waits until every accepted span is at one of the backends; where each trace's are.
async fn all_arrive(
    accepted: &BTreeSet<(String, String)>,
    instances: &[Instance],
    lost: &Sink,
) -> anyhow::Result<()> {
    let missing = || {
        let mut here: BTreeSet<_> = instances.iter().flat_map(|i| i.observed()).collect();
        here.extend(
            lost.ids(false)
                .into_iter()
                .map(|(trace, span, _)| (trace, span)),
        );
        accepted.difference(&here).count()
    };
    let arrived = until("every accepted span arrives", PATIENCE, || {
        let done = missing() == 0;
        async move { Ok(done) }
    });
    arrived.await.map_err(|fault| {
        anyhow::anyhow!("{fault}: {} of {} are missing", missing(), accepted.len())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_peers_share_traces_and_models_and_one_that_is_lost_costs_nothing()
-> anyhow::Result<()> {
    let Some(broker) = Broker::start().await? else {
        return Ok(());
    };
    let (_writer, grpc, mut instances) = three(&broker, ["peer"; 3]).await?;

    // Every trace is whole on one instance, though its spans came in two requests.
    let stop = CancellationToken::new();
    let sending = keep_sending(&grpc, 0, stop.clone());
    until("models are exchanged", PATIENCE, || async {
        let mut all = true;
        for instance in &instances {
            all &= instance.exchanged("sent").await? > 0 && instance.exchanged("served").await? > 0;
        }
        Ok(all)
    })
    .await?;
    stop.cancel();
    let accepted = sending.await??;
    let nobody = Sink::start().await?;
    all_arrive(&accepted, &instances, &nobody).await?;
    let mut homes: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for (at, instance) in instances.iter().enumerate() {
        let observed = instance.observed();
        assert!(
            observed.len() > accepted.len() / 10,
            "instance {at} has its share"
        );
        for (trace, _) in observed {
            homes.entry(trace).or_default().insert(at);
        }
    }
    let apart = homes.values().filter(|homes| homes.len() > 1).count();
    assert_eq!(apart, 0, "of {} traces", homes.len());
    for instance in &instances {
        instance.sink.wait_for_synthetic(50, PATIENCE).await?;
    }

    // One is lost without a word, another one is added: nothing accepted is lost, and the new one
    // goes on from what the others have learnt.
    let sent = accepted.len() as u64 / 50 + 1;
    let stop = CancellationToken::new();
    let sending = keep_sending(&grpc, sent, stop.clone());
    let so_far = instances[2].observed().len();
    until("the one that will be lost is at work", PATIENCE, || {
        let done = instances[2].observed().len() > so_far + 100;
        async move { Ok(done) }
    })
    .await?;
    let Instance {
        running,
        sink: lost,
        ..
    } = instances.pop().unwrap();
    drop(running);
    instances.push(Instance::start(&broker, "peer").await?);
    all_have_joined(&instances).await?;
    until(
        "the new one goes on from the others' model",
        PATIENCE,
        || async { Ok(instances[2].exchanged("continued").await? > 0) },
    )
    .await?;
    let learnt = instances[2].told().await?;
    let learnt = learnt.sum("doppelspan_learner_served_traces", &[]);
    assert!(learnt > 100.0, "{learnt}");
    instances[2].sink.wait_for_synthetic(50, PATIENCE).await?;
    until("the new one is at work", PATIENCE, || {
        let done = instances[2].observed().len() > 100;
        async move { Ok(done) }
    })
    .await?;
    stop.cancel();
    let accepted = sending.await??;
    all_arrive(&accepted, &instances, &lost).await?;

    all_end_well(instances).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_is_elected_to_learn_and_where_it_is_lost_another_one_goes_on()
-> anyhow::Result<()> {
    let Some(broker) = Broker::start().await? else {
        return Ok(());
    };
    let (_writer, grpc, mut instances) = three(&broker, ["elected"; 3]).await?;
    let stop = CancellationToken::new();
    let sending = keep_sending(&grpc, 0, stop.clone());
    until("all serve what one has learnt", PATIENCE, || async {
        let (mut sent, mut served) = (0, 0);
        for instance in &instances {
            sent += usize::from(instance.exchanged("sent").await? > 0);
            served += usize::from(instance.exchanged("served").await? > 0);
        }
        assert!(sent <= 1, "two learn");
        Ok(sent == 1 && served == 2)
    })
    .await?;
    for instance in &instances {
        instance.sink.wait_for_synthetic(50, PATIENCE).await?;
    }

    let mut learns = None;
    for (at, instance) in instances.iter().enumerate() {
        if instance.exchanged("sent").await? > 0 {
            learns = Some(at);
        }
    }
    let Instance {
        running,
        sink: lost,
        ..
    } = instances.remove(learns.unwrap());
    assert!(
        running.log().contains("this instance is elected"),
        "{}",
        running.log()
    );
    drop(running);
    until("another one goes on", PATIENCE, || async {
        let mut gone_on = 0;
        for instance in &instances {
            let sent = instance.exchanged("sent").await?;
            gone_on += usize::from(sent > 0 && instance.exchanged("continued").await? > 0);
        }
        Ok(gone_on == 1)
    })
    .await?;
    stop.cancel();
    let accepted = sending.await??;
    all_arrive(&accepted, &instances, &lost).await?;
    all_end_well(instances).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trainer_learns_and_its_followers_serve_what_it_learnt() -> anyhow::Result<()> {
    let Some(broker) = Broker::start().await? else {
        return Ok(());
    };
    let roles = ["trainer", "follower", "follower"];
    let (_writer, grpc, instances) = three(&broker, roles).await?;
    let stop = CancellationToken::new();
    let sending = keep_sending(&grpc, 0, stop.clone());
    until("the followers serve", PATIENCE, || async {
        let mut served = 0;
        for follower in &instances[1..] {
            served += usize::from(follower.exchanged("served").await? > 0);
        }
        Ok(served == 2)
    })
    .await?;
    for instance in &instances {
        instance.sink.wait_for_synthetic(50, PATIENCE).await?;
    }
    assert!(instances[0].exchanged("sent").await? > 0);
    for follower in &instances[1..] {
        assert_eq!(follower.exchanged("sent").await?, 0, "a follower learns");
    }
    stop.cancel();
    let accepted = sending.await??;
    let nobody = Sink::start().await?;
    all_arrive(&accepted, &instances, &nobody).await?;
    all_end_well(instances).await
}
