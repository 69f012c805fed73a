//! Commands on files, and what the shell asks about them. The root is no directory in WASI: what is in it is known from where volumes are mounted.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    path::Path,
};

use wasip2::filesystem::preopens::get_directories;

use super::{Done, Job, told};

/// What is in a directory, in order.
pub fn names(path: &Path) -> io::Result<Vec<String>> {
    let listed = fs::read_dir(path);
    let mounted = mounted_in(path);
    if listed.is_err() && !mounted.is_empty() {
        return Ok(mounted.into_iter().collect());
    }
    let mut names: BTreeSet<String> = mounted;
    for entry in listed? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names.into_iter().collect())
}

/// The names in a directory below which something is mounted.
fn mounted_in(path: &Path) -> BTreeSet<String> {
    let mounts = get_directories();
    let below = mounts.iter().filter_map(|(_, mount)| {
        let rest = Path::new(mount).strip_prefix(path).ok()?;
        let first = rest.components().next()?;
        Some(first.as_os_str().to_string_lossy().into_owned())
    });
    below.collect()
}

/// Whether there is such a file or directory.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok() || is_folder(path)
}

/// Whether there is such a directory.
pub fn is_folder(path: &Path) -> bool {
    path == Path::new("/") || path.is_dir() || !mounted_in(path).is_empty()
}

fn on(name: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("{name}: {}", told(&error))
}

pub async fn cat(job: &mut Job<'_>) -> Done {
    let (_, mut names) = job.flags("u")?;
    if names.is_empty() {
        names.push("-".to_owned());
    }
    for name in &names {
        let mut input = job.open(name)?;
        loop {
            let piece = input.read().await.map_err(on(name))?;
            if piece.is_empty() {
                break;
            }
            job.say(piece).await?;
        }
    }
    Ok(0)
}

pub async fn mkdir(job: &mut Job<'_>) -> Done {
    let (flags, names) = job.flags("p")?;
    for name in &names {
        let path = job.shell.path(name);
        let made = if flags.contains('p') {
            fs::create_dir_all(path)
        } else {
            fs::create_dir(path)
        };
        made.map_err(on(name))?;
    }
    Ok(0)
}

pub async fn rm(job: &mut Job<'_>) -> Done {
    let (flags, names) = job.flags("rRfd")?;
    let is_recursive = flags.contains(['r', 'R']);
    for name in &names {
        let path = job.shell.path(name);
        let removed = if job.args[0] == "rmdir" {
            fs::remove_dir(path)
        } else if path.is_dir() && is_recursive {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
        match removed {
            Err(error) if flags.contains('f') && error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(on(name))?,
        }
    }
    Ok(0)
}

pub async fn touch(job: &mut Job<'_>) -> Done {
    let (_, names) = job.flags("c")?;
    for name in &names {
        let path = job.shell.path(name);
        let file = OpenOptions::new().append(true).create(true).open(path);
        let file = file.map_err(on(name))?;
        file.set_modified(std::time::SystemTime::now())
            .map_err(on(name))?;
    }
    Ok(0)
}

pub async fn mv(job: &mut Job<'_>) -> Done {
    let (_, names) = job.flags("f")?;
    let [sources @ .., target] = names.as_slice() else {
        return Err("needs a source and a target".into());
    };
    for source in sources {
        let (from, to) = (job.shell.path(source), into(job, source, target));
        if fs::rename(&from, &to).is_err() {
            // Another volume.
            copy(&from, &to).map_err(on(source))?;
            let removed = if from.is_dir() {
                fs::remove_dir_all(&from)
            } else {
                fs::remove_file(&from)
            };
            removed.map_err(on(source))?;
        }
    }
    Ok(0)
}

pub async fn cp(job: &mut Job<'_>) -> Done {
    let (flags, names) = job.flags("rRapf")?;
    let [sources @ .., target] = names.as_slice() else {
        return Err("needs a source and a target".into());
    };
    for source in sources {
        let (from, to) = (job.shell.path(source), into(job, source, target));
        if from.is_dir() && !flags.contains(['r', 'R', 'a']) {
            return Err(format!("-r not specified; omitting directory {source:?}").into());
        }
        copy(&from, &to).map_err(on(source))?;
    }
    Ok(0)
}

/// Where a file goes: below the target if that is a directory.
fn into(job: &Job<'_>, source: &str, target: &str) -> std::path::PathBuf {
    let to = job.shell.path(target);
    match job.shell.path(source).file_name() {
        Some(name) if to.is_dir() => to.join(name),
        _ => to,
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        let (mut from, mut to) = (File::open(from)?, File::create(to)?);
        io::copy(&mut from, &mut to)?;
        return Ok(());
    }
    if to.starts_with(from) {
        return Err(io::Error::other("a directory cannot be copied into itself"));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
