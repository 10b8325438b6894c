//! The functions as they are deployed: the very zips that `make package` makes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::counterparts::python;

/// What is uploaded, and the template's name for what it runs on.
pub(super) struct Packages {
    pub(super) architecture: &'static str,
    pub(super) watcher: String,
    pub(super) sweeper: String,
}

/// Made once for all stories, if they are not up to date: into a folder of their own, so that what somebody packaged to be
/// deployed stays as it is, out of what was compiled for that, so that nothing is compiled twice. Without the lists of what
/// is linked into them, whose tool takes a while to install.
pub(super) fn packages() -> &'static Packages {
    static PACKAGES: OnceLock<Packages> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        // MiniStack starts what is in a zip as a process of this machine.
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "x86_64",
            "aarch64" => "arm64",
            other => panic!(
                "this machine is {other}: Lambda has x86-64 and arm64, and MiniStack can start neither's functions here"
            ),
        };
        let into = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("package-of-tests");
        fs::create_dir_all(&into).unwrap();
        // Held until this is done, for test runs at the same time. It lies beside the folder, whose files are replaced.
        let lock = File::create(into.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let python = python();
        let mut make = Command::new("make");
        make.args(["--no-print-directory", "package-for-tests"])
            .arg(format!("ARCHITECTURES={architecture}"))
            .arg(format!("INTO={}", into.display()))
            .arg(format!("PYTHON={}", python.get_program().display()))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stdin(Stdio::null())
            // Cargo and its messages go where the tests' go.
            .stdout(Stdio::null());
        // Of a `make test` that runs this.
        for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"] {
            make.env_remove(name);
        }
        let status = make.status().unwrap_or_else(|error| panic!("make could not be started: {error}"));
        assert!(status.success(), "the functions could not be packaged ({status}): why stands above");
        let zip = |function: &str| {
            let begins = format!("{function}-{architecture}-");
            let files = fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().path());
            let zips: Vec<PathBuf> = files
                .filter(|path| path.extension().is_some_and(|extension| extension == "zip"))
                .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&begins))
                .collect();
            assert_eq!(zips.len(), 1, "{zips:?}");
            zips[0].to_str().expect("a path in UTF-8").to_owned()
        };
        Packages { architecture, watcher: zip("keytide-watcher"), sweeper: zip("keytide-sweeper") }
    })
}
