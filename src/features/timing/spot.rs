//! Where a span stands, and which modes are usual there.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

use super::step::{PhaseClass, WAITED};
use crate::features::{Place, Token};

/// Sibling indices that are told apart: first, second, later.
pub(super) const INDICES: u32 = 2;

/// In place of a token: no matter which.
pub(super) const ANY: u32 = u32::MAX;

/// Added to the token of a span that has failed: what fails takes another time.
const FAILED: u32 = 1 << 31;

/// In place of a token: there is no such span.
pub(super) const NONE: u32 = u32::MAX - 1;

/// Spans that the mode shares of a spot need; with fewer, those of a wider one are used.
const SPOT_SPANS: u32 = 30;

/// How many spans the shares of a wider spot count for in those of a narrower one.
const WIDER: f32 = 2.0;

/// Whose modes: (token, parent token, first child's token, sibling index, whether a sibling
/// follows, how far its service is into the period of its long waits).
pub(super) type Spot = (u32, u32, u32, u32, bool, PhaseClass);

/// Spots that stand in for one, and itself.
const LEVELS: usize = 5;

/// Shares of the start modes, then of the end modes.
pub(super) type ModeShares = [f32; MODES];

pub(super) const MODES: usize = super::START_MODES + super::END_MODES;

/// Shares where nothing was counted.
static EVEN: ModeShares = {
    let mut shares = [1.0 / super::END_MODES as f32; MODES];
    let mut at = 0;
    while at < super::START_MODES {
        shares[at] = 1.0 / super::START_MODES as f32;
        at += 1;
    }
    shares
};

/// A spot and the wider ones that stand in for it, the narrowest first.
pub(super) fn wider((token, parent, child, index, followed, phase): Spot) -> [Spot; LEVELS] {
    let leaf = if child == NONE { NONE } else { ANY };
    let waited = if phase == 0 { 0 } else { WAITED };
    [
        (token, parent, child, index, followed, phase),
        (token, parent, child, index, followed, waited),
        (token, parent, leaf, index, followed, waited),
        (token, ANY, leaf, index, followed, waited),
        (ANY, ANY, leaf, index, followed, waited),
    ]
}

/// The shares of a spot, or of the next that stands in for it. Where too few of its kind have failed, those stand
/// in that have not.
pub(super) fn known(shares: &HashMap<Spot, ModeShares, FixedState>, spot: Spot) -> &ModeShares {
    let find = |spots: &[Spot]| spots.iter().find_map(|spot| shares.get(spot));
    let found = match not_failed(spot.0) {
        None => find(&wider(spot)),
        Some(token) => {
            let plain = (token, spot.1, spot.2, spot.3, spot.4, spot.5);
            find(&wider(spot)[..LEVELS - 1]).or_else(|| find(&wider(plain)))
        }
    };
    found.unwrap_or(&EVEN)
}

/// Shares of modes, each spot's smoothed by those of the next wider one.
pub(super) fn shares(
    counts: &BTreeMap<Spot, [u32; MODES]>,
) -> HashMap<Spot, ModeShares, FixedState> {
    let mut levels: [BTreeMap<Spot, [u32; MODES]>; LEVELS] = Default::default();
    for (&spot, counts) in counts {
        let spots = wider(spot);
        for (at, level) in levels.iter_mut().enumerate() {
            // A spot that is its own wider one is counted once a level: all have the same counts.
            let sums = level.entry(spots[at]).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
    let mut shares: HashMap<Spot, ModeShares, FixedState> = HashMap::default();
    for (at, level) in levels.iter().enumerate().rev() {
        for (&spot, counts) in level {
            let spans: u32 = counts[..super::START_MODES].iter().sum();
            if at < LEVELS - 1 && spans < SPOT_SPANS {
                continue;
            }
            let spots = wider(spot);
            let wide = spots[at + 1..].iter().find_map(|spot| shares.get(spot));
            let wide = *wide.unwrap_or(&EVEN);
            let mut own = [0.0; MODES];
            for ((own, count), wide) in own.iter_mut().zip(counts).zip(wide) {
                *own = (*count as f32 + WIDER * wide) / (spans as f32 + WIDER);
            }
            shares.insert(spot, own);
        }
    }
    shares
}

/// The token of a span, told apart if it has failed.
pub(super) fn own_token(place: &Place, tokens: &[Token], at: usize) -> u32 {
    tokens[at].0 | if place.failed { FAILED } else { 0 }
}

/// The same token of one that has not failed, if that is another.
pub(super) fn not_failed(token: u32) -> Option<u32> {
    (token < NONE && token & FAILED != 0).then_some(token & !FAILED)
}

pub(super) fn of(place: &Place, tokens: &[Token], at: usize, phase: PhaseClass) -> Spot {
    (
        own_token(place, tokens, at),
        parent_token(place, tokens),
        child_token(place, tokens, at),
        place.index.min(INDICES),
        place.next.is_some(),
        phase,
    )
}

pub(super) fn parent_token(place: &Place, tokens: &[Token]) -> u32 {
    place
        .parent
        .map_or(NONE, |parent| tokens[parent as usize].0)
}

/// The first child stands right behind its parent.
pub(super) fn child_token(place: &Place, tokens: &[Token], at: usize) -> u32 {
    let child = tokens.get(at + 1).filter(|_| place.children > 0);
    child.map_or(NONE, |token| token.0)
}
