//! Builds and installs what contestants need, the first time that they are asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Settings, TABLE};

use super::contestants::Program;

/// The folder `tools/peers`.
fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers")
}

/// What Flink reaches into.
const OPEN_PACKAGES: [&str; 11] = [
    "java.lang",
    "java.net",
    "java.io",
    "java.nio",
    "sun.nio.ch",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
    "java.util.concurrent.atomic",
    "java.util.concurrent.locks",
];

/// W2 holds some 600 bytes for each pair of page and device: of 10 M rows, more than 6 GB.
const FLINK_HEAP: &str = "-Xmx12g";

/// What is there, and what is not.
pub(super) struct Programs {
    /// `target/bench`.
    folder: PathBuf,
    /// Where peers are built.
    target: PathBuf,
    known: Vec<(Program, bool)>,
    /// Who is skipped, and why.
    pub(super) skipped: Vec<String>,
}

impl Programs {
    pub(super) fn new(settings: &Settings) -> Self {
        let folder = settings.folder.clone();
        let target = folder.join("peers");
        Self { folder, target, known: Vec::new(), skipped: Vec::new() }
    }

    /// Makes sure that it is there; says so once if it cannot be had.
    pub(super) fn prepare(&mut self, program: Program) -> bool {
        if let Some((_, there)) = self.known.iter().find(|(known, _)| *known == program) {
            return *there;
        }
        let outcome = match program {
            Program::Ours => Ok(()),
            Program::Rust(package) => self.build(package),
            Program::Python => self.venv("venv", &peers().join("python/requirements.txt")),
            Program::Flink => self.flink(),
        };
        if let Err(message) = &outcome {
            eprintln!("skipped: {message}");
            self.skipped.push(message.clone());
        }
        self.known.push((program, outcome.is_ok()));
        outcome.is_ok()
    }

    fn build(&self, package: &str) -> Result<(), String> {
        let mut command = Command::new("cargo");
        command.args(["build", "--quiet", "--release", "--locked", "--package", package]);
        command.arg("--manifest-path").arg(peers().join("Cargo.toml"));
        command.arg("--target-dir").arg(&self.target);
        succeed(&mut command, package)
    }

    /// An environment of Python's with these packages. What it was made from is kept in it, so that it is made again when that changes.
    fn venv(&self, name: &str, requirements: &Path) -> Result<(), String> {
        let (venv, wanted) = (self.folder.join(name), read(requirements)?);
        let made_from = venv.join("requirements.txt");
        if read(&made_from).is_ok_and(|made| made == wanted) {
            return Ok(());
        }
        eprintln!("installing into {}: {}", venv.display(), wanted.replace('\n', " "));
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), "a venv")?;
        let mut pip = Command::new(venv.join("bin/pip"));
        // Packages are named with all they need, so that nothing else comes along.
        pip.args(["install", "--quiet", "--no-deps", "--requirement"]).arg(requirements);
        succeed(&mut pip, wanted.trim())?;
        fs::write(&made_from, wanted).map_err(|error| error.to_string())
    }

    /// Flink's jars, and what is compiled against them.
    fn flink(&self) -> Result<(), String> {
        let source = peers().join("flink");
        self.venv("flink", &source.join("requirements.txt"))?;
        let classes = self.folder.join("flink/classes");
        let services = "META-INF/services";
        fs::create_dir_all(classes.join(services)).map_err(|error| error.to_string())?;
        let factory = Path::new(services).join("org.apache.flink.table.factories.Factory");
        fs::copy(source.join(&factory), classes.join(&factory))
            .map_err(|error| error.to_string())?;
        let mut javac = Command::new("javac");
        javac.arg("-cp").arg(self.jars()?).arg("-d").arg(&classes);
        javac.args(
            ["AddsUp.java", "Compare.java", "Latency.java"]
                .map(|name| source.join("src/compare").join(name)),
        );
        succeed(&mut javac, "Java 17's compiler, for Flink,")
    }

    /// A class path of Flink's jars.
    fn jars(&self) -> Result<String, String> {
        let lib = self.folder.join("flink/lib");
        let pythons = fs::read_dir(&lib).map_err(|error| format!("{}: {error}", lib.display()))?;
        let jars = pythons.flatten().map(|python| python.path().join("site-packages/pyflink/lib"));
        let jars = jars.into_iter().find(|jars| jars.exists());
        jars.map(|jars| format!("{}/*", jars.display())).ok_or_else(|| "Flink has no jars".into())
    }

    /// What starts a class of those compiled.
    fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.arg(FLINK_HEAP);
        for package in OPEN_PACKAGES {
            java.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        let log = peers().join("flink/log4j2.properties");
        java.arg(format!("-Dlog4j.configurationFile={}", log.display()));
        let jars = self.jars().expect("it was prepared");
        java.arg("-cp").arg(format!("{}:{jars}", self.folder.join("flink/classes").display()));
        java.arg(class);
        java
    }

    /// What starts it.
    pub(super) fn command(&self, program: Program) -> Command {
        match program {
            Program::Ours => {
                let mut command =
                    Command::new(std::env::current_exe().expect("this runs from a file"));
                command.arg(super::CONTESTANT);
                command
            }
            Program::Rust(package) => Command::new(self.target.join("release").join(package)),
            Program::Python => {
                let mut command = Command::new(self.folder.join("venv/bin/python"));
                command.arg(peers().join("python/batch.py"));
                command
            }
            Program::Flink => {
                let mut java = self.java("compare.Compare");
                let queries = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
                java.arg("--queries").arg(queries).args(["--table", TABLE]);
                java
            }
        }
    }
}

/// What starts Flink on a stream of which latency is measured; says why it cannot be had.
pub(crate) fn flink_latency(settings: &Settings) -> Result<Command, String> {
    let programs = Programs::new(settings);
    programs.flink()?;
    Ok(programs.java("compare.Latency"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs a command that must succeed; what it says goes to standard error.
fn succeed(command: &mut Command, what: &str) -> Result<(), String> {
    match command.stdout(std::io::stderr()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what} cannot be had: {status}")),
        Err(error) => Err(format!("{what} cannot be had: {error}")),
    }
}
