//! What a test that lacks something on this machine does: it says so, and fails in CI.

use std::io::Write as _;
use std::path::PathBuf;

use crate::process::root;

/// What is there; or none, noted in `target/skipped` under the test's name, which `make test` prints
/// at its end. With `CI=true` its absence is a failure.
pub fn or_skipped(there: Option<PathBuf>, what: &str) -> anyhow::Result<Option<PathBuf>> {
    if there.is_none() {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        anyhow::ensure!(!ci, "missing: {what}");
        let program = std::env::current_exe()?;
        let file = program.file_stem().unwrap_or_default().to_string_lossy();
        let file = file.rsplit_once('-').map_or(&*file, |(name, _)| name);
        let thread = std::thread::current();
        let test = thread.name().unwrap_or("a test");
        let line = format!("  {file}: {test}: there is no {what}\n");
        eprint!("skipped:{line}");
        let folder = root().join("target");
        std::fs::create_dir_all(&folder)?;
        let list = folder.join("skipped");
        // One write, so that the lines of tests side by side don't mix.
        let mut list = std::fs::File::options()
            .create(true)
            .append(true)
            .open(list)?;
        list.write_all(line.as_bytes())?;
    }
    Ok(there)
}
