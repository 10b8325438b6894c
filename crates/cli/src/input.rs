//! Finds the inputs and reads them, one event in memory at a time.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::bufread::MultiGzDecoder;

use crate::{
    output::shown,
    split::{Piece, Splitter},
};

/// The endings of files that are read in a folder. What is named by itself is read whatever its name.
const ENDINGS: [&str; 4] = ["json", "jsonl", "ndjson", "gz"];
/// The first two bytes of every gzip file (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How much is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file, exactly as it was found: `-` for standard input.
    pub(crate) file: Arc<str>,
    /// The line it begins on.
    pub(crate) line: u64,
    /// Its number in the file, from 1.
    pub(crate) number: u64,
}

/// What was read.
#[derive(Debug)]
pub(crate) enum Item {
    /// One event, as JSON that is sound.
    Event { origin: Origin, json: Vec<u8> },
    /// A stretch of a file that is no event.
    BadEvent { file: Arc<str>, line: u64, column: Option<u64>, reason: String },
    /// A file or folder that could not be read (to its end).
    BadFile { file: Arc<str>, reason: String },
}

/// How much there was to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Files read, standard input included.
    pub(crate) files: u64,
    /// Files in folders that were left alone, for their names.
    pub(crate) ignored: u64,
}

/// What takes the items; it may have had enough.
type Sink<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

/// `FILE:LINE`, and which event where the line does not tell.
impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}:{}", shown(&self.file, 300), self.line)?;
        // In JSON lines the number says nothing new.
        if self.number == self.line { Ok(()) } else { write!(formatter, " (event {})", self.number) }
    }
}

impl Origin {
    /// The same for a heading: of a file with one event, the file's name is enough.
    pub(crate) fn heading(&self) -> String {
        match (self.line, self.number) {
            (1, 1) => shown(&self.file, 300),
            (1, number) => format!("{} (event {number})", shown(&self.file, 300)),
            _ => self.to_string(),
        }
    }
}

/// Where a fault is: `FILE:LINE:COLUMN`.
pub(crate) fn place(file: &str, line: u64, column: Option<u64>) -> String {
    let file = shown(file, 300);
    column.map_or_else(|| format!("{file}:{line}"), |column| format!("{file}:{line}:{column}"))
}

/// Reads the inputs in the order given; folders with all they hold, in the order of names.
pub(crate) fn read_all(paths: &[PathBuf], sink: Sink<'_>) -> Tally {
    let mut tally = Tally::default();
    for path in paths {
        if read_path(path, &mut tally, sink).is_break() {
            break;
        }
    }
    tally
}

fn read_path(path: &Path, tally: &mut Tally, sink: Sink<'_>) -> ControlFlow<()> {
    let name: Arc<str> = path.to_string_lossy().into();
    if path == Path::new("-") {
        tally.files += 1;
        return read_stream(&name, io::stdin().lock(), sink);
    }
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            let files_before = tally.files;
            read_folder(path, tally, sink)?;
            if tally.files == files_before {
                let reason =
                    format!("holds no file to read: expected names that end in .{}", ENDINGS.join(", ."));
                return sink(Item::BadFile { file: name, reason });
            }
            ControlFlow::Continue(())
        }
        Ok(_) => read_file(path, tally, sink),
        Err(error) => sink(Item::BadFile { file: name, reason: cannot_be_read(&error) }),
    }
}

fn read_folder(folder: &Path, tally: &mut Tally, sink: Sink<'_>) -> ControlFlow<()> {
    let bad = |error: &io::Error| Item::BadFile {
        file: folder.to_string_lossy().into(),
        reason: cannot_be_read(error),
    };
    let entries: Result<Vec<_>, _> = match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) => Err(error),
    };
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            // It was a file to read, only one that cannot be.
            tally.files += 1;
            return sink(bad(&error));
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // A link to a folder is not followed: it may lead back here.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            read_folder(&path, tally, sink)?;
        } else if has_known_ending(&path) && fs::metadata(&path).is_ok_and(|about| about.is_file()) {
            read_file(&path, tally, sink)?;
        } else {
            tally.ignored += 1;
        }
    }
    ControlFlow::Continue(())
}

fn has_known_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

fn read_file(path: &Path, tally: &mut Tally, sink: Sink<'_>) -> ControlFlow<()> {
    tally.files += 1;
    let name: Arc<str> = path.to_string_lossy().into();
    match File::open(path) {
        Ok(file) => read_stream(&name, file, sink),
        Err(error) => sink(Item::BadFile { file: name, reason: cannot_be_read(&error) }),
    }
}

fn read_stream(name: &Arc<str>, mut stream: impl Read, sink: Sink<'_>) -> ControlFlow<()> {
    let mut head = Vec::new();
    if let Err(error) = stream.by_ref().take(2).read_to_end(&mut head) {
        return sink(Item::BadFile { file: name.clone(), reason: cannot_be_read(&error) });
    }
    let is_gzip = head == GZIP;
    let whole = BufReader::with_capacity(CHUNK, io::Cursor::new(head).chain(stream));
    if is_gzip {
        let unpacked = BufReader::with_capacity(CHUNK, MultiGzDecoder::new(whole));
        read_events(name, unpacked, "is damaged, as gzip", sink)
    } else {
        read_events(name, whole, "cannot be read to its end", sink)
    }
}

fn read_events(name: &Arc<str>, mut stream: impl BufRead, trouble: &str, sink: Sink<'_>) -> ControlFlow<()> {
    let mut splitter = Splitter::new();
    let mut pieces = Vec::new();
    let mut number = 0;
    loop {
        let chunk = match stream.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let reason = format!("{trouble}: {error}; what came before was read");
                return sink(Item::BadFile { file: name.clone(), reason });
            }
        };
        let is_end = chunk.is_empty();
        let size = chunk.len();
        let had_enough = if is_end {
            splitter.end(&mut pieces);
            true
        } else {
            splitter.feed(chunk, &mut pieces).is_break()
        };
        stream.consume(size);
        for piece in pieces.drain(..) {
            sink(match piece {
                Piece::Event { json, line } => {
                    number += 1;
                    Item::Event { origin: Origin { file: name.clone(), line, number }, json }
                }
                Piece::Bad { line, column, reason } => {
                    Item::BadEvent { file: name.clone(), line, column, reason }
                }
            })?;
        }
        if had_enough {
            return ControlFlow::Continue(());
        }
    }
}

fn cannot_be_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "does not exist: expected a file, a folder, or - for standard input".to_owned()
        }
        io::ErrorKind::PermissionDenied => "may not be read: check its permissions".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}
