//! Serves the page of a shop that is only played, to look at it:
//! `cargo run -p integration-tests --example page -- 55679 300` (port, seconds already played).

use std::sync::Arc;
use std::time::Duration;

use doppelspan::admin::{Admin, AdminConfig};
use doppelspan::connector::Board;
use integration_tests::shop::Shop;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let port = arguments.first().map_or("55679", String::as_str);
    let played: u64 = arguments.get(1).map_or(Ok(300), |text| text.parse())?;
    let config = AdminConfig {
        endpoint: format!("localhost:{port}")
            .parse()
            .map_err(anyhow::Error::msg)?,
        ..AdminConfig::default()
    };
    let admin = Admin::bind(&config).await?;
    println!("http://{}/", config.endpoint);
    let board = Arc::new(Board::default());
    let mut shop = Shop::new(1);
    for _ in 0..played {
        shop.second(&board);
    }
    let boards = vec![("synthesizer".to_owned(), board.clone())];
    let stop = CancellationToken::new();
    let serve = tokio::spawn(admin.run(boards, stop.clone()));
    // 0 seconds played shows the empty page; it stays empty.
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            done = tokio::signal::ctrl_c() => {
                done?;
                break;
            }
            _ = seconds.tick() => if played > 0 { shop.second(&board) },
        }
    }
    stop.cancel();
    Ok(serve.await?)
}
