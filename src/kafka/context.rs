//! What a client says of its connections: one log line when a cluster can't be reached and one
//! when it can be again; all else is for debugging.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Hears what a client says. Clones hear the same.
#[derive(Debug, Clone)]
pub struct Context {
    component: Arc<str>,
    /// What is wrong with the connection, as long as something is.
    trouble: Arc<Mutex<Option<String>>>,
}

impl Context {
    /// Of a component, as `receivers.kafka`.
    pub fn new(component: &str) -> Self {
        Self {
            component: component.into(),
            trouble: Arc::default(),
        }
    }

    /// Something came from the cluster: it can be reached.
    pub fn reached(&self) {
        if self.lock().take().is_some() {
            tracing::info!(
                component = &*self.component,
                "the Kafka cluster is reached again"
            );
        }
    }

    /// What is wrong with the connection, if something is.
    pub fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(component = &*self.component, ?level, facility, "{message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let news = self.lock().replace(reason.to_owned()).is_none();
        if news {
            tracing::warn!(
                component = &*self.component,
                %error,
                reason,
                "can't reach the Kafka cluster; it is tried until it answers"
            );
        }
    }
}

impl ConsumerContext for Context {}
