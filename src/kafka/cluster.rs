//! Addresses, TLS and names as the settings of a librdkafka client.

use rdkafka::ClientConfig;

use super::Auth;
use crate::config::tls::MinVersion;
use crate::config::{ClientTls, Faults, Present};

/// How a cluster is reached: the parts of a config that say so.
#[derive(Debug, Clone, Copy)]
pub struct Cluster<'a> {
    /// `host:port` of some of its brokers; they name the others.
    pub brokers: &'a [String],
    /// What brokers call this client in their logs and quotas.
    pub client_id: &'a str,
    /// TLS; plain text unless it is on.
    pub tls: &'a Present<ClientTls>,
    /// Name and password.
    pub auth: &'a Auth,
}

impl Cluster<'_> {
    /// What serde can't say.
    pub fn check(&self, faults: &mut Faults) {
        if self.brokers.is_empty() {
            faults.push(
                "brokers",
                "names no broker; write `[\"localhost:9092\"]`, say",
            );
        }
        for broker in self.brokers {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) || broker.contains([',', '/', ' ']) {
                faults.push(
                    "brokers",
                    format!("`{broker}` is no `host:port`; write localhost:9092, say"),
                );
            }
        }
        if let Some(tls) = self.tls.as_ref() {
            faults.below("tls", |faults| {
                tls.check(faults);
                if tls.server_name_override.is_some() {
                    faults.push(
                        "server_name_override",
                        "is not built for Kafka: a broker's certificate must hold the name that \
                         the broker advertises",
                    );
                }
                if tls.min_version != MinVersion::default() {
                    faults.push(
                        "min_version",
                        "is not built for Kafka: the oldest version is that of the system's OpenSSL",
                    );
                }
            });
        }
        faults.below("auth", |faults| self.auth.check(faults));
    }

    /// The settings of a client, for its kind to add to.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", self.client_id)
            // A broker that restarts is found again within a second, not within ten.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("log.connection.close", "false");
        let tls = self.tls.as_ref().filter(|tls| !tls.insecure);
        let told = self.auth.told();
        client.set(
            "security.protocol",
            match (tls, told) {
                (None, None) => "plaintext",
                (Some(_), None) => "ssl",
                (None, Some(_)) => "sasl_plaintext",
                (Some(_), Some(_)) => "sasl_ssl",
            },
        );
        if let Some((username, password, mechanism)) = told {
            client
                .set("sasl.mechanism", mechanism.name())
                .set("sasl.username", username)
                .set("sasl.password", password);
        }
        if let Some(tls) = tls {
            for (key, file) in [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.cert_file),
                ("ssl.key.location", &tls.key_file),
            ] {
                if let Some(file) = file {
                    client.set(key, file);
                }
            }
            if tls.insecure_skip_verify {
                client
                    .set("enable.ssl.certificate.verification", "false")
                    .set("ssl.endpoint.identification.algorithm", "none");
            }
        }
        client
    }
}

/// Checks `protocol_version`: client and broker agree on versions by themselves, so that it only
/// must be one that has what traces need (headers and idempotence came with 0.11).
pub fn check_version(version: &str, faults: &mut Faults) {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let told = match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if numbers.all(|number| number.is_ok()) => {
            (major, minor) >= (0, 11)
        }
        _ => false,
    };
    if !told {
        faults.push(
            "protocol_version",
            format!("must be a version from 0.11.0 on, as 2.1.0, got `{version}`"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(yaml: &str) -> Auth {
        serde_yaml_ng::from_str(yaml).unwrap()
    }

    fn check(tls: &str, auth_yaml: &str, expected: &str) {
        let tls: Present<ClientTls> = match tls {
            "" => Present(None),
            yaml => Present(Some(serde_yaml_ng::from_str(yaml).unwrap())),
        };
        let cluster = Cluster {
            brokers: &["a:1".to_owned(), "b:2".to_owned()],
            client_id: "x",
            tls: &tls,
            auth: &auth(auth_yaml),
        };
        let client = cluster.client();
        let told = |key| client.get(key).unwrap_or("-");
        let shown = format!(
            "{} {} {} {} {}",
            told("bootstrap.servers"),
            told("security.protocol"),
            told("sasl.mechanism"),
            told("sasl.username"),
            told("ssl.ca.location")
        );
        assert_eq!(shown, expected);
        // What librdkafka does not know, or was built without, is a fault here and not at a start.
        client.create_native_config().unwrap();
    }

    #[test]
    fn tls_and_names_make_the_protocol() {
        check("", "{}", "a:1,b:2 plaintext - - -");
        check("{insecure: true}", "{}", "a:1,b:2 plaintext - - -");
        check("{ca_file: ca.pem}", "{}", "a:1,b:2 ssl - - ca.pem");
        check("{insecure_skip_verify: true}", "{}", "a:1,b:2 ssl - - -");
        let plain = "{sasl: {username: u, password: p, mechanism: PLAIN}}";
        check("", plain, "a:1,b:2 sasl_plaintext PLAIN u -");
        check("{}", plain, "a:1,b:2 sasl_ssl PLAIN u -");
        let old = "{plain_text: {username: u, password: p}}";
        check("", old, "a:1,b:2 sasl_plaintext PLAIN u -");
        let scram = "{sasl: {username: u, password: p, mechanism: SCRAM-SHA-512}}";
        check("", scram, "a:1,b:2 sasl_plaintext SCRAM-SHA-512 u -");
    }

    #[test]
    fn every_fault_names_its_key_and_a_password_is_never_shown() {
        let auth = auth("{sasl: {username: u, version: 2}, plain_text: {password: secret}}");
        assert!(!format!("{auth:?}").contains("secret"));
        let tls = serde_yaml_ng::from_str("{server_name_override: x, min_version: '1.3'}").unwrap();
        let cluster = Cluster {
            brokers: &["localhost".to_owned(), "http://a:1".to_owned()],
            client_id: "x",
            tls: &Present(Some(tls)),
            auth: &auth,
        };
        let mut faults = Faults::default();
        cluster.check(&mut faults);
        check_version("2", &mut faults);
        check_version("0.10.2", &mut faults);
        check_version("3.9.0", &mut faults);
        let paths: Vec<_> = faults.into_vec().into_iter().map(|f| f.path).collect();
        assert_eq!(
            paths,
            [
                "brokers",
                "brokers",
                "tls.server_name_override",
                "tls.min_version",
                "auth.sasl.password",
                "auth.sasl.mechanism",
                "auth.sasl.version",
                "auth.plain_text.username",
                "auth.plain_text",
                "protocol_version",
                "protocol_version",
            ]
        );
    }
}
