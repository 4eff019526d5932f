//! Keeps long work off the threads that serve sockets.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Does work that takes long where no other connection waits for it: a worker thread that begins
/// it hands its other tasks over first. A runtime of a single thread has nobody to hand them to
/// and simply does the work, as does a thread outside any runtime.
pub fn off_reactor<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
