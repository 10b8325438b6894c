//! `infra/package/package.py`: its own tests, which build nothing, and that they find what is sown.

use std::{fs, path::Path};

use tempfile::TempDir;

use crate::counterparts::python;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/package");

/// What would let something bad through: what stands there, and what is sown instead.
const DEFECTS: [(&str, &str); 16] = [
    // Too new a C library, compared as texts are.
    ("tuple(map(int, found.groups()))", "found.groups()"),
    ("max(asked) > C_LIBRARY", "min(asked) > C_LIBRARY"),
    ("if not asked or", "if asked and"),
    // A path of the machine, and what only looks like one.
    (r#"re.escape(str(path).encode()) + rb"/""#, r#"re.escape(str(path).encode()) + rb"//""#),
    (r"(?<![\w.\-/])", ""),
    ("str(path) == name or", ""),
    // Zips.
    ("date_time=(1980, 1, 1, 0, 0, 0)", "date_time=__import__('time').localtime()[:6]"),
    ("0o100755", "0o100644"),
    ("entry.create_system = 3", "entry.create_system = 0"),
    // Parts lists.
    ("if lost := linked - found:", "if lost := found - linked:"),
    (r#"parts["metadata"].pop("timestamp", None)"#, "pass"),
    // Two builds.
    ("if sums[0] != sums[1]:", "if sums[0] == sums[1]:"),
    ("key=lambda name: name == \"SHA256SUMS\"", "key=lambda name: name != \"SHA256SUMS\""),
    ("shutil.copytree(home / name, to / name, symlinks=True, copy_function=link)", "os.symlink(home, to)"),
    // Sources and the shell.
    ("if Path(top).resolve() == folder:", "if top:"),
    ("if SEEN.fullmatch(name)", "if name"),
];

/// Runs the tests in a folder: whether they passed, and what they said.
fn tests_in(folder: &Path) -> (bool, String) {
    let output = python().args(["-m", "unittest"]).current_dir(folder).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn copied() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["package.py", "test_package.py"] {
        fs::copy(Path::new(FOLDER).join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn what_packages_the_functions_keeps_what_it_promises() {
    let (passed, said) = tests_in(Path::new(FOLDER));
    assert!(passed && said.contains("\nOK"), "{said}");
}

#[test]
fn a_defect_in_what_packages_the_functions_is_found() {
    let folder = copied();
    let sound_program = fs::read_to_string(folder.path().join("package.py")).unwrap();
    for (sound, unsound) in DEFECTS {
        assert_eq!(sound_program.matches(sound).count(), 1, "{sound}");
        fs::write(folder.path().join("package.py"), sound_program.replace(sound, unsound)).unwrap();
        let (passed, said) = tests_in(folder.path());
        assert!(!passed && said.contains("FAILED"), "{unsound}: {said}");
    }
}
