//! A real Kafka broker of one node (KRaft) on free ports, in a folder of its own, that can be stopped,
//! killed and started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::process::{Child, Command};

use crate::process::free_port;

/// Of the user that a secured broker knows.
pub const USER: &str = "doppelspan";
/// Of the user that a secured broker knows.
pub const PASSWORD: &str = "not-a-secret";
const CLUSTER: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// A broker; it ends with the test.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    folder: tempfile::TempDir,
    /// `host:port` of plain text.
    pub address: String,
    /// `host:port` of SASL without TLS, of a secured broker.
    pub sasl: String,
    /// `host:port` of SASL over TLS, of a secured broker.
    pub sasl_tls: String,
    child: Option<Child>,
}

/// A message as it lies in a topic.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its key, empty if it has none.
    pub key: String,
    /// Its value.
    pub value: Vec<u8>,
}

impl Broker {
    /// Starts a broker that asks nobody who they are; none, with a line that says what is skipped,
    /// where `make peers` has fetched none.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        Self::new(false).await
    }

    /// Starts a broker that also listens for [`USER`] over SASL and over SASL with TLS.
    pub async fn secured() -> anyhow::Result<Option<Self>> {
        Self::new(true).await
    }

    async fn new(secured: bool) -> anyhow::Result<Option<Self>> {
        let Some(program) = crate::peers::program("kafka")? else {
            return Ok(None);
        };
        let address = || anyhow::Ok(format!("localhost:{}", free_port()?));
        let mut broker = Self {
            program,
            folder: tempfile::tempdir()?,
            address: address()?,
            sasl: address()?,
            sasl_tls: address()?,
            child: None,
        };
        let properties = broker.properties(&address()?, secured).await?;
        std::fs::write(broker.folder.path().join("server.properties"), properties)?;
        let mut format = Command::new(&broker.program);
        format
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER])
            .args(["-c", "server.properties"]);
        if secured {
            format.arg("--add-scram");
            format.arg(format!("SCRAM-SHA-256=[name={USER},password={PASSWORD}]"));
        }
        let output = format.current_dir(broker.folder.path()).output().await?;
        anyhow::ensure!(output.status.success(), "StorageTool: {output:?}");
        broker.run().await?;
        Ok(Some(broker))
    }

    async fn properties(&self, controller: &str, secured: bool) -> anyhow::Result<String> {
        let Self {
            address,
            sasl,
            sasl_tls,
            ..
        } = self;
        let mut listeners = format!("PLAINTEXT://{address}");
        let mut more = String::new();
        if secured {
            listeners = format!("{listeners},SASL_PLAINTEXT://{sasl},SASL_SSL://{sasl_tls}");
            self.make_certificate().await?;
            let plain = "org.apache.kafka.common.security.plain.PlainLoginModule";
            let scram = "org.apache.kafka.common.security.scram.ScramLoginModule";
            for listener in ["sasl_plaintext", "sasl_ssl"] {
                more = format!(
                    "{more}
listener.name.{listener}.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.{listener}.plain.sasl.jaas.config={plain} required user_{USER}=\"{PASSWORD}\";
listener.name.{listener}.scram-sha-256.sasl.jaas.config={scram} required;"
                );
            }
            more = format!(
                "{more}
ssl.keystore.type=PKCS12
ssl.keystore.location=broker.p12
ssl.keystore.password={PASSWORD}
ssl.key.password={PASSWORD}"
            );
        }
        Ok(format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
listeners={listeners},CONTROLLER://{controller}
advertised.listeners={listeners}
inter.broker.listener.name=PLAINTEXT
log.dirs=data
num.partitions=3
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
log.cleaner.backoff.ms=1000
{more}
"
        ))
    }

    /// A certificate of its own for `localhost`, which clients take as the authority.
    async fn make_certificate(&self) -> anyhow::Result<()> {
        for arguments in [
            "-genkeypair -alias broker -keyalg RSA -dname CN=localhost -validity 30 \
             -ext san=dns:localhost,ip:127.0.0.1 -storetype PKCS12",
            "-exportcert -rfc -alias broker -file ca.pem",
        ] {
            let output = Command::new("keytool")
                .args(arguments.split_whitespace())
                .args(["-keystore", "broker.p12", "-storepass", PASSWORD])
                .current_dir(self.folder.path())
                .output()
                .await?;
            anyhow::ensure!(output.status.success(), "keytool: {output:?}");
        }
        Ok(())
    }

    /// The certificate of a secured broker, in PEM form.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Starts the broker again where it was stopped or killed.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let child = Command::new(&self.program)
            .args(["kafka.Kafka", "server.properties"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        self.child = Some(child);
        for _ in 0..120 {
            if self.answers().await? {
                return Ok(());
            }
            let ended = self
                .child
                .as_mut()
                .and_then(|child| child.try_wait().transpose());
            if let Some(status) = ended {
                anyhow::bail!("Kafka ended with {:?}:\n{}", status?, self.log());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("Kafka does not answer:\n{}", self.log())
    }

    async fn answers(&self) -> anyhow::Result<bool> {
        let client: BaseConsumer = self.client().create()?;
        let asked = tokio::task::spawn_blocking(move || {
            client.fetch_metadata(None, Duration::from_millis(500))
        });
        Ok(asked.await?.is_ok_and(|told| !told.brokers().is_empty()))
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.address)
            .set("log_level", "0");
        client
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What it wrote so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        let id = child.id().context("it has ended")?.to_string();
        Command::new("kill").args(["-TERM", &id]).status().await?;
        tokio::time::timeout(Duration::from_secs(60), child.wait()).await??;
        Ok(())
    }

    /// Kills it, as a machine that fails does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("it does not run")?;
        Ok(child.kill().await?)
    }

    /// Makes a topic.
    pub async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
            made.map_err(|(name, code)| anyhow::anyhow!("{name}: {code}"))?;
        }
        Ok(())
    }

    /// Everything in a topic, partition by partition.
    pub async fn records(&self, topic: &str) -> anyhow::Result<Vec<Record>> {
        let (topic, client) = (topic.to_owned(), self.client());
        tokio::task::spawn_blocking(move || read_all(client, &topic)).await?
    }

    /// Where a group goes on reading in all partitions of a topic together: messages read so far.
    pub async fn committed(&self, group: &str, topic: &str) -> anyhow::Result<i64> {
        let (topic, mut client) = (topic.to_owned(), self.client());
        client.set("group.id", group);
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = client.create()?;
            let partitions = all_partitions(&consumer, &topic)?;
            let told = consumer.committed_offsets(partitions, Duration::from_secs(10))?;
            let offsets = told.elements().into_iter().map(|e| match e.offset() {
                Offset::Offset(offset) => offset,
                _ => 0,
            });
            Ok(offsets.sum())
        })
        .await?
    }

    /// Writes messages, one after the other, and waits until they are there.
    pub async fn produce(&self, topic: &str, values: &[Vec<u8>]) -> anyhow::Result<()> {
        use rdkafka::producer::{FutureProducer, FutureRecord};
        let producer: FutureProducer = self.client().create()?;
        for value in values {
            let record = FutureRecord::<(), _>::to(topic).payload(value);
            let sent = producer.send(record, Duration::from_secs(30)).await;
            sent.map_err(|(fault, _)| fault)?;
        }
        Ok(())
    }
}

