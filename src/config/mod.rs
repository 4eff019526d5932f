//! Building blocks of configs: ids, periods, addresses, TLS, faults.

mod fault;
mod id;
#[cfg(test)]
pub(crate) mod key_table;
mod listen;
mod period;
mod present;
pub mod tls;

pub use fault::{Fault, Faults};
pub use id::ComponentId;
pub use listen::ListenAddress;
pub use period::Period;
pub use present::Present;
pub use tls::{ClientTls, ServerTls};
