//! The page and its API over real sockets.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::connector::{ShownSpan, ShownTrace};

/// An admin on a free port with these synthesizers.
struct Served {
    address: SocketAddr,
    boards: Vec<Arc<Board>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    async fn new(ids: &[&str]) -> Self {
        let config = AdminConfig {
            endpoint: "127.0.0.1:0".parse().unwrap(),
            ..AdminConfig::default()
        };
        let admin = Admin::bind(&config).await.unwrap();
        let boards: Vec<_> = ids.iter().map(|_| Arc::new(Board::default())).collect();
        let named = ids.iter().map(|id| (*id).to_owned());
        let stop = CancellationToken::new();
        Self {
            address: admin.address(),
            task: tokio::spawn(admin.run(named.zip(boards.clone()).collect(), stop.clone())),
            boards,
            stop,
        }
    }

    async fn send(&self, request: &str) -> BufReader<TcpStream> {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        BufReader::new(socket)
    }

    /// Status and headers, and the body.
    async fn ask(&self, method: &str, path: &str, host: &str) -> (String, String) {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let mut answer = String::new();
        let mut socket = self.send(&request).await;
        socket.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    /// The answer begins with this status, and its body holds these words.
    async fn check(&self, request: &str, status: u16, words: &str) {
        let parts: Vec<&str> = request.split(' ').collect();
        let [method, path, host] = parts[..] else {
            panic!("`{request}` is not method, path, host");
        };
        let (head, body) = self.ask(method, path, host).await;
        assert!(
            head.starts_with(&format!("http/1.1 {status} ")),
            "{request}: {head}"
        );
        assert!(body.contains(words), "{request}: {body}");
        for name in [
            "content-security-policy: default-src 'none'",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
        ] {
            assert!(head.contains(name), "{request} lacks {name}: {head}");
        }
    }

    /// The next event of a stream that was asked for.
    async fn event(stream: &mut BufReader<TcpStream>) -> Option<serde_json::Value> {
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap() > 0 {
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).unwrap());
            }
            line.clear();
        }
        None
    }
}

const STREAM: &str = "GET /api/stream HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn trace(service: &str) -> ShownTrace {
    let span = ShownSpan {
        parent: None,
        service: service.into(),
        operation: "GET /".into(),
        kind: "server",
        error: false,
        start_ns: 0,
        duration_ns: 2_000_000,
    };
    ShownTrace {
        spans: vec![span],
        links: Vec::new(),
    }
}

#[tokio::test]
async fn the_page_and_all_that_it_loads_are_there() {
    let served = Served::new(&[]).await;
    served
        .check("GET / localhost", 200, "<!doctype html>")
        .await;
    let (_, html) = served.ask("GET", "/", "localhost").await;
    for file in page::FILES {
        let request = format!("GET {} localhost", file.path);
        served.check(&request, 200, "").await;
        let (_, text) = served.ask("GET", file.path, "localhost").await;
        for other in ["https://", "//cdn"] {
            assert!(!text.contains(other), "{} names {other}", file.path);
        }
    }
    for (at, _) in html.match_indices("=\"/") {
        let path = html[at + 2..].split('"').next().unwrap();
        served
            .check(&format!("GET {path} localhost"), 200, "")
            .await;
    }
}

#[tokio::test]
async fn strangers_unknown_paths_and_other_methods_are_told_so_in_words() {
    let served = Served::new(&["synthesizer"]).await;
    let own = format!("127.0.0.1:{}", served.address.port());
    served
        .check(&format!("GET /api/snapshot {own}"), 200, "")
        .await;
    served.check("GET /api/snapshot [::1]:80", 200, "").await;
    served
        .check(
            "GET /api/snapshot evil.example",
            403,
            "Open it as localhost",
        )
        .await;
    served
        .check("GET / localhost.evil.example:1", 403, "allowed_hosts")
        .await;
    served.check("GET / a/b", 403, "allowed_hosts").await;
    served
        .check("GET /metrics localhost", 404, "The page is at /")
        .await;
    served
        .check("POST /api/snapshot localhost", 405, "only GET and HEAD")
        .await;
    served
        .check(
            "GET /api/snapshot?synthesizer=x localhost",
            404,
            "No synthesizer has that id",
        )
        .await;
}

#[tokio::test]
async fn a_snapshot_shows_the_synthesizer_that_is_asked_for() {
    let served = Served::new(&["synthesizer", "synthesizer/shop"]).await;
    let board = &served.boards[1];
    board.observed.offer(Duration::ZERO, 1, || trace("cart"));
    let asked = "/api/snapshot?synthesizer=synthesizer%2Fshop";
    let (_, body) = served.ask("GET", asked, "localhost").await;
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(shown["synthesizers"][1], "synthesizer/shop");
    assert_eq!(shown["synthesizer"], "synthesizer/shop");
    let observed = &shown["board"]["observed"];
    assert_eq!(observed["traces"], 1);
    assert_eq!(observed["recent"][0]["number"], 1);
    let span = &observed["recent"][0]["trace"]["spans"][0];
    assert_eq!(
        (&span["service"], &span["kind"]),
        (&"cart".into(), &"server".into())
    );
    let (_, body) = served.ask("GET", "/api/snapshot", "localhost").await;
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        shown["board"]["observed"]["traces"], 0,
        "the first is another"
    );
}

#[tokio::test]
async fn without_a_synthesizer_the_snapshot_says_so() {
    let served = Served::new(&[]).await;
    let (_, body) = served.ask("GET", "/api/snapshot", "localhost").await;
    let shown: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(shown["synthesizer"].is_null() && shown["board"].is_null());
    assert_eq!(shown["synthesizers"], serde_json::json!([]));
}

#[tokio::test]
async fn the_stream_tells_the_present_figures() {
    let served = Served::new(&["synthesizer"]).await;
    let mut stream = served.send(STREAM).await;
    let first = Served::event(&mut stream).await.unwrap();
    assert_eq!(first["synthesizers"][0]["id"], "synthesizer");
    assert_eq!(first["synthesizers"][0]["observed"]["traces"], 0);
    served.boards[0]
        .observed
        .offer(Duration::ZERO, 1, || trace("cart"));
    let next = Served::event(&mut stream).await.unwrap();
    assert_eq!(next["synthesizers"][0]["observed"]["traces"], 1);
    assert!(next["uptime_seconds"].as_f64() > first["uptime_seconds"].as_f64());
}

#[tokio::test]
async fn one_stream_too_many_is_turned_away_and_a_closed_one_makes_room() {
    let served = Served::new(&["synthesizer"]).await;
    let mut open = Vec::new();
    for _ in 0..api::STREAMS {
        let mut stream = served.send(STREAM).await;
        Served::event(&mut stream).await.unwrap();
        open.push(stream);
    }
    served
        .check(
            "GET /api/stream localhost",
            503,
            "16 streams are open already",
        )
        .await;
    open.pop();
    let mut first = String::new();
    while !first.starts_with("HTTP/1.1 200") {
        first.clear();
        let mut stream = served.send(STREAM).await;
        stream.read_line(&mut first).await.unwrap();
    }
}

#[tokio::test]
async fn the_stop_ends_open_streams_and_does_not_wait_for_who_never_asks() {
    let served = Served::new(&["synthesizer"]).await;
    let mut stream = served.send(STREAM).await;
    Served::event(&mut stream).await.unwrap();
    let _silent = served.send("GET /api/stre").await;
    served.stop.cancel();
    let ended = tokio::time::timeout(PATIENCE * 10, async {
        while Served::event(&mut stream).await.is_some() {}
        served.task.await.unwrap();
    });
    ended.await.unwrap();
}
