//! The doppelspan program; all of it is in the library.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    doppelspan::cli::alone();
    doppelspan::cli::main()
}
