//! Commands about the shell itself, its environment, and time.

use std::time::{Duration, SystemTime};

use super::{Done, Job, told};
use crate::shell;

/// The variable by which the node tells what the container's own program is.
const PROGRAM: &str = "CORACLE_PROGRAM";

pub async fn cd(job: &mut Job<'_>) -> Done {
    let to = match job.rest().first().map(String::as_str) {
        None => job
            .shell
            .vars()
            .get("HOME")
            .cloned()
            .unwrap_or_else(|| "/".to_owned()),
        Some("-") => job
            .shell
            .vars()
            .get("OLDPWD")
            .cloned()
            .unwrap_or_else(|| "/".to_owned()),
        Some(to) => to.to_owned(),
    };
    job.shell
        .go(&to)
        .map_err(|error| format!("{to}: {}", told(&error)))?;
    Ok(0)
}

pub async fn pwd(job: &mut Job<'_>) -> Done {
    job.say(format!("{}\n", job.shell.cwd())).await?;
    Ok(0)
}

/// `env` and `printenv`: shows the environment, or runs a command with more of it.
pub async fn env(job: &mut Job<'_>) -> Done {
    let mut inner = job.shell.clone();
    let mut args = job.rest();
    while let Some((name, value)) = args.first().and_then(|arg| arg.split_once('=')) {
        inner.set(name, value);
        args = &args[1..];
    }
    if args.is_empty() {
        for (name, value) in inner.vars().iter().filter(|(name, _)| *name != PROGRAM) {
            job.say(format!("{name}={value}\n")).await?;
        }
        return Ok(0);
    }
    if job.args[0].ends_with("printenv") {
        let Some(value) = inner.vars().get(&args[0]) else {
            return Ok(1);
        };
        job.say(format!("{value}\n")).await?;
        return Ok(0);
    }
    let args = args.to_vec();
    let (stdin, out, err) = (job.take_stdin(), job.out.clone(), job.err.clone());
    Ok(super::run(&mut inner, &args, stdin, out, err).await)
}

pub async fn export(job: &mut Job<'_>) -> Done {
    for arg in job.args[1..].to_vec() {
        if let Some((name, value)) = arg.split_once('=') {
            job.shell.set(name, value);
        }
    }
    Ok(0)
}

pub async fn unset(job: &mut Job<'_>) -> Done {
    for name in job.args[1..].to_vec() {
        job.shell.unset(&name);
    }
    Ok(0)
}

pub async fn set(job: &mut Job<'_>) -> Done {
    let args = job.args[1..].to_vec();
    if args.is_empty() {
        for (name, value) in job.shell.vars() {
            job.say(format!("{name}='{value}'\n")).await?;
        }
    }
    job.shell.configure(&args);
    Ok(0)
}

pub async fn shift(job: &mut Job<'_>) -> Done {
    let by = job
        .rest()
        .first()
        .and_then(|arg| arg.parse().ok())
        .unwrap_or(1);
    Ok(i32::from(!job.shell.shift(by)))
}

/// Reads a line into variables: the last has what is left.
pub async fn read(job: &mut Job<'_>) -> Done {
    let (_, mut names) = job.flags("r")?;
    if names.is_empty() {
        names.push("REPLY".to_owned());
    }
    let line = job.stdin.line().await?;
    let Some(line) = line else {
        return Ok(1);
    };
    let line = String::from_utf8_lossy(&line)
        .trim_end_matches('\n')
        .to_owned();
    let mut rest = line.trim_start();
    for (index, name) in names.iter().enumerate() {
        if index + 1 == names.len() {
            job.shell.set(name, rest.trim_end());
            break;
        }
        let (word, after) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        job.shell.set(name, word);
        rest = after.trim_start();
    }
    Ok(0)
}

/// `eval` and `.`: more commands in this shell.
pub async fn eval(job: &mut Job<'_>) -> Done {
    let script = if job.args[0] == "." {
        let name = job.rest().first().cloned().ok_or("needs a file")?;
        std::fs::read_to_string(job.shell.path(&name))
            .map_err(|error| format!("{name}: {}", told(&error)))?
    } else {
        job.rest().join(" ")
    };
    let (stdin, out, err) = (job.take_stdin(), job.out.clone(), job.err.clone());
    Ok(shell::script_run(job.shell, &script, stdin, out, err).await)
}

pub async fn ps(job: &mut Job<'_>) -> Done {
    let own = job.args.join(" ");
    let program = job.shell.vars().get(PROGRAM).cloned().unwrap_or_default();
    job.say(format!("PID   COMMAND\n    1 {program}\n    2 {own}\n"))
        .await?;
    Ok(0)
}

pub async fn sleep(job: &mut Job<'_>) -> Done {
    let mut total = Duration::ZERO;
    for arg in job.rest() {
        let (number, unit) = match arg.find(|c: char| c.is_ascii_alphabetic()) {
            Some(at) => arg.split_at(at),
            None => (arg.as_str(), "s"),
        };
        let scale = match unit {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(format!("invalid time {arg:?}").into()),
        };
        let seconds: f64 = number
            .parse()
            .map_err(|_| format!("invalid time {arg:?}"))?;
        let time = Duration::try_from_secs_f64(seconds * scale);
        total += time.map_err(|_| format!("invalid time {arg:?}"))?;
    }
    wstd::task::sleep(total.into()).await;
    Ok(0)
}

pub async fn date(job: &mut Job<'_>) -> Done {
    let now = SystemTime::now();
    if job.rest().first().is_some_and(|format| format == "+%s") {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        job.say(format!("{}\n", since.as_secs())).await?;
    } else {
        job.say(format!("{} UTC\n", timestamp(now))).await?;
    }
    Ok(0)
}

pub async fn hostname(job: &mut Job<'_>) -> Done {
    let name = job
        .shell
        .vars()
        .get("HOSTNAME")
        .cloned()
        .unwrap_or_default();
    job.say(format!("{name}\n")).await?;
    Ok(0)
}

pub async fn id(job: &mut Job<'_>) -> Done {
    job.say("uid=0(root) gid=0(root)\n").await?;
    Ok(0)
}

pub async fn which(job: &mut Job<'_>, names: &str) -> Done {
    let mut code = 0;
    for name in job.rest() {
        if names.split(' ').any(|known| known == name) {
            job.say(format!("/bin/{name}\n")).await?;
        } else {
            code = 1;
        }
    }
    Ok(code)
}

/// A time as `2026-11-30 23:59:59`.
pub fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (seconds / 86400, seconds % 86400);
    // The civil calendar of days since 1970 (Howard Hinnant's algorithm).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}
