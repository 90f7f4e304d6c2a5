//! Promise: a function under the attribute has the errors and warnings that it has without: the same number and the same text;
//! where an argument is borrowed wrongly, the same number at the same lines. And clippy has nothing new to say, pedantic and
//! nursery lints included.
//!
//! Each file below `same/` is compiled twice: as it is, and with the lines of the attribute made comments, so that everything
//! stays in its line. The compiler's own words on both are compared.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use serde_json::Value;

const PLAIN: &str = "plain";
const LOCKED: &str = "locked";

/// A package with two programs for each file of one directory below `same/`.
struct Package {
    root: PathBuf,
    names: Vec<String>,
}

impl Package {
    fn write(kind: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let workspace = here.join("../..");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("same").join(kind);
        let runtime = workspace.join("lock-runtime");
        // The versions that the workspace has, which have been downloaded.
        fs::create_dir_all(&root).expect("a directory in the target directory");
        fs::copy(workspace.join("Cargo.lock"), root.join("Cargo.lock")).expect("the lock file of the workspace");
        let mut manifest = format!(
            "[package]\nname = \"same-{kind}\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n\
             lock-runtime = {{ path = {runtime:?}, default-features = false, features = [\"macros\"] }}\n"
        );
        let mut names = Vec::new();
        for entry in fs::read_dir(here.join("same").join(kind)).expect("the snippets") {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
            let locked = fs::read_to_string(&path).expect("a snippet");
            let plain = without_attribute(&locked);
            assert_ne!(plain, locked, "{name}: there is no attribute");
            for (variant, source) in [(PLAIN, plain), (LOCKED, locked)] {
                let directory = root.join(variant);
                fs::create_dir_all(&directory).expect("a directory");
                fs::write(directory.join(format!("{name}.rs")), source).expect("a source file");
                write!(manifest, "\n[[bin]]\nname = \"{variant}-{name}\"\npath = \"{variant}/{name}.rs\"\n").expect("text");
            }
            names.push(name);
        }
        fs::write(root.join("Cargo.toml"), manifest).expect("a manifest");
        assert!(!names.is_empty());
        names.sort();
        Self { root, names }
    }

    /// What `cargo ARGUMENTS` says of each program.
    fn diagnostics(&self, arguments: &[&str], lints: &[&str]) -> Diagnostics {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let output = Command::new(cargo)
            .args(arguments)
            .args(["--offline", "--keep-going", "--message-format=json", "--target-dir"])
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("same").join("target"))
            .args(lints)
            .current_dir(&self.root)
            // A wish of the caller's about the workspace, which would change what is a warning.
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .expect("cargo");
        let text = String::from_utf8(output.stdout).expect("text");
        let errors = String::from_utf8_lossy(&output.stderr);
        let mut diagnostics = Diagnostics::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let target = line["target"]["name"].as_str().unwrap_or_default();
            let known = [PLAIN, LOCKED].iter().any(|variant| target.starts_with(&format!("{variant}-")));
            if line["reason"] == "compiler-message" && known {
                let diagnostic = Diagnostic::read(&line["message"]);
                diagnostics.entry(target.to_owned()).or_default().extend(diagnostic);
            }
        }
        // What was not compiled cannot be compared: every dependency is fine, and every program was reached.
        assert!(!errors.contains("could not compile `lock-"), "{errors}");
        assert!(text.contains("build-finished"), "{errors}");
        diagnostics
    }
}

/// The source with the attribute's lines made comments.
fn without_attribute(source: &str) -> String {
    source.lines().fold(String::new(), |mut plain, line| {
        let comment = if line.trim_start().starts_with("#[lock_runtime::distributed_lock(") { "//" } else { "" };
        writeln!(plain, "{comment}{line}").expect("text");
        plain
    })
}

type Diagnostics = BTreeMap<String, Vec<Diagnostic>>;

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Diagnostic {
    level: String,
    code: String,
    /// The lines that are marked with `^`.
    lines: Vec<u64>,
    message: String,
    /// Everything that the user reads: marks, labels, notes and suggestions.
    rendered: String,
}

