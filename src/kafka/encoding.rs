//! How requests stand in messages.

use serde::{Deserialize, Serialize};

/// How a request is written in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Encoding {
    /// Protobuf: the bytes go on as they are.
    #[default]
    #[serde(rename = "otlp_proto")]
    Proto,
    /// OTLP/JSON.
    #[serde(rename = "otlp_json")]
    Json,
}
