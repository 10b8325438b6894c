//! How large a function is, as it is uploaded.

use std::{fs, io::Write as _, path::Path};

use flate2::{Compression, write::DeflateEncoder};
use keytide_tests::build;

use crate::{
    Outcome,
    table::{Row, Table, ratio},
};

/// What a ZIP file adds to one file called `bootstrap`: a local header (30 bytes and the name), an entry of
/// the directory (46 and the name) and its end (22), by PKWARE's APPNOTE.
const CONTAINER_BYTES: usize = 30 + 9 + 46 + 9 + 22;

pub(crate) fn measure(table: &mut Table) -> Outcome<()> {
    let own = sizes(&build::program("keytide-watcher", "lambda")?)?;
    let bare = sizes(&build::program("keytide-bare", "lambda")?)?;
    for (figure, aim, own, bare) in
        [("size, zipped", "≤ 3.5 MB", own.zipped_mb, bare.zipped_mb), ("size", "", own.raw_mb, bare.raw_mb)]
    {
        table.row(Row {
            figure,
            keytide: format!("{own:.2} MB"),
            reference: format!("{bare:.2} MB  a bare runtime, no TLS, no calls"),
            ratio: ratio(own, bare),
            aim,
            samples: "1, always the same".to_owned(),
        });
    }
    Ok(())
}

struct Sizes {
    zipped_mb: f64,
    raw_mb: f64,
}

fn sizes(program: &Path) -> Outcome<Sizes> {
    let raw = fs::read(program)?;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::best());
    deflated.write_all(&raw)?;
    let zipped = deflated.finish()?.len() + CONTAINER_BYTES;
    let megabytes = |bytes: usize| Ok::<_, std::num::TryFromIntError>(f64::from(u32::try_from(bytes)?) / 1e6);
    Ok(Sizes { zipped_mb: megabytes(zipped)?, raw_mb: megabytes(raw.len())? })
}
