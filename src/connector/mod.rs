//! The synthesizer connector: an exporter of the observed pipeline, a receiver of the synthetic one.

mod board;

pub use board::{
    Board, BoardSnapshot, DURATION_BINS, Flow, Pulse, Recent, ServingSince, ShownEdge,
    ShownOperation, ShownSide, ShownSpan, ShownTrace, Side,
};
