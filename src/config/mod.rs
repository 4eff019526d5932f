//! Building blocks of configs: ids, periods, faults.

mod fault;
mod id;

pub use fault::{Fault, Faults};
pub use id::ComponentId;
