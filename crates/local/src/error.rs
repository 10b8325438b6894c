//! What can go wrong in making a local world.

use std::io;
use std::path::PathBuf;

/// Why a local AWS could not be opened or arranged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// A folder stands where the ledger's file should be.
    #[error(
        "{} is a folder, but the ledger is one file: name a file in it, such as {}",
        path.display(), path.join("keytide.db").display()
    )]
    IsFolder {
        /// The path given.
        path: PathBuf,
    },
    /// The folder that the file should stand in does not exist.
    #[error(
        "{} cannot be made, since the folder {} does not exist: make the folder or name another file",
        path.display(), folder.display()
    )]
    NoFolder {
        /// The path given.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The file is something else.
    #[error(
        "{} is not a ledger (it does not begin like a SQLite database): name another file; this one was left as it was",
        path.display()
    )]
    NotALedger {
        /// The path given.
        path: PathBuf,
    },
    /// The file may not be read or written.
    #[error(
        "{} may not be read and written: check its owner and permissions, and those of its folder",
        path.display()
    )]
    Forbidden {
        /// The path given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file cannot be opened for another reason.
    #[error("{} cannot be opened: check the path and the disk", path.display())]
    Unreadable {
        /// The path given.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database inside the file cannot be opened.
    #[error(
        "{} cannot be used as a ledger: see that no other program holds it and that it was not made by a newer keytide, or name another file",
        path.display()
    )]
    Database {
        /// The path given.
        path: PathBuf,
        /// What the database said.
        source: Box<dynoxide::DynoxideError>,
    },
    /// The database in memory failed.
    #[error("the embedded database could not {what}")]
    Embedded {
        /// What was tried.
        what: &'static str,
        /// What the database said.
        source: Box<dynoxide::DynoxideError>,
    },
    /// A hand-made world was asked for something that it does not hold.
    #[error("{kind} {name} is not in the local world: add it first")]
    Absent {
        /// The kind of thing: account, user, access key, queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A hand-made world was given something twice.
    #[error("{kind} {name} is in the local world already: use another name or delete it first")]
    Present {
        /// The kind of thing: account, user, access key, queue.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An account id is not one.
    #[error("{given:?} is not an account id: expected 12 digits")]
    AccountId {
        /// What was given.
        given: String,
    },
}
