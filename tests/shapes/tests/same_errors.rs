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
             lock-runtime = {{ path = \"{}\", default-features = false, features = [\"macros\"] }}\n",
            runtime.display()
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
                write!(manifest, "\n[[bin]]\nname = \"{variant}-{name}\"\npath = \"{variant}/{name}.rs\"\n")
                    .expect("text");
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

struct Diagnostic {
    text: Text,
    /// Everything that the user reads, for the report.
    rendered: String,
}

/// What has to be the same. Left out are the secondary labels and the notes: with what the type of the body has to do, rustc
/// says in other words of a block.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Text {
    level: String,
    code: String,
    /// The places that are marked with `^`: the line, and the label.
    marks: Vec<(u64, String)>,
    message: String,
}

impl Diagnostic {
    /// `None` for the summary at the end.
    fn read(message: &Value) -> Option<Self> {
        // A body under the attribute is an `async` block, and so it is called.
        let text = |value: &Value| value.as_str().unwrap_or_default().replace("`async` block", "`async` function");
        let spans = message["spans"].as_array().filter(|spans| !spans.is_empty())?;
        let primary = spans.iter().filter(|span| span["is_primary"] == true);
        let text = Text {
            level: text(&message["level"]),
            code: text(&message["code"]["code"]),
            marks: primary
                .map(|span| (span["line_start"].as_u64().unwrap_or_default(), text(&span["label"])))
                .collect(),
            message: text(&message["message"]).replace("an async block", "an async function"),
        };
        Some(Self { text, rendered: message["rendered"].as_str().unwrap_or_default().to_owned() })
    }

    fn lines(&self) -> Vec<u64> {
        self.text.marks.iter().map(|(line, _)| *line).collect()
    }
}

/// What is said of the program `name`, without the attribute and with it, each in a fixed order.
fn both<'a>(diagnostics: &'a Diagnostics, name: &str) -> [Vec<&'a Diagnostic>; 2] {
    [PLAIN, LOCKED].map(|variant| {
        let said = diagnostics.get(&format!("{variant}-{name}"));
        let mut said: Vec<_> = said.into_iter().flatten().collect();
        said.sort_by_key(|said| (said.lines(), &said.text));
        said
    })
}

fn texts<'a>(said: &[&'a Diagnostic]) -> Vec<&'a Text> {
    said.iter().map(|said| &said.text).collect()
}

fn show(said: &[&Diagnostic]) -> String {
    said.iter().map(|said| said.rendered.as_str()).collect()
}

fn compared(name: &str, plain: &[&Diagnostic], locked: &[&Diagnostic]) -> String {
    format!("## {name}\n# without\n{}# with\n{}", show(plain), show(locked))
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
        if texts(&plain) != texts(&locked) {
            differences.push(compared(name, &plain, &locked));
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
        let places = |said: &[&Diagnostic]| said.iter().map(|said| said.lines()).collect::<Vec<_>>();
        if places(&plain) != places(&locked) {
            differences.push(compared(name, &plain, &locked));
        }
    }
    assert_none(&differences);
}

/// Promise: neither the compiler nor clippy, pedantic and nursery lints included, says anything that it does not say without the
/// attribute; and what it says of the body it still says.
#[test]
fn there_are_no_new_warnings() {
    /// That there is nothing to await is no longer true; that the last statement need not be a `return`, clippy says of
    /// functions only.
    const NOT_SAID: [&str; 2] = ["clippy::unused_async", "clippy::needless_return"];

    let package = Package::write("clean");
    let lints = ["--", "-W", "clippy::all", "-W", "clippy::pedantic", "-W", "clippy::nursery"];
    let diagnostics = package.diagnostics(&["clippy"], &lints);
    let mut differences = Vec::new();
    for name in &package.names {
        let [mut plain, locked] = both(&diagnostics, name);
        assert!(locked.iter().all(|said| said.text.level == "warning"), "{name} does not compile:\n{}", show(&locked));
        plain.retain(|said| !NOT_SAID.contains(&&*said.text.code));
        if texts(&plain) != texts(&locked) {
            differences.push(compared(name, &plain, &locked));
        }
        // Or clippy did not run, and the comparison says nothing.
        assert!(name != "warned_of" || plain.len() > 3, "{name}: clippy has more to say of it:\n{}", show(&plain));
    }
    assert_none(&differences);
}
