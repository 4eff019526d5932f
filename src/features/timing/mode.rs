//! What a time is measured from.

/// Number of [`StartMode`]s.
pub const START_MODES: usize = StartMode::ALL.len();

/// Number of [`EndMode`]s.
pub const END_MODES: usize = EndMode::ALL.len();

/// How a span's start hangs on what lies before it.
///
/// The frontier of a parent is the latest of its own start, the ends of its closed children and
/// the starts of its open ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum StartMode {
    /// At or after the frontier of its parent.
    Gap = 0,
    /// Before the frontier: at or after the previous sibling's start.
    Overlap = 1,
    /// Before its parent's start. For a first child only.
    Before = 2,
}

/// How a span's end hangs on what is known once its subtree, or all its siblings, are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum EndMode {
    /// After its own start. For a leaf.
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
}

impl StartMode {
    /// Every mode, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Gap, Self::Overlap, Self::Before];

    /// Reads a code's number; a number that is no mode reads as `Gap`.
    pub fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Gap)
    }

    /// How early a start is among all starts of its context, from the shares of the modes and its
    /// level within its own: whatever lies before the frontier is earlier than a gap behind it.
    pub(super) fn level(self, shares: &[f32; START_MODES], level: f32) -> f32 {
        let [gap, overlap, before] = *shares;
        let all = gap + overlap + before;
        match self {
            Self::Before => before * (1.0 - level) / all,
            Self::Overlap => (before + overlap * level) / all,
            Self::Gap => (before + overlap + gap * level) / all,
        }
    }

    /// Whether the mode says something for a span with so many siblings before it.
    pub fn fits(self, index: u32) -> bool {
        match self {
            Self::Gap => true,
            Self::Overlap => index > 0,
            Self::Before => index == 0,
        }
    }
}

impl EndMode {
    /// Every mode, in the order of its number.
    pub const ALL: [Self; 11] = [
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
    ];

    /// Reads a code's number; a number that is no mode reads as `Duration`.
    pub fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Duration)
    }

    /// How late an end is among all ends of its context that hang on the same, from the shares of
    /// the modes and its level within its own: before is earlier than after.
    pub(super) fn level(self, shares: &[f32; END_MODES], level: f32) -> f32 {
        let at = self as usize;
        if at == 0 {
            return level;
        }
        // After and before stand side by side.
        let is_after = at % 2 == 1;
        let (after, before) = if is_after {
            (shares[at], shares[at + 1])
        } else {
            (shares[at - 1], shares[at])
        };
        let all = after + before;
        match is_after {
            true => (before + after * level) / all,
            false => before * (1.0 - level) / all,
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
    /// parent.
    pub fn fits(self, leaf: bool, has_next: bool, has_parent: bool) -> bool {
        match self {
            Self::Duration => leaf,
            Self::AfterParent | Self::BeforeParent => leaf && has_parent,
            mode if mode.is_open() => has_next,
            _ => !leaf,
        }
    }
}
