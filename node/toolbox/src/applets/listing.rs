//! `ls`: names, or with `-l` a line for each with kind, size and time.

use std::{fs::Metadata, path::Path, time::SystemTime};

use super::{Done, Job, files, process::timestamp, told};

pub async fn ls(job: &mut Job<'_>) -> Done {
    let (flags, mut names) = job.flags("lad1hAR")?;
    if names.is_empty() {
        names.push(".".to_owned());
    }
    let (mut files, mut folders, mut code) = (Vec::new(), Vec::new(), 0);
    for name in names {
        let path = job.shell.path(&name);
        if files::is_folder(&path) && !flags.contains('d') {
            folders.push((name, path));
        } else if files::exists(&path) {
            files.push((name, path));
        } else {
            job.complain(&format!("{name}: No such file or directory"))
                .await?;
            code = 1;
        }
    }
    for (name, path) in &files {
        job.say(line(name, path, &flags)).await?;
    }
    let headed = folders.len() > 1 || !files.is_empty();
    for (index, (name, path)) in folders.iter().enumerate() {
        if headed {
            let gap = if index > 0 || !files.is_empty() {
                "\n"
            } else {
                ""
            };
            job.say(format!("{gap}{name}:\n")).await?;
        }
        match files::names(path) {
            Ok(names) => {
                for name in names
                    .iter()
                    .filter(|name| flags.contains(['a', 'A']) || !name.starts_with('.'))
                {
                    job.say(line(name, &path.join(name), &flags)).await?;
                }
            }
            // An empty root.
            Err(_) if path == Path::new("/") => {}
            Err(error) => {
                job.complain(&format!("{name}: {}", told(&error))).await?;
                code = 1;
            }
        }
    }
    Ok(code)
}

fn line(name: &str, path: &Path, flags: &str) -> String {
    if !flags.contains('l') {
        return format!("{name}\n");
    }
    let metadata = std::fs::symlink_metadata(path).ok();
    let is = |test: fn(&Metadata) -> bool| metadata.as_ref().is_some_and(test);
    let kind = if is(Metadata::is_symlink) {
        'l'
    } else if files::is_folder(path) {
        'd'
    } else {
        '-'
    };
    let size = metadata.as_ref().map_or(0, Metadata::len);
    let modified = metadata
        .as_ref()
        .and_then(|metadata| metadata.modified().ok());
    let time = timestamp(modified.unwrap_or(SystemTime::UNIX_EPOCH));
    format!("{kind}rw-r--r-- {size:>10} {time} {name}\n")
}
