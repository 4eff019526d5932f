//! What a time is measured from.

/// Number of [`StartMode`]s.
pub const START_MODES: usize = StartMode::ALL.len();

/// Number of [`EndMode`]s.
pub const END_MODES: usize = EndMode::ALL.len();

/// Distances on the axes of keys are below this: 36 years.
const FAR: i64 = 1 << 60;

/// How a span's start hangs on what lies before it.
///
/// The frontier of a parent is the latest of its own start, the ends of its closed children and
/// the starts of its open ones, and its own end if it is over before its first child starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StartMode {
    /// At or after the frontier of its parent.
    Gap = 0,
    /// Before the frontier: at or after the previous sibling's start.
    Overlap = 1,
    /// Before its parent's start. For a first child only.
    Before = 2,
    /// At or after the frontier, in step with its service's last long wait (decision 10).
    InStep = 3,
    /// So long that from its end to its caller's there is the distance, less a tick of its clock. Of the only
    /// child of a call, see [`EndMode::AfterCallee`].
    BeforeCallersEnd = 4,
}

/// How a span's end hangs on what is known once its subtree, or all its siblings, are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EndMode {
    /// After its own start: of a leaf, and of a span that is over before its first child starts.
    Duration = 0,
    /// At or after the latest end of its children.
    AfterChildren = 1,
    /// Before the latest end of its children.
    BeforeChildren = 2,
    /// At or after the start of its last child.
    AfterLastStart = 3,
    /// Before the start of its last child.
    BeforeLastStart = 4,
    /// Open: at or after the latest end of its later siblings.
    AfterLater = 5,
    /// Open: before the latest end of its later siblings.
    BeforeLater = 6,
    /// Open: at or after the start of its next sibling.
    AfterNext = 7,
    /// Open: before the start of its next sibling.
    BeforeNext = 8,
    /// Deferred: at or after its parent's end. For a leaf.
    AfterParent = 9,
    /// Deferred: before its parent's end. For a leaf.
    BeforeParent = 10,
    /// After its own start, in step with its service's last long wait. For a leaf.
    InStep = 11,
    /// After the latest end of its children, in step with its service's last long wait.
    ChildrenInStep = 12,
    /// After its own start, by the duration of its only child and so much more: of a call to what is timed by
    /// a clock with coarse ticks (decision 14).
    AfterCallee = 13,
}

impl StartMode {
    /// Every mode, in the order of its number.
    pub const ALL: [Self; 5] = [
        Self::Gap,
        Self::Overlap,
        Self::Before,
        Self::InStep,
        Self::BeforeCallersEnd,
    ];

    /// Reads a code's number; a number that is no mode reads as `Gap`.
    pub fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Gap)
    }

    /// Where a start stands on one axis of all starts, the earliest first: before the parent's, then
    /// overlapping, then behind the frontier, then told from the end.
    pub(super) fn key(self, distance: u64) -> i64 {
        let distance = distance.min(FAR as u64 - 1) as i64;
        match self {
            Self::Before => -FAR - 1 - distance,
            Self::Overlap => distance - FAR,
            Self::Gap | Self::InStep => distance,
            // The nearer to the end the later.
            Self::BeforeCallersEnd => 2 * FAR - distance,
        }
    }

    /// How early a start is among all starts of its context, from the shares of the modes and its
    /// level within its own: whatever lies before the frontier is earlier than a gap behind it.
    pub(super) fn level(self, shares: &[f32; START_MODES], level: f32) -> f32 {
        let [gap, overlap, before, in_step, late] = *shares;
        let all = gap + overlap + before + in_step + late;
        match self {
            Self::Before => before * (1.0 - level) / all,
            Self::Overlap => (before + overlap * level) / all,
            Self::Gap => (before + overlap + gap * level) / all,
            Self::InStep => (before + overlap + gap + in_step * level) / all,
            Self::BeforeCallersEnd => 1.0 - late * level / all,
        }
    }

    /// Whether the mode says something for a span with so many siblings before it, a long wait of its
    /// service before it or none, and a caller whose end hangs on how long it takes.
    pub fn fits(self, index: u32, in_step: bool, called: bool) -> bool {
        match self {
            Self::BeforeCallersEnd => called,
            Self::Gap => true,
            Self::InStep => in_step,
            Self::Overlap => index > 0,
            Self::Before => index == 0,
        }
    }
}

/// A key on a scale where distances have logarithms.
pub(super) fn position(key: i64) -> f64 {
    match key {
        FAR.. => 200.0 - ((2 * FAR - key) as f64).ln_1p(),
        0.. => (key as f64).ln_1p(),
        _ if key < -FAR => -200.0 - ((-FAR - key) as f64).ln(),
        _ if key < -FAR / 2 => -100.0 + ((key + FAR) as f64).ln_1p(),
        _ => -(-key as f64).ln(),
    }
}

impl EndMode {
    /// Every mode, in the order of its number.
    pub const ALL: [Self; 14] = [
        Self::Duration,
        Self::AfterChildren,
        Self::BeforeChildren,
        Self::AfterLastStart,
        Self::BeforeLastStart,
        Self::AfterLater,
        Self::BeforeLater,
        Self::AfterNext,
        Self::BeforeNext,
        Self::AfterParent,
        Self::BeforeParent,
        Self::InStep,
        Self::ChildrenInStep,
        Self::AfterCallee,
    ];

