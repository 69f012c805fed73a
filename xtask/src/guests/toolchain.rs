//! Chooses the compiler for guests: see the parent module. Nothing is downloaded that a package manager of the system does not vouch for.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, bail};

use crate::step;

/// Debian's packages that together compile Rust to wasm32-wasi.
const DEBIAN_PACKAGES: [&str; 5] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "wasi-libc",
    "lld-22",
];

/// A way to compile for wasm32-wasip1.
pub(crate) enum Toolchain {
    /// The default Rust has the target's standard library.
    Rustup,
    /// Debian's compiler; the standard library is built from source.
    Debian {
        cargo: PathBuf,
        rustc: PathBuf,
        /// The object with `_start`; guests are commands.
        crt: PathBuf,
    },
}

impl Toolchain {
    /// What guests are compiled for.
    pub(crate) const TARGET: &'static str = "wasm32-wasip1";

    /// The first way that works on this machine.
    pub(crate) fn find() -> anyhow::Result<Self> {
        if has_target() {
            return Ok(Self::Rustup);
        }
        if step::output(Command::new("rustup").args(["target", "add", Self::TARGET])).is_some()
            && has_target()
        {
            return Ok(Self::Rustup);
        }
        if let Some(debian) = debian() {
            return Ok(debian);
        }
        if step::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
            && step::output(Command::new("apt-get").arg("--version")).is_some()
        {
            install_debian_packages()?;
            return debian().context("find the compiler in the packages just installed");
        }
        bail!(
            "no compiler for {}: run `rustup target add {}`, or on Debian `apt-get install {}`",
            Self::TARGET,
            Self::TARGET,
            DEBIAN_PACKAGES.join(" ")
        )
    }

    /// A cargo command that compiles for [`Toolchain::TARGET`].
    pub(crate) fn cargo(&self) -> Command {
        let mut command = match self {
            Self::Rustup => Command::new("cargo"),
            Self::Debian { cargo, .. } => Command::new(cargo),
        };
        // What cargo set for xtask itself must not leak into another toolchain's build.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST") {
                command.env_remove(name);
            }
        }
        for name in [
            "RUSTUP_TOOLCHAIN",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
        ] {
            command.env_remove(name);
        }
        if let Self::Debian { rustc, crt, .. } = self {
            let libraries = crt
                .parent()
                .map(|folder| folder.display().to_string())
                .unwrap_or_default();
            let flags = [
                "-Clinker=wasm-ld-22".to_owned(),
                "-Clinker-flavor=wasm-ld".to_owned(),
                "-Clink-self-contained=no".to_owned(),
                format!("-Clink-arg={}", crt.display()),
                format!("-L{libraries}"),
                "-Cpanic=abort".to_owned(),
            ];
            command
                .env("RUSTC", rustc)
                .env("RUSTC_BOOTSTRAP", "1")
                .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
            command.arg("-Zbuild-std=std,panic_abort");
        }
        command.env("CARGO_BUILD_TARGET", Self::TARGET);
        command
    }
}

/// Whether the default Rust can compile for the target.
fn has_target() -> bool {
    let Some(sysroot) = step::output(Command::new("rustc").args(["--print", "sysroot"])) else {
        return false;
    };
    PathBuf::from(sysroot.trim())
        .join("lib/rustlib")
        .join(Toolchain::TARGET)
        .join("lib")
        .is_dir()
}

/// Debian's compiler, if its packages are installed.
fn debian() -> Option<Toolchain> {
    let linker = step::output(Command::new("wasm-ld-22").arg("--version"));
    linker.as_ref()?;
    file_of("rust-web-src", "library/std/Cargo.toml")?;
    Some(Toolchain::Debian {
        cargo: file_of("cargo-web", "/bin/cargo")?,
        rustc: file_of("rustc-web", "/bin/rustc")?,
        crt: file_of("wasi-libc", "crt1-command.o")?,
    })
}

/// The first file of a Debian package whose path ends so.
fn file_of(package: &str, ending: &str) -> Option<PathBuf> {
    let listing = step::output(Command::new("dpkg").args(["-L", package]))?;
    listing
        .lines()
        .find(|line| line.ends_with(ending))
        .map(PathBuf::from)
}

fn install_debian_packages() -> anyhow::Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    };
    step::quietly("update the list of Debian packages", apt().arg("update"))?;
    step::quietly(
        "install the wasm compiler",
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(DEBIAN_PACKAGES),
    )
}
