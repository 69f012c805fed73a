//! Programs that benches need and that Debian has.

use std::process::Command;

/// Makes sure that a program is there, which a package of Debian brings.
///
/// # Panics
/// When it is not and can't be installed.
pub(crate) fn ensure(program: &str, package: &str) {
    let is_there = || Command::new(program).arg("-v").output().is_ok();
    if is_there() {
        return;
    }
    let apt = |arguments: &[&str]| {
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("-q")
            .args(arguments)
            .output()
    };
    let installed =
        apt(&["update"]).and_then(|_| apt(&["install", "-y", "--no-install-recommends", package]));
    assert!(
        installed.is_ok() && is_there(),
        "this bench needs {program}: install Debian's package {package}"
    );
}
