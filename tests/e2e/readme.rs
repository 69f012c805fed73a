//! What the README tells a newcomer to type, typed as it stands there, in a copy of the repository.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use coracle_tests::process::{Process, program};

/// What a clone has that the commands need; the rest is left out of the copy.
const COPIED: [&str; 3] = ["examples", "sdk", "tests/fixtures/guests"];

/// The commands of the README's section, block by block.
fn blocks(section: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(&format!("## {section}\n")).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let fenced = section.split("```\n").skip(1).step_by(2);
    fenced.map(str::to_owned).collect()
}

#[test]
fn a_newcomer_gets_a_service_of_their_own_deployed_and_answering() {
    let blocks = blocks("Your own service");
    let [started, deployed] = blocks.as_slice() else {
        panic!("two blocks of commands: one per terminal");
    };
    assert!(started.ends_with("coracle up\n"), "{started}");
    let repository = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let clone = tempfile::tempdir().unwrap();
    for folder in COPIED {
        let into = clone.path().join(folder);
        std::fs::create_dir_all(into.parent().unwrap()).unwrap();
        let from = repository.join(folder);
        let copied = Command::new("cp").arg("-r").arg(from).arg(into).status();
        assert!(copied.unwrap().success());
    }
    let release = program().parent().unwrap().to_owned();
    // Where builds go is the machine's affair: the clone's target is the one that these tests were built into.
    std::os::unix::fs::symlink(release.parent().unwrap(), clone.path().join("target")).unwrap();

    let _up = Process::start_in(clone.path(), vec!["up".to_owned()], "export KUBECONFIG=");
    let mut commands = deployed.clone();
    // The task builds the guests of the repository that cargo runs it for; here it is told to take the clone's.
    let task = format!("{}/xtask guests", release.display());
    assert!(commands.contains("cargo xtask guests\n"), "{commands}");
    commands = commands.replace("cargo xtask guests", &task);
    let typed = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &commands])
        .current_dir(clone.path())
        .env("CARGO_MANIFEST_DIR", clone.path().join("xtask"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&typed.stdout).into_owned(),
        String::from_utf8_lossy(&typed.stderr).into_owned(),
    );
    assert!(typed.status.success(), "{out}{err}");
    assert!(out.contains("hello and welcome from hello-mine-"), "{out}");
}
