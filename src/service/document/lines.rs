//! Where each key of a YAML text stands, so that a fault can name its line.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser};

/// Key paths, joined by dots, and the file and line they stand at.
#[derive(Debug, Default)]
pub(super) struct Lines(HashMap<String, String>);

enum Frame {
    Mapping(Option<String>),
    Sequence(usize),
}

impl Lines {
    /// Notes the keys of a text; keys of later texts take the place of earlier ones.
    pub(super) fn note(&mut self, name: &str, text: &str) {
        let mut stack: Vec<Frame> = Vec::new();
        for event in Parser::new_from_str(text) {
            // A text that can't be parsed has its fault told by the one who reads its values.
            let Ok((event, span)) = event else { return };
            match event {
                Event::Scalar(key, ..) => {
                    if let Some(Frame::Mapping(pending @ None)) = stack.last_mut() {
                        *pending = Some(key.to_string());
                        let place = format!("{name}, line {}", span.start.line());
                        self.0.insert(path(&stack), place);
                    } else {
                        value_ends(&mut stack);
                    }
                }
                Event::Alias(..) => value_ends(&mut stack),
                Event::MappingStart(..) => stack.push(Frame::Mapping(None)),
                Event::SequenceStart(..) => stack.push(Frame::Sequence(0)),
                Event::MappingEnd | Event::SequenceEnd => {
                    stack.pop();
                    value_ends(&mut stack);
                }
                _ => {}
            }
        }
    }

    /// The place of a path, or of the nearest part above it that was written.
    pub(super) fn place(&self, path: &str) -> Option<String> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place.clone());
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

fn path(stack: &[Frame]) -> String {
    let parts: Vec<String> = stack
        .iter()
        .filter_map(|frame| match frame {
            Frame::Mapping(key) => key.clone(),
            Frame::Sequence(at) => Some(at.to_string()),
        })
        .collect();
    parts.join(".")
}

fn value_ends(stack: &mut [Frame]) {
    match stack.last_mut() {
        Some(Frame::Mapping(key)) => *key = None,
        Some(Frame::Sequence(at)) => *at += 1,
        None => {}
    }
}
