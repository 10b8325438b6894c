"""What package.py promises, without a build: `python3 -m unittest` in this folder. `make test` runs it, and sows defects."""

import contextlib
import io
import json
import os
import stat
import subprocess
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import package

PROGRAM = b"\x7fELF GLIBC_2.17 GLIBC_2.26 /cargo/registry/src/tokio/lib.rs /keytide/crates/core/src/lib.rs"


class Stopped(unittest.TestCase):
    def stops(self, expected, function, *arguments):
        with self.assertRaises(SystemExit) as stopped:
            function(*arguments)
        self.assertIn(expected, str(stopped.exception))


class Fits(Stopped):
    def fits(self, contents, *mapped):
        package.fits_lambda("keytide-watcher", contents, mapped)

    def test_what_lambda_has_is_enough(self):
        self.fits(PROGRAM + b" GLIBC_2.34")

    def test_a_newer_c_library_is_too_new(self):
        self.stops("asks for the C library's (2, 35)", self.fits, PROGRAM + b" GLIBC_2.35")
        # Not as a text, nor as a fraction.
        self.fits(PROGRAM + b" GLIBC_2.4")

    def test_a_program_without_the_c_library_is_none_of_ours(self):
        self.stops("None", self.fits, b"\x7fELF")

    def test_a_path_of_this_machine_is_found(self):
        for before in (b"\0", b" ", b'"', b"file:"):
            program = PROGRAM + before + b"/home/alice/keytide/src/lib.rs\0"
            self.stops("/home/alice/keytide/src/lib.rs", self.fits, program, (Path("/home/alice/keytide"), "/keytide"))

    def test_a_path_that_is_part_of_another_is_not_taken_for_one(self):
        for path in ("/src", "/registry", "/cargo/reg", "/keytide/crates", "/lib.rs"):
            self.fits(PROGRAM, (Path(path) if path != "/keytide/crates" else Path("/crates"), "/elsewhere"))

    def test_a_path_that_is_the_same_everywhere_may_be_in_it(self):
        self.fits(PROGRAM, (Path("/keytide"), "/keytide"), (Path("/cargo"), "/cargo"))


class Zips(unittest.TestCase):
    def test_the_same_program_makes_the_same_zip_at_any_time(self):
        with mock.patch("time.time", return_value=2_000_000_000), mock.patch("time.localtime", return_value=(2033,) * 9):
            first = package.zipped(PROGRAM)
        self.assertEqual(first, package.zipped(PROGRAM))

    def test_lambda_can_start_what_is_in_it(self):
        [entry] = zipfile.ZipFile(io.BytesIO(package.zipped(PROGRAM))).infolist()
        self.assertEqual((entry.filename, entry.date_time), ("bootstrap", (1980, 1, 1, 0, 0, 0)))
        # Unix's rights count only where Unix made it.
        self.assertEqual((entry.create_system, entry.external_attr >> 16), (3, stat.S_IFREG | 0o755))


def part(name, **more):
    return {"name": name, "version": "1.0.0", "bom-ref": name, **more}


class PartsList(Stopped):
    TOOLS = "rustc 1.95.0", "cargo-lambda==1.9.2 \\\nziglang==0.17.1 \\\n"

    def listed(self, *linked):
        parts = {
            "metadata": {"timestamp": "2026-06-01", "component": part("keytide-watcher")},
            "components": [part("tokio"), part("clap"), part("serde")],
            "dependencies": [
                {"ref": "keytide-watcher", "dependsOn": ["tokio", "clap"]},
                {"ref": "clap"},
                {"ref": "tokio", "dependsOn": ["serde"]},
                {"ref": "serde"},
            ],
        }
        linked = {(name, "v1.0.0") for name in ("keytide-watcher", *linked)}
        return package.only_linked(parts, "keytide-watcher", linked, "a digest", self.TOOLS)

    def test_it_holds_what_is_linked_and_nothing_else(self):
        parts = self.listed("tokio", "serde")
        self.assertEqual([part["name"] for part in parts["components"]], ["tokio", "serde"])
        self.assertEqual(parts["dependencies"][0], {"ref": "keytide-watcher", "dependsOn": ["tokio"]})
        self.assertNotIn("clap", json.dumps(parts))
        self.assertNotIn("timestamp", parts["metadata"])

    def test_what_is_linked_and_not_in_it_is_found(self):
        self.stops("lacks [('ring', 'v1.0.0')]", self.listed, "tokio", "serde", "ring")

    def test_it_says_what_it_leaves_out(self):
        parts = self.listed("tokio")
        self.assertEqual(parts["compositions"], [{"aggregate": "incomplete", "assemblies": ["keytide-watcher"]}])
        said = json.dumps(parts["metadata"]["properties"])
        self.assertTrue("of rustc 1.95.0" in said and "Zig 0.17.1," in said, said)


