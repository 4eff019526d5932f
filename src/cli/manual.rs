//! `doppelspan completions` and `doppelspan man`

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::say;

/// Print what a shell needs to complete commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  doppelspan completions bash > ~/.local/share/bash-completion/completions/doppelspan
  doppelspan completions zsh  > \"${fpath[1]}/_doppelspan\"
  doppelspan completions fish > ~/.config/fish/completions/doppelspan.fish")]
pub(super) struct Completions {
    /// Whose
    shell: clap_complete::Shell,
}

pub(super) fn complete(arguments: &Completions) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    let mut command = super::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "doppelspan", &mut script);
    say(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// Write the man pages
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The folder that they go to, a page a command; it is made if it is not there
    #[arg(long, value_name = "FOLDER")]
    output: PathBuf,
}

pub(super) fn man(arguments: &Man) -> anyhow::Result<ExitCode> {
    let folder = &arguments.output;
    let failed = || format!("can't write to {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(super::Arguments::command(), folder).with_context(failed)?;
    let pages = std::fs::read_dir(folder).with_context(failed)?.count();
    say(&format!("wrote {pages} pages to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
