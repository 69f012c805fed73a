//! `test` and `[`: questions about files, texts and numbers.

use super::{Done, Job, files};

/// The exit code where there is no such question.
const NONE: i32 = 2;

pub async fn test(job: &mut Job<'_>) -> Done {
    let mut args: Vec<&str> = job.rest().iter().map(String::as_str).collect();
    if job.args[0].ends_with('[') && args.pop() != Some("]") {
        job.complain("missing ]").await?;
        return Ok(NONE);
    }
    match any(job, &args) {
        Some(is) => Ok(i32::from(!is)),
        None => {
            job.complain(&format!("{}: unknown question", args.join(" ")))
                .await?;
            Ok(NONE)
        }
    }
}

/// Questions joined by `-o`, which binds less than `-a`.
fn any(job: &Job<'_>, args: &[&str]) -> Option<bool> {
    for (joint, stops_at) in [("-o", true), ("-a", false)] {
        // Three words are one question, whatever is in their middle.
        if args.len() > 3
            && let Some(at) = args.iter().position(|arg| *arg == joint)
        {
            let first = any(job, &args[..at])?;
            return if first == stops_at {
                Some(first)
            } else {
                any(job, &args[at + 1..])
            };
        }
    }
    one(job, args)
}

fn one(job: &Job<'_>, args: &[&str]) -> Option<bool> {
    match args {
        [] => Some(false),
        ["!", rest @ ..] => any(job, rest).map(|is| !is),
        [text] => Some(!text.is_empty()),
        [question, name] => {
            let path = job.shell.path(name);
            Some(match *question {
                "-n" => !name.is_empty(),
                "-z" => name.is_empty(),
                "-e" | "-r" | "-w" | "-x" => files::exists(&path),
                "-f" => path.is_file(),
                "-d" => files::is_folder(&path),
                "-s" => path.metadata().is_ok_and(|metadata| metadata.len() > 0),
                "-L" | "-h" => path.is_symlink(),
                "-t" => crate::stdin::is_terminal(),
                _ => return None,
            })
        }
        [left, question, right] => {
            let numbers = || {
                Some((
                    left.trim().parse::<i64>().ok()?,
                    right.trim().parse::<i64>().ok()?,
                ))
            };
            Some(match *question {
                "=" | "==" => left == right,
                "!=" => left != right,
                "<" => left < right,
                ">" => left > right,
                "-eq" => numbers().map(|(left, right)| left == right)?,
                "-ne" => numbers().map(|(left, right)| left != right)?,
                "-lt" => numbers().map(|(left, right)| left < right)?,
                "-le" => numbers().map(|(left, right)| left <= right)?,
                "-gt" => numbers().map(|(left, right)| left > right)?,
                "-ge" => numbers().map(|(left, right)| left >= right)?,
                _ => return None,
            })
        }
        _ => None,
    }
}
