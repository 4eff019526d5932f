//! Who is answered, and the headers that every answer carries.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::{AdminConfig, plain};

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// The hosts by which a browser may know this page. Without this check a page of somebody else's,
/// whose name is made to point at this machine, could read what is shown here.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    names: Vec<String>,
    any_address: bool,
}

impl Hosts {
    pub(super) fn new(config: &AdminConfig) -> Self {
        let names = std::iter::once(config.endpoint.host())
            .chain(config.allowed_hosts.iter().map(String::as_str))
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        Self {
            names,
            // Rebinding needs a name: who wrote an address into the browser meant this machine.
            any_address: !config.endpoint.is_loopback(),
        }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        let known = |name: &String| name.eq_ignore_ascii_case(host);
        host.eq_ignore_ascii_case("localhost")
            || self.names.iter().any(known)
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| self.any_address || address.is_loopback())
    }
}

/// Turns strangers away, and puts the headers on every answer.
pub(super) async fn guard(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Response {
    let mut answer = match host(&request) {
        Some(host) if hosts.knows(&host) => next.run(request).await,
        Some(_) => plain(
            StatusCode::FORBIDDEN,
            "This page is not known by the name in your address bar. Open it as localhost, or add \
             the name to `allowed_hosts` of the admin extension.",
        ),
        None => plain(
            StatusCode::BAD_REQUEST,
            "The request names no host that could be read.",
        ),
    };
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// The host that the sender knows this page by, without its port.
fn host(request: &Request) -> Option<String> {
    // HTTP/2 has it in the request line, HTTP/1 in one header, and only one.
    if let Some(host) = request.uri().host() {
        return Some(host.to_owned());
    }
    let mut values = request.headers().get_all(header::HOST).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let authority: Authority = value.to_str().ok()?.parse().ok()?;
    Some(authority.host().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, known: &[&str], unknown: &[&str]) {
        let config: AdminConfig = serde_yaml_ng::from_str(yaml).unwrap();
        let hosts = Hosts::new(&config);
        for host in known {
            assert!(hosts.knows(host), "{host} should be known to {yaml}");
        }
        for host in unknown {
            assert!(!hosts.knows(host), "{host} should be strange to {yaml}");
        }
    }

    #[test]
    fn at_home_only_this_machine_is_known() {
        check(
            "{}",
            &["localhost", "LOCALHOST", "127.0.0.1", "127.0.0.2", "[::1]"],
            &[
                "evil.example",
                "localhost.evil.example",
                "10.0.0.5",
                "[::2]",
                "",
            ],
        );
    }

    #[test]
    fn an_open_page_is_known_by_addresses_and_written_names() {
        check(
            "{ endpoint: 0.0.0.0:1, insecure: true, allowed_hosts: [traces.example.org] }",
            &[
                "localhost",
                "10.0.0.5",
                "[2001:db8::1]",
                "traces.example.org",
            ],
            &["evil.example"],
        );
        check(
            "{ endpoint: box.example.org:1, insecure: true }",
            &["box.example.org", "10.0.0.5"],
            &["example.org"],
        );
    }
}
