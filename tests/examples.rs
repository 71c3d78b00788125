//! The examples of the library run and show what they should.

use std::process::Command;

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
