//! Addresses that a component listens at, and the rule about which of them need TLS.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use super::Faults;

/// An address to listen at: `localhost:4317`, `127.0.0.1:0`, `[::1]:4317`, `0.0.0.0:4317`, `:4317`.
///
/// Port 0 asks the operating system for a free one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    host: String,
    port: u16,
}

impl ListenAddress {
    /// `localhost` at `port`.
    pub fn localhost(port: u16) -> Self {
        Self {
            host: "localhost".to_owned(),
            port,
        }
    }

    /// Host name or address, without the brackets of IPv6; empty where only a port was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What to hand to `TcpListener::bind`: an empty host means every address of the machine.
    pub fn to_bind(&self) -> (&str, u16) {
        if self.host.is_empty() {
            ("::", self.port)
        } else {
            (&self.host, self.port)
        }
    }

    /// Whether nobody outside this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        match self.host.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// The security default: an address that others can reach wants TLS, or `insecure: true` in so
    /// many words. `tls` and `insecure` say what the component's config holds beside `endpoint`.
    pub fn check_exposure(&self, tls: bool, insecure: bool, faults: &mut Faults) {
        if !self.is_loopback() && !tls && !insecure {
            faults.push(
                "endpoint",
                format!(
                    "`{self}` can be reached from other machines and has no tls; \
                     give it `tls: {{cert_file: …, key_file: …}}`, listen at localhost:{}, \
                     or write `insecure: true` beside it if the network is trusted",
                    self.port
                ),
            );
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("`{text}` {why}; write host:port, such as localhost:4317");
        let (host, port) = text
            .trim()
            .rsplit_once(':')
            .ok_or_else(|| bad("has no port"))?;
        let port = port.parse().map_err(|_| {
            bad(&format!(
                "has the port `{port}`, which is not one from 0 to 65535"
            ))
        })?;
        if host.contains("//") || host.contains('/') {
            return Err(bad("is a URL, not an address to listen at"));
        }
        let bare = match host.strip_prefix('[') {
            Some(rest) => rest
                .strip_suffix(']')
                .ok_or_else(|| bad("has a [ without a ]"))?,
            None if host.contains(':') => return Err(bad("needs [ ] around its IPv6 address")),
            None => host,
        };
        Ok(Self {
            host: bare.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown = match text.parse::<ListenAddress>() {
            Ok(address) if address.is_loopback() => format!("{address} loopback"),
            Ok(address) => format!("{address} open"),
            Err(fault) => fault,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        check("localhost:4317", "localhost:4317 loopback");
        check("127.0.0.2:0", "127.0.0.2:0 loopback");
        check("[::1]:4317", "[::1]:4317 loopback");
        check("0.0.0.0:4317", "0.0.0.0:4317 open");
        check(":4317", ":4317 open");
        check("[::]:4317", "[::]:4317 open");
        check("example.org:1", "example.org:1 open");
    }

    #[test]
    fn what_is_no_address_is_told_what_would_be_one() {
        check(
            "localhost",
            "`localhost` has no port; write host:port, such as localhost:4317",
        );
        check(
            "localhost:99999",
            "`localhost:99999` has the port `99999`, which is not one from 0 to 65535; \
             write host:port, such as localhost:4317",
        );
        check(
            "http://localhost:1",
            "`http://localhost:1` is a URL, not an address to listen at; \
             write host:port, such as localhost:4317",
        );
        check(
            "::1:4317",
            "`::1:4317` needs [ ] around its IPv6 address; write host:port, such as localhost:4317",
        );
    }

    #[test]
    fn an_open_address_needs_tls_or_a_written_word() {
        let faults = |text: &str, tls, insecure| {
            let mut faults = Faults::default();
            let address: ListenAddress = text.parse().unwrap();
            address.check_exposure(tls, insecure, &mut faults);
            faults.into_vec().len()
        };
        assert_eq!(faults("localhost:1", false, false), 0);
        assert_eq!(faults("0.0.0.0:1", false, false), 1);
        assert_eq!(faults("0.0.0.0:1", true, false), 0);
        assert_eq!(faults("0.0.0.0:1", false, true), 0);
    }
}
