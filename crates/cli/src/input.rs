//! Finds the inputs and reads them, one event in memory at a time.

use std::{
    collections::HashSet,
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
        let read = find(path, &mut |found| match found {
            Found::StandardInput => {
                tally.files += 1;
                read_stream(&"-".into(), io::stdin().lock(), sink)
            }
            Found::File(path) => {
                tally.files += 1;
                read_file(path, sink)
            }
            Found::Ignored => {
                tally.ignored += 1;
                ControlFlow::Continue(())
            }
            Found::Bad { path, reason } => {
                sink(Item::BadFile { file: path.to_string_lossy().into(), reason })
            }
        });
        if read.is_break() {
            break;
        }
    }
    tally
}

/// Whether there is anything to read at all, as far as that shows without reading it.
pub(crate) fn is_anything_readable(paths: &[PathBuf]) -> bool {
    let opens = |path: &Path| match fs::metadata(path) {
        Ok(about) if about.is_file() => File::open(path).is_ok(),
        // Whoever writes into a pipe would take an opening and a closing for all there was.
        Ok(_) => true,
        Err(_) => false,
    };
    let mut is_one = |found: Found<'_>| match found {
        Found::StandardInput => ControlFlow::Break(()),
        Found::File(path) if opens(path) => ControlFlow::Break(()),
        Found::File(_) | Found::Ignored | Found::Bad { .. } => ControlFlow::Continue(()),
    };
    paths.iter().any(|path| find(path, &mut is_one).is_break())
}

/// What stands at a path, or in a folder there.
enum Found<'a> {
    StandardInput,
    File(&'a Path),
    /// A file in a folder whose name says that it holds no events.
    Ignored,
    Bad {
        path: &'a Path,
        reason: String,
    },
}

/// What takes what is found; it may have had enough.
type Finder<'a> = &'a mut dyn FnMut(Found<'_>) -> ControlFlow<()>;

fn find(path: &Path, take: Finder<'_>) -> ControlFlow<()> {
    if path == Path::new("-") {
        return take(Found::StandardInput);
    }
    match fs::metadata(path) {
        Ok(about) if about.is_dir() => {
            let mut is_empty = true;
            find_in_folder(path, &mut HashSet::new(), &mut |found| {
                is_empty &= matches!(found, Found::Ignored);
                take(found)
            })?;
            if is_empty {
                let reason =
                    format!("holds no file to read: expected names that end in .{}", ENDINGS.join(", ."));
                return take(Found::Bad { path, reason });
            }
            ControlFlow::Continue(())
        }
        Ok(_) => take(Found::File(path)),
        Err(error) => take(Found::Bad { path, reason: cannot_be_read(path, &error) }),
    }
}

/// Links are followed, since people gather logs by them. `seen` holds the folders that were read, by their real
/// paths: a link that leads back ends there, and nothing is read twice.
fn find_in_folder(folder: &Path, seen: &mut HashSet<PathBuf>, take: Finder<'_>) -> ControlFlow<()> {
    let entries = fs::canonicalize(folder).and_then(|real| {
        if seen.insert(real) { fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>() } else { Ok(Vec::new()) }
    });
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => {
            return take(Found::Bad { path: folder, reason: cannot_be_read(folder, &error) });
        }
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(about) if about.is_dir() => find_in_folder(&path, seen, take)?,
            Ok(_) if !has_known_ending(&path) => take(Found::Ignored)?,
            Ok(about) if about.is_file() => take(Found::File(&path))?,
            Ok(_) => {
                let reason = "is neither a file nor a folder: to read a pipe, name it by itself".to_owned();
                take(Found::Bad { path: &path, reason })?;
            }
            // Where a link was meant to lead cannot be told: perhaps to events.
            Err(error) => take(Found::Bad { path: &path, reason: cannot_be_read(&path, &error) })?,
        }
    }
    ControlFlow::Continue(())
}

fn has_known_ending(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending)))
}

fn read_file(path: &Path, sink: Sink<'_>) -> ControlFlow<()> {
    let name: Arc<str> = path.to_string_lossy().into();
    match File::open(path) {
        Ok(file) => read_stream(&name, file, sink),
        Err(error) => sink(Item::BadFile { file: name, reason: cannot_be_read(path, &error) }),
    }
}

fn read_stream(name: &Arc<str>, mut stream: impl Read, sink: Sink<'_>) -> ControlFlow<()> {
    let mut head = Vec::new();
    if let Err(error) = stream.by_ref().take(2).read_to_end(&mut head) {
        return sink(Item::BadFile { file: name.clone(), reason: format!("cannot be read: {error}") });
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

fn cannot_be_read(path: &Path, error: &io::Error) -> String {
    match (path.is_symlink(), error.kind()) {
        (true, io::ErrorKind::NotFound) => "is a link to what does not exist".to_owned(),
        (true, _) => format!("is a link that cannot be followed: {error}"),
        (false, io::ErrorKind::NotFound) => {
            "does not exist: expected a file, a folder, or - for standard input".to_owned()
        }
        (false, io::ErrorKind::PermissionDenied) => "may not be read: check its permissions".to_owned(),
        (false, _) => format!("cannot be read: {error}"),
    }
}
