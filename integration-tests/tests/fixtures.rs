//! The fixtures are what their README's commands make: each is run again and compared.

use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use integration_tests::process;

/// The files of `fixtures/` and the arguments that make each, as its README's table has them.
fn rows(readme: &str) -> Vec<(String, Vec<String>)> {
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut code = row.split('`').skip(1).step_by(2);
        let file = code.next().unwrap().to_owned();
        let command = code.find(|code| code.starts_with("doppelspan ")).unwrap();
        let arguments = command.split_whitespace().skip(1).map(str::to_owned);
        (file, arguments.collect())
    })
    .collect()
}

/// What is in a file behind its compression, which another version of a library may pack
/// differently.
fn content(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let mut content = Vec::new();
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut content)?,
        Some("zst") => zstd::stream::read::Decoder::new(&*bytes)?.read_to_end(&mut content)?,
        _ => return Ok(bytes),
    };
    Ok(content)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fixture_is_what_the_command_beside_it_makes() -> anyhow::Result<()> {
    let fixtures = process::root().join("fixtures");
    let rows = rows(&std::fs::read_to_string(fixtures.join("README.md"))?);
    let mut there: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&fixtures)? {
        there.push(entry?.file_name().to_string_lossy().into_owned());
    }
    there.retain(|name| name != "README.md");
    there.sort();
    let mut told: Vec<_> = rows.iter().map(|(file, _)| file.clone()).collect();
    told.sort();
    assert_eq!(there, told, "every file has a row, and every row a file");
    let folder = tempfile::tempdir()?;
    for (file, mut arguments) in rows {
        let made = folder.path().join(&file);
        let output = arguments.last_mut().context("a command has arguments")?;
        assert_eq!(*output, format!("fixtures/{file}"));
        *output = made.to_string_lossy().into_owned();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = process::run(&arguments).await?;
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{file}: {said}");
        let same = content(&made)? == content(&fixtures.join(&file))?;
        assert!(
            same,
            "{file} is not what its command makes; `make fixtures`"
        );
    }
    Ok(())
}
