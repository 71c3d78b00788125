//! The examples of the library run and show what they should.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

/// What an example prints.
fn shown(name: &str) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--quiet", "--example", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo is there");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("examples print text")
}

#[test]
fn uv() {
    let shown = shown("uv");
    let last = |page: u32| {
        let line = shown.lines().rfind(|line| line.contains(&format!("page {page}:")));
        line.unwrap_or_else(|| panic!("{shown}")).to_owned()
    };
    for page in 0..3 {
        assert_eq!(last(page), format!("+U page {page}: 200000 views by 10000 visitors"));
    }
}

#[test]
fn top_pages() {
    let shown = shown("top_pages");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 19, "{shown}");
    assert_eq!(lines[7], "until second 16: [(5000, 0), (2286, 9), (1667, 1)]", "{shown}");
}

#[test]
fn visits() {
    let expected = "device 1 visit 1: home > search > shop in 9 s
device 1 visit 2: home > basket in 27 s
device 2 visit 1: home in 0 s
device 2 visit 2: help > home in 29 s
";
    assert_eq!(shown("visits"), expected);
}

#[test]
fn late() {
    let expected = "sensor 1 from 0 s: 2 readings, 21 C
sensor 1 from 10 s: 1 readings, 22 C
sensor 2 from 0 s: 1 readings, 18 C
sensor 2 from 10 s: 1 readings, 18.5 C
too late: sensor 1 at 8 s, 99 C
1 of 6 were late
";
    assert_eq!(shown("late"), expected);
}

#[test]
fn server() {
    let expected = "/: 3 requests, 48 bytes
/about: 1 requests, 21 bytes
4 requests in all
";
    assert_eq!(shown("server"), expected);
}

/// Kills the example with SIGKILL when it has shown something more, several times, and lets it end then.
#[test]
fn exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let undisturbed = life(&folder.path().join("undisturbed")).wait_with_output().unwrap();
    assert!(undisturbed.status.success());
    let undisturbed = String::from_utf8(undisturbed.stdout).unwrap();
    let lines: Vec<&str> = undisturbed.lines().collect();
    assert_eq!(lines.len(), 180, "{undisturbed}");
    assert_eq!(lines[0], "from   0 s account 0: 112 payments, 4504 cents");

    let killed = folder.path().join("killed");
    let shown = || {
        let names = std::fs::read_dir(killed.join("totals")).into_iter().flatten();
        names
            .filter(|name| !name.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b"."))
            .count()
    };
    for _ in 0..4 {
        let (mut process, before) = (life(&killed), shown());
        #[expect(clippy::disallowed_methods, reason = "nothing is simulated here")]
        let started = Instant::now();
        while shown() <= before {
            assert!(started.elapsed() < Duration::from_secs(60), "nothing is shown");
            std::thread::sleep(Duration::from_millis(1));
        }
        process.kill().unwrap();
        assert_eq!(process.wait().unwrap().signal(), Some(9), "it was killed in the middle");
    }
    let last = life(&killed).wait_with_output().unwrap();
    assert!(last.status.success());
    assert_eq!(String::from_utf8(last.stdout).unwrap(), undisturbed);
    assert!(
        std::fs::read_dir(killed.join("totals")).unwrap().count() == shown(),
        "nothing is hidden"
    );
}

/// The process of `exactly_once` itself, not cargo's, at work in a folder.
fn life(folder: &Path) -> Child {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--example", "exactly_once"]);
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    });
    // `target/debug/deps/examples-…` is this test.
    let this = std::env::current_exe().unwrap();
    let program = this.ancestors().nth(2).unwrap().join("examples/exactly_once");
    Command::new(program).arg(folder).stdout(Stdio::piped()).spawn().unwrap()
}
