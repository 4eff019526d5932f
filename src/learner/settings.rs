//! How a learner learns.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::VaeSettings;

/// Settings of a [`super::Learner`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerSettings {
    /// Distinct traces that a label needs before it can stand in a synthetic trace.
    pub min_traces: u32,
    /// Labels of the vocabulary, at most.
    pub max_tokens: usize,
    /// Traces kept for replay, at most.
    pub replay: usize,
    /// How much the mix of requests lately counts next to the mix ever, from 0 to 1: 0 where the
    /// input is a file whose traces count alike, whenever they came.
    pub recent: f64,
    /// How often a trace is learnt from, on average: with more, the VAE learns few traces by heart.
    pub passes: u32,
    /// Share of the traces that are held out from training, for scoring.
    pub held_out_share: f64,
    /// Held-out traces kept, at most; the newest stay.
    pub held_out: usize,
    /// Traces of an optimiser step whose structure and times are learnt.
    pub batch: usize,
    /// Further traces of a step whose structure is learnt: equal ones cost as much as one.
    pub structures: usize,
    /// Contexts of the grammar, at most.
    pub max_contexts: usize,
    /// Spans of a trace that is learnt, and of one that is drawn, at most.
    pub max_spans: usize,
    /// Whether drawn traces are told from observed ones, and fewer of those kept that are.
    pub discriminator: bool,
    /// Spans drawn to learn that from, at most: the learner does nothing else until it has, 25
    /// to 60 us a span. Half as many are drawn, and only looked at, for each newer VAE that serves.
    pub spans_told_apart: usize,
    /// The VAE; none leaves the grammar to serve for good.
    pub vae: Option<VaeSettings>,
}

impl Default for LearnerSettings {
    fn default() -> Self {
        Self {
            min_traces: 20,
            max_tokens: 4_096,
            replay: 4_096,
            recent: 0.5,
            passes: 20,
            held_out_share: 0.1,
            held_out: 400,
            batch: 16,
            structures: 80,
            max_contexts: 400_000,
            max_spans: 2_000,
            discriminator: true,
            spans_told_apart: 200_000,
            vae: Some(VaeSettings::default()),
        }
    }
}

impl LearnerSettings {
    /// A key and its value, which is a number, true or false, of `KEY=VALUE`.
    pub fn pair(text: &str) -> Result<(String, Value), String> {
        let (key, value) = text.split_once('=').ok_or("it has no `=`")?;
        let value = serde_json::from_str(value).map_err(|fault| fault.to_string())?;
        Ok((key.to_owned(), value))
    }

    /// These with others set: keys as `passes` or, of the model, `vae.codes`. Says which key is none, or
    /// what is wrong with a value.
    pub fn with(self, set: &[(String, Value)]) -> Result<Self, String> {
        let mut all = serde_json::to_value(self).map_err(|fault| fault.to_string())?;
        for (key, value) in set {
            let pointer = format!("/{}", key.replace('.', "/"));
            let setting = all.pointer_mut(&pointer);
            *setting.ok_or_else(|| format!("there is no setting {key}"))? = value.clone();
        }
        let settings: Self = serde_json::from_value(all).map_err(|fault| fault.to_string())?;
        let fault = settings.vae.as_ref().and_then(VaeSettings::fault);
        fault.map_or(Ok(settings), |fault| Err(fault.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_set_by_its_key_and_a_wrong_one_is_named() {
        let with =
            |key: &str, value: Value| LearnerSettings::default().with(&[(key.to_owned(), value)]);
        assert_eq!(with("passes", 3.into()).unwrap().passes, 3);
        let vae = with("vae.codes", 0.into()).unwrap().vae.unwrap();
        assert_eq!(vae.codes, 0);
        let fault = |key, value| with(key, value).unwrap_err();
        assert_eq!(fault("vae.code", 0.into()), "there is no setting vae.code");
        assert!(fault("passes", "many".into()).contains("invalid type"));
        assert!(fault("vae.plan", 3.into()).contains("multiples of 16"));
    }
}
