//! Texts of the observed system, known by their symbols.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::trace::Symbol;

/// A bounded table of observed texts. Shared by the taps (which add) and the learner (which reads).
#[derive(Debug, Default)]
pub struct Interner {
    texts: Mutex<HashMap<u64, Arc<str>>>,
}

impl Interner {
    /// The symbol of a text, which is remembered.
    pub fn symbol(&self, text: &str) -> Symbol {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry(hash).or_insert_with(|| text.into());
        Symbol(hash)
    }

    /// The text of a symbol, if it is still remembered.
    pub fn text(&self, symbol: Symbol) -> Option<Arc<str>> {
        let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
        texts.get(&symbol.0).cloned()
    }
}
