//! Readings of `/metrics`.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// One reading: each series with its value.
#[derive(Debug, Clone, Default)]
pub struct Reading(Vec<Series>);

#[derive(Debug, Clone)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Reading {
    /// Reads `http://ADDRESS/metrics`.
    pub async fn of(address: &str) -> anyhow::Result<Self> {
        let mut socket = tokio::net::TcpStream::connect(address).await?;
        let request = format!("GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        socket.read_to_string(&mut text).await?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_default();
        anyhow::ensure!(head.contains(" 200 "), "{address}/metrics answers {head}");
        Ok(Self(body.lines().filter_map(series).collect()))
    }

    /// The sum of all series of this name that carry these labels; none if there is none.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let fits = |series: &&Series| {
            series.name == name
                && labels
                    .iter()
                    .all(|(key, value)| series.labels.get(*key).is_some_and(|v| v == value))
        };
        let mut found = self.0.iter().filter(fits).peekable();
        found.peek()?;
        Some(found.map(|series| series.value).sum())
    }

    /// As [`find`](Self::find), where nothing told yet is 0.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or(0.0)
    }

    /// A whole number of spans, as [`sum`](Self::sum).
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        self.sum(name, labels) as usize
    }
}

impl std::fmt::Display for Reading {
    /// A line for each series that is not 0.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for series in self.0.iter().filter(|series| series.value != 0.0) {
            writeln!(f, "{} {:?} {}", series.name, series.labels, series.value)?;
        }
        Ok(())
    }
}

fn series(line: &str) -> Option<Series> {
    let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    // Ids and reasons hold neither quotes nor commas.
    let labels = labels.trim_end_matches('}').split(',');
    let labels = labels.filter_map(|label| {
        let (key, value) = label.split_once('=')?;
        Some((key.to_owned(), value.trim_matches('"').to_owned()))
    });
    Some(Series {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().ok()?,
    })
}
