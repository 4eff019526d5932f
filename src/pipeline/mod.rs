//! What flows between components: payloads, bounded queues, and the answers a sender gets.

mod intake;
mod outlet;
mod queue;
mod reactor;
mod refusal;

pub use intake::{Accepted, Intake, IntakeCounts};
pub use outlet::Outlet;
pub use queue::{Item, Permit, QueueReceiver, QueueSender, QueueSettings, Sizer, queue};
pub use reactor::off_reactor;
pub use refusal::Refusal;