    /// Reads a code's number; a number that is no mode reads as `Duration`.
    pub fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Duration)
    }

    /// Where an end stands on one axis of all ends, whatever they hang on: before is earlier than after.
    pub(super) fn key(self, distance: u64) -> i64 {
        let distance = distance.min(FAR as u64 - 1) as i64;
        match self.is_after() {
            true => distance,
            false => -1 - distance,
        }
    }

    /// Whether the end lies behind what it hangs on.
    fn is_after(self) -> bool {
        match self {
            Self::Duration | Self::InStep | Self::ChildrenInStep | Self::AfterCallee => true,
            // After and before stand side by side.
            _ => self as usize % 2 == 1,
        }
    }

    /// How late an end is among all ends of its context that hang on the same, from the shares of
    /// the modes and its level within its own: before is earlier than after.
    pub(super) fn level(self, shares: &[f32; END_MODES], level: f32) -> f32 {
        // What comes before it, and itself, among all that hang on the same.
        let share = |mode: Self| shares[mode as usize];
        let (below, own, all) = match self {
            Self::Duration | Self::InStep => {
                let [plain, in_step] = [Self::Duration, Self::InStep].map(share);
                match self {
                    Self::Duration => (0.0, plain, plain + in_step),
                    _ => (plain, in_step, plain + in_step),
                }
            }
            // Whatever has this habit has no other, but for what can't have it.
            Self::AfterCallee => (0.0, 1.0, 1.0),
            _ => {
                let of = match self {
                    Self::ChildrenInStep => Self::AfterChildren as usize,
                    _ => self as usize - usize::from(!self.is_after()),
                };
                let (after, before) = (shares[of], shares[of + 1]);
                let in_step = match of == Self::AfterChildren as usize {
                    true => share(Self::ChildrenInStep),
                    false => 0.0,
                };
                let all = after + before + in_step;
                match self {
                    Self::ChildrenInStep => (before + after, in_step, all),
                    _ if self.is_after() => (before, after, all),
                    _ => (0.0, before, all),
                }
            }
        };
        let level = if self.is_after() { level } else { 1.0 - level };
        (below + own * level) / all
    }

    /// Whether a span, with or without children, waits from what the end is measured from until then. One that is
    /// over before its children start sleeps for none of them.
    pub(super) fn is_wait(self, leaf: bool) -> bool {
        match self {
            Self::Duration => leaf,
            _ => matches!(
                self,
                Self::AfterChildren | Self::InStep | Self::ChildrenInStep
            ),
        }
    }

    /// The mode of the same end in step.
    pub(super) fn in_step(self) -> Self {
        match self {
            Self::Duration => Self::InStep,
            Self::AfterChildren => Self::ChildrenInStep,
            other => other,
        }
    }

    /// Whether the end is known only with the siblings that come later.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::AfterLater | Self::BeforeLater | Self::AfterNext | Self::BeforeNext
        )
    }

    /// Whether the end is known only with the parent's, which does not hang on it then: work that
    /// a request leaves behind.
    pub fn is_deferred(self) -> bool {
        matches!(self, Self::AfterParent | Self::BeforeParent)
    }

    /// Whether the mode says something for a span with or without children, later siblings and a
    /// parent, in a system whose long waits end in step or not, and whether it is a call of the kind that
    /// [`EndMode::AfterCallee`] speaks of.
    pub fn fits(
        self,
        (leaf, has_next, has_parent): (bool, bool, bool),
        in_step: bool,
        calls: bool,
    ) -> bool {
        match self {
            Self::AfterCallee => calls,
            Self::InStep => leaf && in_step,
            Self::ChildrenInStep => !leaf && in_step,
            Self::Duration => true,
            Self::AfterParent | Self::BeforeParent => leaf && has_parent,
            mode if mode.is_open() => has_next,
            _ => !leaf,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_what_hangs_on_the_same_are_in_the_order_of_their_keys() {
        let mut shares = [0.05; END_MODES];
        shares[EndMode::AfterChildren as usize] = 0.3;
        for group in [
            &[EndMode::Duration, EndMode::InStep][..],
            &[
                EndMode::BeforeChildren,
                EndMode::AfterChildren,
                EndMode::ChildrenInStep,
            ],
            &[EndMode::BeforeNext, EndMode::AfterNext],
        ] {
            let mut last = 0.0;
            for mode in group {
                let before = mode.key(1) < 0;
                let levels = [0.0, 0.5, 1.0].map(|level| if before { 1.0 - level } else { level });
                for level in levels {
                    let level = mode.level(&shares, level);
                    assert!(
                        level >= last && level <= 1.0 + 1e-6,
                        "{mode:?}: {level} after {last}"
                    );
                    last = level;
                }
            }
            assert!((last - 1.0).abs() < 1e-6, "{last}");
        }
        let keys = [
            StartMode::Before.key(9),
            StartMode::Before.key(0),
            StartMode::Overlap.key(0),
            StartMode::Overlap.key(9),
            StartMode::Gap.key(0),
            StartMode::InStep.key(9),
            StartMode::BeforeCallersEnd.key(9),
            StartMode::BeforeCallersEnd.key(0),
        ];
        assert!(keys.is_sorted());
        assert!(keys.map(position).is_sorted());
        let ends = [EndMode::BeforeNext.key(9), EndMode::BeforeNext.key(0), 0, 9];
        assert!(ends.map(position).is_sorted());
    }
}
