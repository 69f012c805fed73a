//! Takes the toolbox, a guest, into the agent where `cargo xtask guests` has built it. Nothing is compiled here: a build without the wasm target works,
//! and its agent says what it lacks when a command is wanted.

use std::{env, error::Error, fs, path::PathBuf};

/// From a build script's folder (`target/PROFILE/build/CRATE/out`) to the target folder.
const UP: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = out
        .ancestors()
        .nth(UP)
        .ok_or("OUT_DIR is in no target folder")?;
    let module = target.join("guests").join("toolbox.wasm");
    if !module.exists() {
        // A file that is not there would make cargo run this at every build.
        fs::create_dir_all(target.join("guests"))?;
        fs::write(&module, [])?;
    }
    println!("cargo::rerun-if-changed={}", module.display());
    fs::copy(&module, out.join("toolbox.wasm"))?;
    Ok(())
}