fn all_partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<TopicPartitionList> {
    let told = consumer.fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let mut list = TopicPartitionList::new();
    for partition in told.topics().iter().flat_map(|topic| topic.partitions()) {
        list.add_partition(topic, partition.id());
    }
    Ok(list)
}

fn read_all(mut client: ClientConfig, topic: &str) -> anyhow::Result<Vec<Record>> {
    client
        .set("group.id", "the test itself")
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = client.create()?;
    let mut records = Vec::new();
    for element in all_partitions(&consumer, topic)?.elements() {
        let partition = element.partition();
        let (first, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(10))?;
        if first == end {
            continue;
        }
        let mut one = TopicPartitionList::new();
        one.add_partition_offset(topic, partition, Offset::Beginning)?;
        consumer.assign(&one)?;
        loop {
            let message = consumer.poll(Duration::from_secs(20));
            let message = message.context("a message that is there does not come")??;
            records.push(Record {
                partition,
                key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
                value: message.payload().unwrap_or_default().to_vec(),
            });
            if message.offset() + 1 >= end {
                break;
            }
        }
    }
    Ok(records)
}

/// Waits until `done` says so, looking again and again.
pub async fn until<F: Future<Output = anyhow::Result<bool>>>(
    what: &str,
    patience: Duration,
    mut done: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let end = tokio::time::Instant::now() + patience;
    while !done().await? {
        anyhow::ensure!(
            tokio::time::Instant::now() < end,
            "waited {patience:?} in vain: {what}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// The lines of a file that the Collector's `file` exporter writes; none while it is not there.
pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(str::to_owned).collect()
}