class Folders(Stopped):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name).resolve()

    def made(self, name, program):
        compiled, packages = self.folder / name / "compiled", self.folder / name / "packages"
        (compiled / "functions/target/keytide-watcher").mkdir(parents=True)
        (compiled / "functions/target/keytide-watcher/bootstrap").write_bytes(program)
        zip = package.zipped(program)
        package.replace(packages, {"a.zip": zip, "SHA256SUMS": f"{package.digest(zip)}  a.zip\n".encode()})
        return packages, compiled

    def test_two_builds_that_differ_are_told_apart(self):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            package.compare(*self.made("first", PROGRAM), *self.made("second", PROGRAM))
            self.stops("from byte 1 on", package.compare, *self.made("third", PROGRAM), *self.made("fourth", b"\x7fBAD"))
        self.assertIn("a.zip", said.getvalue())

    def test_packages_are_put_in_place_of_the_last(self):
        (self.folder / "build").mkdir()
        (self.folder / "old.zip").write_bytes(b"old")
        package.replace(self.folder, {"SHA256SUMS": b"sums", "new.zip": b"new"})
        self.assertEqual(sorted(os.listdir(self.folder)), ["SHA256SUMS", "build", "new.zip"])

    def test_what_fails_while_it_writes_leaves_what_was_there(self):
        package.replace(self.folder, {"SHA256SUMS": b"sums", "old.zip": b"old"})
        with self.assertRaises(TypeError):
            package.replace(self.folder, {"new.zip": b"new", "SHA256SUMS": None})
        self.assertEqual(sorted(os.listdir(self.folder)), ["SHA256SUMS", "old.zip"])

    def test_what_fails_while_it_renames_leaves_nothing_that_is_deployed(self):
        package.replace(self.folder, {"SHA256SUMS": b"sums", "old.zip": b"old"})
        with mock.patch("os.replace", side_effect=[None, OSError]) as rename, self.assertRaises(OSError):
            package.replace(self.folder, {"SHA256SUMS": b"sums", "new.zip": b"new"})
        self.assertEqual([call.args[1].name for call in rename.call_args_list], ["new.zip", "SHA256SUMS"])
        self.assertFalse((self.folder / "SHA256SUMS").exists())

    def test_a_release_is_packaged_as_well_as_a_clone(self):
        for name in ("Cargo.toml", "crates/core/src/lib.rs", "target/debug/made", "fuzz/target/made", "notes.db"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_text("")
        walked = ["Cargo.toml", "crates/core/src/lib.rs", "notes.db"]
        self.assertEqual(sorted(package.sources_of(self.folder)), walked)
        # A tarball that was unpacked in somebody's repository is no part of it.
        git = lambda where: subprocess.run(["git", "init", "--quiet", where], check=True)
        git(self.folder)
        (self.folder / ".gitignore").write_text("crates\n")
        self.assertEqual(sorted(package.sources_of(self.folder / "crates")), ["core/src/lib.rs"])
        (self.folder / ".gitignore").write_text("target\n*.db\n")
        self.assertEqual(sorted(package.sources_of(self.folder)), [".gitignore", *walked[:2]])

    def test_cargos_files_are_elsewhere_in_the_second_build(self):
        (self.folder / "home/registry/src").mkdir(parents=True)
        (self.folder / "home/registry/src/lib.rs").write_text("a crate")
        os.symlink("home", self.folder / "link")
        with mock.patch.dict(os.environ, {"CARGO_HOME": str(self.folder / "link")}):
            self.assertEqual(package.cargo_homes(os.environ), [self.folder / "link", self.folder / "home"])
            copy = package.copy_cargo_home(self.folder / "copy")
        self.assertEqual(copy.resolve(), self.folder / "copy")
        self.assertEqual((copy / "registry/src/lib.rs").read_text(), "a crate")


class Environments(Stopped):
    def test_a_build_sees_nothing_of_the_shells_own_builds(self):
        shells = dict.fromkeys(
            "RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS RUSTC_WRAPPER RUSTUP_TOOLCHAIN CFLAGS TARGET_CFLAGS CC"
            " CFLAGS_x86_64_unknown_linux_gnu AWS_LC_SYS_CFLAGS AWS_LC_SYS_NO_JITTER_ENTROPY CARGO_PROFILE_LAMBDA_LTO"
            " CARGO_INCREMENTAL CARGO_TARGET_DIR CARGO_BUILD_TARGET SOURCE_DATE_EPOCH LD_PRELOAD AWS_SECRET_ACCESS_KEY".split(),
            "spoilt",
        )
        needed = {"PATH": "/bin", "HOME": "/home/alice", "CARGO_HOME": "/cargo", "https_proxy": "http://proxy", "SSL_CERT_FILE": "/c"}
        with mock.patch.dict(os.environ, shells | needed, clear=True):
            self.assertEqual(package.environment(), needed | {"LC_ALL": "C", "TZ": "UTC"})
            self.assertEqual(package.environment(TZ="Asia/Kathmandu")["TZ"], "Asia/Kathmandu")

    def test_a_path_with_a_space_is_named_before_anything_is_built(self):
        with mock.patch.object(package, "ROOT", Path("/home/alice/My Documents/keytide")):
            self.stops("has a space in it", package.can_be_built, Path("/compiled"), None, ["arm64"])

    def test_a_tool_that_is_missing_is_named_before_anything_is_built(self):
        with mock.patch("shutil.which", return_value=None), mock.patch.dict(os.environ, CARGO_HOME="/cargo"):
            with mock.patch.object(package, "ROOT", Path("/keytide")):
                expected = "cargo, rustc, cargo-lambda, cargo-cyclonedx cannot be started"
                self.stops(expected, package.can_be_built, Path("/compiled"), "cargo-cyclonedx", ["arm64"])


if __name__ == "__main__":
    unittest.main()
