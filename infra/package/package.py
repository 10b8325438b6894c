"""Packages the functions as they are deployed: `make package`, `make package-check`.

    package.py build [arm64] [x86_64]   zips, their parts lists and SHA256SUMS, into target/package/
    package.py check [arm64] [x86_64]   the same twice, in two folders; says which file differs, if one does

The same sources give the same bytes, wherever they are built: paths are mapped to fixed ones, and a zip holds nothing but
`bootstrap`, dated 1980. A package is named by what is in it, so that a new build gets a new name in its bucket, and an old
one is never written over. Compression is Python's zlib's: another one may make another zip of the same `bootstrap`, of the
same name.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "target" / "package"
FUNCTIONS = ["keytide-watcher", "keytide-sweeper"]
TARGETS = {"arm64": "aarch64-unknown-linux-gnu", "x86_64": "x86_64-unknown-linux-gnu"}
# The C library of Lambda's provided.al2023 is 2.34; what is linked against it starts there. Ours asks for less.
C_LIBRARY = (2, 34)
LINKED_C_LIBRARY = "2.26"
# 1 January 1980, the first day that a zip can name: whatever wants to write a date writes this one.
EPOCH = 315532800


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("architectures", nargs="*", metavar="arm64|x86_64", help="both, if none is named")
    parser.add_argument("--cyclonedx", default="cargo-cyclonedx", metavar="PROGRAM", help="where cargo-cyclonedx is")
    asked = parser.parse_args()
    os.environ["CYCLONEDX"] = asked.cyclonedx
    architectures = asked.architectures or list(TARGETS)
    if unknown := [name for name in architectures if name not in TARGETS]:
        stop(f"no such architecture: {', '.join(unknown)}; expected {' or '.join(TARGETS)}")
    ensure_targets(architectures)
    made = build(ROOT, PACKAGES, architectures)
    if asked.command == "check":
        check(made, architectures)
    for file in sorted(made.iterdir()):
        if file.is_file():
            print(f"{file.stat().st_size:>9,}  {file.relative_to(ROOT)}")


def ensure_targets(architectures):
    """Rust's standard library for each target, of the very toolchain that builds."""
    library = Path(output(["rustc", "--print", "sysroot"], ROOT).strip()) / "lib" / "rustlib"
    missing = [name for name in architectures if not (library / TARGETS[name] / "lib").is_dir()]
    if missing and shutil.which("rustup"):
        subprocess.run(["rustup", "target", "add", *[TARGETS[name] for name in missing]], cwd=ROOT, check=False)
        missing = [name for name in missing if not (library / TARGETS[name] / "lib").is_dir()]
    if missing:
        version = output(["rustc", "--version"], ROOT).strip()
        rest = [name for name in architectures if name not in missing]
        stop(
            f"{version} has no standard library for {', '.join(TARGETS[name] for name in missing)}.\n"
            "Install it (`rustup target add`, with a network)"
            + (f", or package for {rest[0]} alone: make package ARCHITECTURES={rest[0]}" if rest else "")
        )


def build(sources, into, architectures):
    """Builds the functions in `sources` and puts their packages `into` a folder, in place of those that are there."""
    into.mkdir(parents=True, exist_ok=True)
    compiled = into / "build"
    made = {}
    for architecture in architectures:
        for function in FUNCTIONS:
            contents = compile_function(sources, compiled, function, TARGETS[architecture])
            fits_lambda(function, contents)
            name = f"{function}-{architecture}-{version_of(sources, function)}-{digest(contents)[:12]}"
            made[f"{name}.zip"] = zipped(contents)
            parts = parts_list(sources, function, TARGETS[architecture], digest(contents))
            made[f"{name}.cdx.json"] = (json.dumps(parts, indent=1) + "\n").encode()
    made["SHA256SUMS"] = "".join(f"{digest(made[name])}  {name}\n" for name in sorted(made)).encode()
    # All or nothing: whatever stops a build leaves what the last one made.
    for old in into.iterdir():
        if old.is_file():
            old.unlink()
    for name, contents in made.items():
        (into / name).write_bytes(contents)
    return into


def compile_function(sources, compiled, function, target):
    """The function's program, the same wherever it is built."""
    # Of several that fit, the compilers take the last: the target folder mostly lies in the sources'.
    compiler = output(["rustc", "--print", "sysroot"], sources).strip()
    commit = re.search(r"^commit-hash: (.*)$", output(["rustc", "-vV"], sources), re.MULTILINE)[1]
    places = [
        (cargo_home(), "/cargo"),
        # Where Rust's own sources are installed, their paths are the machine's; else they are these.
        (Path(compiler) / "lib/rustlib/src/rust", f"/rustc/{commit}"),
        (sources, "/keytide"),
        (compiled, "/target"),
    ]
    environment = dict(os.environ)
    # What a shell or a machine sets for its own builds must not get into these.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CFLAGS", "CXXFLAGS"]:
        environment.pop(name, None)
    environment["CARGO_ENCODED_RUSTFLAGS"] = "\x1f".join(f"--remap-path-prefix={path}={name}" for path, name in places)
    environment["CFLAGS_" + target.replace("-", "_")] = " ".join(
        f"-ffile-prefix-map={path}={name}" for path, name in places
    )
    environment.update(
        CARGO_TARGET_DIR=str(compiled),
        CARGO_INCREMENTAL="0",
        SOURCE_DATE_EPOCH=str(EPOCH),
        # Zig and its wrapper keep what they made in the home folder, where a second build would find the first one's.
        ZIG_GLOBAL_CACHE_DIR=str(compiled / "zig"),
        ZIG_LOCAL_CACHE_DIR=str(compiled / "zig"),
        CARGO_ZIGBUILD_CACHE_DIR=str(compiled / "zigbuild"),
    )
    # One function at a time, since cargo would join the features of several. cargo-lambda would look for the target in
    # rustup's `stable`, which need not be the toolchain that builds.
    programs = compiled / "functions" / target
    subprocess.run(
        ["cargo", "lambda", "build", "--locked", "--profile", "lambda", "--package", function, "--bin", function]
        + ["--target", f"{target}.{LINKED_C_LIBRARY}", "--skip-target-check", "--lambda-dir", programs],
        cwd=sources,
        env=environment,
        check=True,
    )
    return (programs / function / "bootstrap").read_bytes()


