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
    pub const ALL: [Self; 9] = [
        Self::Duration,
        Self::AfterChildren,
        Self::BeforeChildren,
        Self::AfterLastStart,
        Self::BeforeLastStart,
        Self::AfterLater,
        Self::BeforeLater,
        Self::AfterNext,
        Self::BeforeNext,
    ];

    /// Reads a code's number; a number that is no mode reads as `Duration`.
    pub fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or(Self::Duration)
    }

    /// Whether the end is known only with the siblings that come later.
    pub fn is_open(self) -> bool {
        self as u8 >= Self::AfterLater as u8
    }

    /// Whether the mode says something for a span with or without children and later siblings.
    pub fn fits(self, leaf: bool, has_next: bool) -> bool {
        match self {
            Self::Duration => leaf,
            Self::AfterLater | Self::BeforeLater | Self::AfterNext | Self::BeforeNext => has_next,
            _ => !leaf,
        }
    }
}
