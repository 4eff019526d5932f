//! What flows between components: payloads, bounded queues, and the answers a sender gets.

mod queue;
mod refusal;

pub use queue::{Item, Permit, QueueReceiver, QueueSender, QueueSettings, Sizer, queue};
pub use refusal::Refusal;