impl Diagnostic {
    /// `None` for the summary at the end.
    fn read(message: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let spans = message["spans"].as_array().filter(|spans| !spans.is_empty())?;
        let primary = spans.iter().filter(|span| span["is_primary"] == true);
        Some(Self {
            level: text(&message["level"]),
            code: text(&message["code"]["code"]),
            lines: primary.filter_map(|span| span["line_start"].as_u64()).collect(),
            message: text(&message["message"]),
            rendered: text(&message["rendered"]).replace(&format!("{LOCKED}/"), &format!("{PLAIN}/")),
        })
    }
}

/// What is said of the program `name`, without the attribute and with it, each in a fixed order.
fn both<'a>(diagnostics: &'a Diagnostics, name: &str) -> [Vec<&'a Diagnostic>; 2] {
    [PLAIN, LOCKED].map(|variant| {
        let said = diagnostics.get(&format!("{variant}-{name}"));
        let mut said: Vec<_> = said.into_iter().flatten().collect();
        said.sort();
        said
    })
}

fn show(diagnostics: &[&Diagnostic]) -> String {
    diagnostics.iter().map(|diagnostic| diagnostic.rendered.as_str()).collect()
}

fn assert_none(differences: &[String]) {
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

/// Promise: mistakes in the body and warnings about the function are told in the same words as without the attribute.
#[test]
fn mistakes_are_told_in_the_same_words() {
    let package = Package::write("mistakes");
    let diagnostics = package.diagnostics(&["check"], &[]);
    let mut differences = Vec::new();
    for name in &package.names {
        let [plain, locked] = both(&diagnostics, name);
        assert!(!plain.is_empty(), "{name}: nothing is wrong with it");
        if plain != locked {
            differences.push(format!("## {name}\n# without\n{}# with\n{}", show(&plain), show(&locked)));
        }
    }
    assert_none(&differences);
}

/// Promise: mistakes in the borrowing of arguments are as many as without the attribute, and are shown in the same lines. (The
/// words differ: the body is a block that captures its arguments.)
#[test]
fn borrows_of_arguments_are_told_at_the_same_place() {
    let package = Package::write("borrows");
    let diagnostics = package.diagnostics(&["check"], &[]);
    let mut differences = Vec::new();
    for name in &package.names {
        let [plain, locked] = both(&diagnostics, name);
        assert!(!plain.is_empty(), "{name}: nothing is wrong with it");
        let places = |said: &[&Diagnostic]| {
            let mut places: Vec<_> = said.iter().map(|said| (said.level.clone(), said.lines.clone())).collect();
            places.sort();
            places
        };
        if places(&plain) != places(&locked) {
            differences.push(format!("## {name}\n# without\n{}# with\n{}", show(&plain), show(&locked)));
        }
    }
    assert_none(&differences);
}

/// What was remarked, without what is no longer true under the attribute: that there is nothing to await.
fn remarks<'a>(said: &[&'a Diagnostic]) -> Vec<(&'a str, &'a [u64], &'a str)> {
    let said = said.iter().filter(|said| said.code != "clippy::unused_async");
    said.map(|said| (&*said.code, &*said.lines, &*said.message)).collect()
}

/// Promise: neither the compiler nor clippy, pedantic and nursery lints included, says anything that it does not say without the
/// attribute; and what it says of the body it still says.
#[test]
fn there_are_no_new_warnings() {
    let package = Package::write("clean");
    let lints = ["--", "-W", "clippy::all", "-W", "clippy::pedantic", "-W", "clippy::nursery"];
    let diagnostics = package.diagnostics(&["clippy"], &lints);
    let mut differences = Vec::new();
    for name in &package.names {
        let [plain, locked] = both(&diagnostics, name);
        assert!(locked.iter().all(|said| said.level == "warning"), "{name} does not compile:\n{}", show(&locked));
        let texts = format!("## {name}\n# without\n{}# with\n{}", show(&plain), show(&locked));
        let (plain, locked) = (remarks(&plain), remarks(&locked));
        if plain != locked {
            differences.push(texts);
        }
        // Or clippy did not run, and the comparison says nothing.
        assert!(name != "warned_of" || plain.len() > 3, "{name}: clippy has more to say of it: {plain:?}");
    }
    assert_none(&differences);
}
