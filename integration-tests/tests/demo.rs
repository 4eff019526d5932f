//! `doppelspan demo` as a user runs it, for a few seconds: it ends by itself, and loses nothing.

use integration_tests::process;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_ends_by_itself_and_every_span_that_was_sent_has_arrived() -> anyhow::Result<()> {
    let arguments = ["demo", "--page", "none", "--seconds", "4", "--rate", "30"];
    let ended = process::run(&arguments).await?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    let faults = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}\n{faults}");
    // The demo's own exit code says whether as many spans arrived as were sent, and which.
    let summary = said.lines().last().unwrap_or_default();
    assert!(summary.contains("observed traces sent"), "{said}");
    assert!(!summary.contains(" 0 observed traces sent"), "{said}");
    assert!(
        said.lines().any(|line| line.trim().starts_with("3 s: ")),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_no_address_is_a_fault_of_the_command_line() -> anyhow::Result<()> {
    let ended = process::run(&["demo", "--page", "nowhere"]).await?;
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.starts_with("--page: `nowhere` has no port"), "{said}");
    Ok(())
}
