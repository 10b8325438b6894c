"""Packages the functions as they are deployed: `make package`, `make package-check`.

    package.py build [arm64] [x86_64]   zips, their parts lists and SHA256SUMS, into target/package/
    package.py check [arm64] [x86_64]   the same twice, in two folders; says which file differs, if one does

The same sources give the same bytes, wherever they are built: paths are mapped to fixed ones, the builds see nothing of the
shell but what they need, and a zip holds nothing but `bootstrap`, dated 1980. A package is named by its own bytes, so that
another one gets another name in its bucket. Compression is Python's zlib's: another one may make another zip, of another
name, of the same `bootstrap`.
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
# What the builds see of the shell: where things are, and how the network is reached. What a shell or a machine sets for its
# own builds (flags, profiles, wrappers, compilers) must not get into these; what these set stands in .cargo/config.toml.
SEEN = re.compile(
    "PATH|HOME|TMPDIR|CARGO_HOME|CARGO_BUILD_JOBS|RUSTUP_(HOME|DIST_SERVER|UPDATE_ROOT|AUTO_INSTALL)|SDKROOT|DEVELOPER_DIR"
    "|CARGO_(HTTP|NET|SOURCE|REGISTRIES|REGISTRY)_.*|SSL_CERT_FILE|SSL_CERT_DIR|CURL_CA_BUNDLE|(HTTPS?|ALL|NO)_PROXY",
    re.IGNORECASE,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["build", "check"])
    parser.add_argument("architectures", nargs="*", metavar="arm64|x86_64", help="both, if none is named")
    parser.add_argument("--cyclonedx", default="cargo-cyclonedx", metavar="PROGRAM", help="where cargo-cyclonedx is")
    parser.add_argument("--into", type=Path, default=PACKAGES, metavar="FOLDER", help="instead of target/package/")
    parser.add_argument("--no-parts-lists", action="store_true", help="the zips and SHA256SUMS alone, as the tests want them")
    asked = parser.parse_args()
    architectures = asked.architectures or list(TARGETS)
    if unknown := [name for name in architectures if name not in TARGETS]:
        stop(f"no such architecture: {', '.join(unknown)}; expected {' or '.join(TARGETS)}")
    cyclonedx = None if asked.no_parts_lists else asked.cyclonedx
    into = asked.into.resolve()
    compiled = PACKAGES / f"build-{version_of_tools(environment())}"
    can_be_built(compiled, cyclonedx, architectures)
    build(ROOT, compiled, into, architectures, cyclonedx, environment())
    # Of other tools nothing is taken any more.
    for old in PACKAGES.glob("build*"):
        if old != compiled:
            shutil.rmtree(old)
    if asked.command == "check":
        check(into, compiled, architectures, cyclonedx)
    for file in sorted(into.iterdir()):
        if file.is_file():
            print(f"{file.stat().st_size:>9,}  {os.path.relpath(file, ROOT)}")


# --- Before anything is built -----------------------------------------------------------------------------------------


def can_be_built(compiled, cyclonedx, architectures):
    """Whatever is missing is better found now than in a quarter of an hour."""
    for path in {ROOT, compiled, *cargo_homes(os.environ)}:
        if re.search(r"\s", str(path)):
            stop(f"the path {path} has a space in it, with which the C compilers cannot do: move it, or clone to another one")
    missing = [name for name in ("cargo", "rustc", "cargo-lambda") if not shutil.which(name)]
    if cyclonedx and not shutil.which(cyclonedx):
        missing.append(cyclonedx)
    if missing:
        stop(f"{', '.join(missing)} cannot be started: `make package` puts the tools in place")
    if not sources_of(ROOT):
        stop(f"there are no sources in {ROOT}")
    ensure_targets(architectures)


def ensure_targets(architectures):
    """Rust's standard library for each target, of the very toolchain that builds."""
    library = sysroot(environment()) / "lib" / "rustlib"
    missing = [name for name in architectures if not (library / TARGETS[name] / "lib").is_dir()]
    if missing and shutil.which("rustup"):
        subprocess.run(["rustup", "target", "add", *[TARGETS[name] for name in missing]], cwd=ROOT, env=environment(), check=False)
        missing = [name for name in missing if not (library / TARGETS[name] / "lib").is_dir()]
    if missing:
        version = output(["rustc", "--version"], ROOT, environment()).strip()
        rest = [name for name in architectures if name not in missing]
        stop(
            f"{version} has no standard library for {', '.join(TARGETS[name] for name in missing)}.\n"
            "Install it (`rustup target add`, with a network)"
            + (f", or package for {rest[0]} alone: make package ARCHITECTURES={rest[0]}" if rest else "")
        )


