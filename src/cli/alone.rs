//! One core for learning, whatever candle would take.

/// What candle and rayon read their number of threads from.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Starts the program anew in this process with one thread for tensor operations, unless the
/// environment says how many there are to be. To be called first thing.
///
/// candle keeps a pool of threads, one per core, that spin while they wait for one another at
/// every operation on a large tensor: on two cores a step of training took twice the CPU time of
/// the same step on one, and held up the observed path. Nothing but the environment sets the
/// pool's size, and only before it is first used; and a program can't safely change its own.
pub fn alone() {
    #[cfg(unix)]
    if std::env::var_os(THREADS).is_none() {
        use std::os::unix::process::CommandExt as _;
        let Ok(program) = std::env::current_exe() else {
            return;
        };
        let mut arguments = std::env::args_os();
        let mut again = std::process::Command::new(program);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        // Comes back only if it can't be done; then training costs more, and all else is the same.
        let _refused = again.args(arguments).env(THREADS, "1").exec();
    }
}
