//! Completions and man pages are there for every command, and shells and troff take them.

use std::io::Write as _;
use std::process::{Command, Stdio};

use integration_tests::process;

async fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let output = process::run(arguments).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The commands that `--help` lists.
async fn commands() -> anyhow::Result<Vec<String>> {
    let help = run(&["--help"]).await?;
    let listed = help.split("Commands:").nth(1).unwrap_or_default();
    let lines = listed
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("  "));
    // A line that goes on with a description is set in further.
    let lines = lines.filter(|line| !line.starts_with("   "));
    let names = lines.filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect();
    assert!(
        names.contains(&"replay".to_owned()) && names.len() > 10,
        "{help}"
    );
    Ok(names)
}

#[tokio::test]
async fn completions_know_every_command_and_bash_reads_them() -> anyhow::Result<()> {
    let commands = commands().await?;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]).await?;
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("otlp-endpoint"), "{shell}");
        if shell == "bash" {
            let mut bash = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .spawn()?;
            bash.stdin.take().unwrap().write_all(script.as_bytes())?;
            assert!(bash.wait()?.success());
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_command_has_a_man_page_that_names_its_options() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("man1");
    let said = run(&["man", "--output", &output.to_string_lossy()]).await?;
    let commands = commands().await?;
    assert!(
        said.contains(&format!("wrote {} pages", commands.len() + 1)),
        "{said}"
    );
    for command in commands {
        let page = std::fs::read_to_string(output.join(format!("doppelspan-{command}.1")))?;
        assert!(page.contains(".TH") && page.contains(&command), "{command}");
    }
    let replay = std::fs::read_to_string(output.join("doppelspan-replay.1"))?;
    assert!(replay.contains("rewrite\\-ids"), "{replay}");
    Ok(())
}
