//! The names that users gave up. An event of a key may come after the event that renamed its user, and names the
//! user as it was called then.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Key;

/// Of more renames than this the latest count. Nobody renames a user so often, but somebody may try.
const KEPT: usize = 50;

/// The renames of whoever bore one name, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renames {
    renames: Vec<Rename>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Rename {
    at: Timestamp,
    to: String,
}

impl Renames {
    /// The same with one more, in whatever order they are heard of; `None` where it is known.
    #[must_use]
    pub fn with(&self, at: Timestamp, to: &str) -> Option<Self> {
        let new = Rename { at, to: to.to_owned() };
        let Err(place) = self.renames.binary_search(&new) else { return None };
        let mut renames = self.renames.clone();
        renames.insert(place, new);
        let beyond = renames.len().saturating_sub(KEPT);
        renames.drain(..beyond);
        (renames != self.renames).then_some(Self { renames })
    }

    /// When the latest of them was.
    pub fn latest(&self) -> Option<Timestamp> {
        self.renames.last().map(|rename| rename.at)
    }
}

impl Key {
    /// The key of a user who bore the name `from`, under the name that the first rename since gave it; `None` where
    /// there was none since it is known under that name.
    #[must_use]
    pub fn following(&self, from: &str, renames: &Renames) -> Option<Self> {
        if self.holder.subject.user() != Some(from) {
            return None;
        }
        let rename =
            renames.renames.iter().find(|rename| rename.at >= self.holder.at && rename.to != from)?;
        Some(self.clone().with_holder_renamed(from, &rename.to, rename.at))
    }
}
