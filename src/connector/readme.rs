//! The key table of the README says what the config says.

use super::SynthesizerConfig;
use crate::config::key_table;

#[test]
fn the_key_table_is_the_config() {
    key_table::check(
        include_str!("README.md"),
        &SynthesizerConfig::default(),
        |_| false,
    );
}