# --- Where it is built ------------------------------------------------------------------------------------------------


def environment(**more):
    """What a build sees."""
    return {name: value for name, value in os.environ.items() if SEEN.fullmatch(name)} | {"LC_ALL": "C", "TZ": "UTC"} | more


def version_of_tools(env):
    """Of what compiles and links: cargo would not link anew for another linker."""
    rustc = output(["rustc", "-vV"], ROOT, env).encode()
    return digest(rustc + (ROOT / "infra" / "package" / "requirements.txt").read_bytes())[:12]


def sysroot(env):
    return Path(output(["rustc", "--print", "sysroot"], ROOT, env).strip())


def cargo_homes(env):
    """As cargo was told, and where that is: a path gets into a program in either way."""
    told = Path(env.get("CARGO_HOME") or Path.home() / ".cargo")
    return list(dict.fromkeys([told.absolute(), told.resolve()]))


def places(sources, compiled, env):
    """Paths of this machine, and the same on every machine. Of several that fit, the compilers take the last: the target
    folder mostly lies in the sources'."""
    commit = re.search(r"^commit-hash: (.*)$", output(["rustc", "-vV"], sources, env), re.MULTILINE)[1]
    return [
        *[(path, "/cargo") for path in cargo_homes(env)],
        # Where Rust's own sources are installed, their paths are the machine's; else they are these.
        (sysroot(env) / "lib/rustlib/src/rust", f"/rustc/{commit}"),
        (sources, "/keytide"),
        (compiled, "/target"),
    ]


# --- Building ---------------------------------------------------------------------------------------------------------


def build(sources, compiled, into, architectures, cyclonedx, env):
    """Builds the functions in `sources` and puts their packages `into` a folder, in place of those that are there."""
    made = {}
    mapped = places(sources, compiled, env)
    for architecture in architectures:
        for function in FUNCTIONS:
            contents = compile_function(sources, compiled, function, TARGETS[architecture], mapped, env)
            fits_lambda(function, contents, mapped)
            package = zipped(contents)
            name = f"{function}-{architecture}-{version_of(sources, function, env)}-{digest(package)[:12]}"
            made[f"{name}.zip"] = package
            if cyclonedx:
                parts = parts_list(sources, function, TARGETS[architecture], digest(contents), cyclonedx, env)
                made[f"{name}.cdx.json"] = (json.dumps(parts, indent=1) + "\n").encode()
    made["SHA256SUMS"] = "".join(f"{digest(made[name])}  {name}\n" for name in sorted(made)).encode()
    replace(into, made)


def replace(into, made):
    """Puts files in place of a folder's. Whatever stops it leaves what was there, or a folder without SHA256SUMS, of which
    nothing is deployed: never half a file."""
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="new-", dir=into) as folder:
        for name, contents in made.items():
            (Path(folder) / name).write_bytes(contents)
        (into / "SHA256SUMS").unlink(missing_ok=True)
        for old in into.iterdir():
            if old.is_file():
                old.unlink()
        # The sums come last.
        for name in sorted(made, key=lambda name: name == "SHA256SUMS"):
            os.replace(Path(folder) / name, into / name)