def fits_lambda(function, contents):
    """A program that asks for a newer C library than Lambda's ends there before its first line."""
    asked = [tuple(map(int, found.groups())) for found in re.finditer(rb"GLIBC_(\d+)\.(\d+)", contents)]
    if not asked or max(asked) > C_LIBRARY:
        stop(f"{function} asks for the C library's {max(asked, default=None)}, and Lambda has {C_LIBRARY}")
    for path in [str(ROOT), str(cargo_home())]:
        if path.encode() in contents:
            stop(f"{function} holds the path {path} of this machine, so another would build another file")


def zipped(contents):
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, wherever it is made: else the permissions mean nothing.
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(entry, contents, compresslevel=9)
    return written.getvalue()


def parts_list(sources, function, target, digest_of_program):
    """What is linked into the function, as CycloneDX: cargo-cyclonedx's list, less what cargo does not build into it."""
    tree = ["cargo", "tree", "--locked", "--package", function, "--target", target, "--prefix", "none", "--no-dedupe"]
    lines = output([*tree, "--edges", "normal,no-proc-macro"], sources).splitlines()
    # A line is `name v1.2.3`, perhaps followed by where it lies.
    linked = {tuple(line.split()[:2]) for line in lines if line}
    with tempfile.TemporaryDirectory() as folder:
        # It writes beside every Cargo.toml, so not in the project; and asks cargo about the whole workspace, whose
        # features the command line widens.
        copied = copy_sources(sources, Path(folder) / "keytide")
        subprocess.run(
            [os.environ["CYCLONEDX"], "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--target", target]
            + ["--manifest-path", copied / "Cargo.toml", "--override-filename", "parts"],
            cwd=copied,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            check=True,
        )
        [manifest] = [path for path in copied.glob("crates/*/Cargo.toml") if f'name = "{function}"' in path.read_text()]
        parts = json.loads((manifest.parent / "parts.json").read_text().replace(str(copied), "/keytide"))
    is_linked = lambda part: (part["name"], f"v{part['version']}") in linked
    parts["components"] = [part for part in parts["components"] if is_linked(part)]
    # The same parts make the same list, whenever it is made.
    parts["metadata"].pop("timestamp", None)
    main = parts["metadata"]["component"]
    found = {(part["name"], f"v{part['version']}") for part in [main, *parts["components"]]}
    if lost := linked - found:
        stop(f"{function}'s parts list lacks {sorted(lost)}, which cargo builds into it")
    main["hashes"] = [{"alg": "SHA-256", "content": digest_of_program}]
    kept = {part["bom-ref"] for part in [main, *parts["components"]]}
    parts["dependencies"] = [
        {**part, "dependsOn": [on for on in part.get("dependsOn", []) if on in kept]}
        for part in parts["dependencies"]
        if part["ref"] in kept
    ]
    return parts


def check(first, architectures):
    """Builds a second time, elsewhere, and compares."""
    with tempfile.TemporaryDirectory(prefix="keytide-packaged-elsewhere-") as folder:
        elsewhere = copy_sources(ROOT, Path(folder).resolve() / "sources")
        second = build(elsewhere, Path(folder).resolve() / "packages", architectures)
        sums = [(made / "SHA256SUMS").read_text().splitlines() for made in (first, second)]
        for made, lines in zip((first, second), sums):
            print(f"in {made}:", *lines, sep="\n  ")
        if sums[0] != sums[1]:
            stop(f"two builds of the same sources differ:\n{differences(first, second)}")
    print("both builds are the same, byte by byte")


def differences(first, second):
    """The first byte at which programs of two builds differ, and what stands around it."""
    said = []
    for program in sorted((first / "build" / "functions").glob("*/*/bootstrap")):
        one, other = program.read_bytes(), (second / program.relative_to(first)).read_bytes()
        if one == other:
            continue
        at = next((n for n, (x, y) in enumerate(zip(one, other)) if x != y), min(len(one), len(other)))
        said.append(f"{program.relative_to(first)}, {len(one)} and {len(other)} bytes, from byte {at} on:")
        said += [f"  {text[max(0, at - 40) : at + 80]!r}" for text in (one, other)]
    return "\n".join(said) or "the programs are the same: it is a zip or a parts list"


def copy_sources(sources, to):
    """What git would commit, and nothing that lies about besides."""
    listed = output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], ROOT).split("\0")
    for name in filter(None, listed):
        if (sources / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(sources / name, to / name)
    return to


def version_of(sources, function):
    packages = json.loads(output(["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"], sources))["packages"]
    return next(package["version"] for package in packages if package["name"] == function)


def cargo_home():
    return Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo")).resolve()


def digest(contents):
    return hashlib.sha256(contents).hexdigest()


def output(command, folder):
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def stop(why):
    sys.exit(f"package: {why}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        stop(f"`{' '.join(map(str, error.cmd))}` failed, with exit code {error.returncode}; what it said is above")