def compile_function(sources, compiled, function, target, mapped, env):
    """The function's program, the same wherever it is built."""
    env = env | {
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(f"--remap-path-prefix={path}={name}" for path, name in mapped),
        "CFLAGS_" + target.replace("-", "_"): " ".join(f"-ffile-prefix-map={path}={name}" for path, name in mapped),
        "CARGO_TARGET_DIR": str(compiled),
        "CARGO_INCREMENTAL": "0",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        # Zig and its wrapper keep what they made in the home folder, where a second build would find the first one's.
        "ZIG_GLOBAL_CACHE_DIR": str(compiled / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(compiled / "zig"),
        "CARGO_ZIGBUILD_CACHE_DIR": str(compiled / "zigbuild"),
    }
    # One function at a time, since cargo would join the features of several. cargo-lambda would look for the target in
    # rustup's `stable`, which need not be the toolchain that builds.
    programs = compiled / "functions" / target
    subprocess.run(
        ["cargo", "lambda", "build", "--locked", "--profile", "lambda", "--package", function, "--bin", function]
        + ["--target", f"{target}.{LINKED_C_LIBRARY}", "--skip-target-check", "--lambda-dir", programs],
        cwd=sources,
        env=env,
        check=True,
    )
    return (programs / function / "bootstrap").read_bytes()


def fits_lambda(function, contents, mapped):
    """A program that asks for a newer C library than Lambda's ends there before its first line; one that holds a path of
    this machine is another file on another."""
    asked = [tuple(map(int, found.groups())) for found in re.finditer(rb"GLIBC_(\d+)\.(\d+)", contents)]
    if not asked or max(asked) > C_LIBRARY:
        stop(f"{function} asks for the C library's {max(asked, default=None)}, and Lambda has {C_LIBRARY}")
    for path, name in mapped:
        if str(path) == name or str(path).encode() not in contents:
            continue
        # Whole, since a checkout may lie in /app or /src, and much contains that.
        whole = rb"(?<![\w.\-/])" + re.escape(str(path).encode()) + rb"/"
        if found := re.search(whole + rb"[\w.\-/]*", contents):
            stop(f"{function} holds {found[0].decode()}, a path of this machine, so another would build another file")


def zipped(contents):
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, wherever it is made: else the permissions mean nothing.
    entry.external_attr = 0o100755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr(entry, contents, compresslevel=9)
    return written.getvalue()


# --- What is in it ----------------------------------------------------------------------------------------------------


def parts_list(sources, function, target, digest_of_program, cyclonedx, env):
    """What is linked into the function, as CycloneDX: cargo-cyclonedx's list, less what cargo does not build into it."""
    tree = ["cargo", "tree", "--locked", "--package", function, "--target", target, "--prefix", "none", "--no-dedupe"]
    lines = output([*tree, "--edges", "normal,no-proc-macro"], sources, env).splitlines()
    # A line is `name v1.2.3`, perhaps followed by where it lies.
    linked = {tuple(line.split()[:2]) for line in lines if line}
    with tempfile.TemporaryDirectory() as folder:
        # It writes beside every Cargo.toml, so not in the project; and asks cargo about the whole workspace, whose
        # features the command line widens.
        copied = copy_sources(sources, Path(folder) / "keytide")
        subprocess.run(
            [cyclonedx, "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--target", target]
            + ["--manifest-path", copied / "Cargo.toml", "--override-filename", "parts"],
            cwd=copied,
            env=env | {"SOURCE_DATE_EPOCH": str(EPOCH)},
            check=True,
        )
        [manifest] = [path for path in copied.glob("crates/*/Cargo.toml") if f'name = "{function}"' in path.read_text()]
        parts = json.loads((manifest.parent / "parts.json").read_text().replace(str(copied), "/keytide"))
    tools = output(["rustc", "--version"], sources, env).strip(), (sources / "infra/package/requirements.txt").read_text()
    return only_linked(parts, function, linked, digest_of_program, tools)


def only_linked(parts, function, linked, digest_of_program, tools):
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
    # Cargo knows nothing of what its compilers add.
    rustc, requirements = tools
    zig = re.search(r"^ziglang==(\S+)", requirements, re.MULTILINE)[1]
    parts["compositions"] = [{"aggregate": "incomplete", "assemblies": [main["bom-ref"]]}]
    parts["metadata"]["properties"] = [
        {"name": "keytide:linked-and-not-listed", "value": f"Rust's standard library and what is in it, of {rustc}"},
        {"name": "keytide:linked-and-not-listed", "value": f"the runtime and start-up code of Zig {zig}, for C and linking"},
    ]
    return parts


# --- Twice ------------------------------------------------------------------------------------------------------------


def check(first, compiled, architectures, cyclonedx):
    """Builds a second time as another machine would, and compares: other folders, for cargo's own files as well; another
    number of jobs, other rights of new files, another language, another time zone."""
    with tempfile.TemporaryDirectory(prefix="keytide-packaged-elsewhere-") as folder:
        folder = Path(folder).resolve()
        elsewhere = copy_sources(ROOT, folder / "sources")
        env = environment(
            CARGO_HOME=str(copy_cargo_home(folder / "another" / "cargo")),
            CARGO_BUILD_JOBS=str((os.cpu_count() or 1) + 1),
            LC_ALL="C.UTF-8",
            TZ="Asia/Kathmandu",
        )
        umask = os.umask(0o077)
        try:
            build(elsewhere, folder / "compiled", folder / "packages", architectures, cyclonedx, env)
        finally:
            os.umask(umask)
        compare(first, compiled, folder / "packages", folder / "compiled")
    print("both builds are the same, byte by byte")


def compare(first, first_compiled, second, second_compiled):
    sums = [(made / "SHA256SUMS").read_text().splitlines() for made in (first, second)]
    for made, lines in zip((first, second), sums):
        print(f"in {made}:", *lines, sep="\n  ")
    if sums[0] != sums[1]:
        stop(f"two builds of the same sources differ:\n{differences(first_compiled, second_compiled)}")


def differences(first, second):
    """The first byte at which programs of two builds differ, and what stands around it."""
    said = []
    for program in sorted((first / "functions").glob("*/*/bootstrap")):
        one, other = program.read_bytes(), (second / program.relative_to(first)).read_bytes()
        if one == other:
            continue
        at = next((n for n, (x, y) in enumerate(zip(one, other)) if x != y), min(len(one), len(other)))
        said.append(f"{program.relative_to(first)}, {len(one)} and {len(other)} bytes, from byte {at} on:")
        said += [f"  {text[max(0, at - 40) : at + 80]!r}" for text in (one, other)]
    return "\n".join(said) or "the programs are the same: it is a zip or a parts list"


def copy_cargo_home(to):
    """What cargo downloaded, under another path: by links to the very files where the disk is the same. A link to the folder
    would not do, since the compilers ask the system where they are, and it says where the folder is."""
    home = cargo_homes(os.environ)[-1]

    def link(source, target):
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    for name in ("registry", "git"):
        if (home / name).is_dir():
            shutil.copytree(home / name, to / name, symlinks=True, copy_function=link)
    to.mkdir(parents=True, exist_ok=True)
    for name in ("config.toml", "config"):
        if (home / name).is_file():
            shutil.copy2(home / name, to / name)
    return to


# --- Sources and tools ------------------------------------------------------------------------------------------------


def sources_of(folder):
    """What git would commit; in a tarball of a release, which git knows nothing of, all that nobody built there."""
    try:
        top = output(["git", "rev-parse", "--show-toplevel"], folder, stderr=subprocess.DEVNULL).strip()
        if Path(top).resolve() == folder:
            listed = output(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], folder)
            return [name for name in listed.split("\0") if name and (folder / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        pass
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in {".git", "target"}]
        found += [os.path.relpath(os.path.join(here, name), folder) for name in files]
    return found


def copy_sources(sources, to):
    """The sources, and nothing that lies about besides."""
    for name in sources_of(sources):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(sources / name, to / name)
    return to


def version_of(sources, function, env):
    metadata = ["cargo", "metadata", "--locked", "--no-deps", "--format-version=1"]
    packages = json.loads(output(metadata, sources, env))["packages"]
    return next(package["version"] for package in packages if package["name"] == function)


def digest(contents):
    return hashlib.sha256(contents).hexdigest()


def output(command, folder, env=None, stderr=None):
    return subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.PIPE, stderr=stderr, text=True).stdout


def stop(why):
    sys.exit(f"package: {why}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        stop(f"`{' '.join(map(str, error.cmd))}` failed, with exit code {error.returncode}; what it said is above")
