//! Commands on text.

use std::collections::VecDeque;

use regex_lite::RegexBuilder;

use super::{Done, Failure, Job};
use crate::streams::{Input, Lines, Output};

/// What `yes` writes at once.
const CHUNK: usize = 4096;

pub async fn echo(job: &mut Job<'_>) -> Done {
    let mut args = job.rest();
    let (mut has_end, mut escapes) = (true, false);
    while let Some(flags) = args.first().and_then(|arg| arg.strip_prefix('-')) {
        if flags.is_empty() || !flags.chars().all(|flag| "neE".contains(flag)) {
            break;
        }
        has_end &= !flags.contains('n');
        escapes |= flags.contains('e');
        args = &args[1..];
    }
    let mut text = args.join(" ");
    if escapes {
        text = unescaped(&text);
    }
    if has_end {
        text.push('\n');
    }
    job.say(text).await?;
    Ok(0)
}

fn unescaped(text: &str) -> String {
    let (mut made, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '\\' {
            made.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => made.push('\n'),
            Some('t') => made.push('\t'),
            Some('r') => made.push('\r'),
            Some('a') => made.push('\x07'),
            Some('e') => made.push('\x1b'),
            Some('\\') | None => made.push('\\'),
            Some('0') => {
                let mut code = 0;
                while let Some(digit) = chars
                    .peek()
                    .and_then(|c| c.to_digit(8))
                    .filter(|_| code < 32)
                {
                    code = code * 8 + digit;
                    chars.next();
                }
                made.extend(char::from_u32(code));
            }
            Some(other) => made.extend(['\\', other]),
        }
    }
    made
}

pub async fn printf(job: &mut Job<'_>) -> Done {
    let [format, values @ ..] = job.rest() else {
        return Err("needs a format".into());
    };
    let format = unescaped(format);
    let mut values = values.iter();
    let mut made = String::new();
    loop {
        let before = values.len();
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                made.push(c);
                continue;
            }
            let mut spec = String::new();
            let kind = loop {
                match chars.next() {
                    Some(c) if c.is_ascii_digit() || "-.0+".contains(c) => spec.push(c),
                    other => break other,
                }
            };
            let text = match kind {
                Some('%') => "%".to_owned(),
                Some('s') => values.next().cloned().unwrap_or_default(),
                Some('b') => unescaped(&values.next().cloned().unwrap_or_default()),
                Some('d' | 'i' | 'u') => {
                    let value = values.next().map_or("0", String::as_str);
                    let number: i64 = value
                        .parse()
                        .map_err(|_| format!("{value:?} is no number"))?;
                    number.to_string()
                }
                Some(other) => return Err(format!("unknown conversion %{other}").into()),
                None => "%".to_owned(),
            };
            let width: usize = spec
                .trim_start_matches(['-', '0', '+'])
                .parse()
                .unwrap_or(0);
            match (spec.starts_with('-'), spec.starts_with('0')) {
                (true, _) => made.push_str(&format!("{text:<width$}")),
                (_, true) => made.push_str(&format!("{text:0>width$}")),
                _ => made.push_str(&format!("{text:>width$}")),
            }
        }
        // The format is used again while values are left.
        if values.len() == 0 || values.len() == before {
            break;
        }
    }
    job.say(made).await?;
    Ok(0)
}

pub async fn grep(job: &mut Job<'_>) -> Done {
    let (flags, mut names) = job.flags("ivcnqEFolhHwx")?;
    if names.is_empty() {
        return Err("needs a pattern".into());
    }
    let mut pattern = names.remove(0);
    if flags.contains('F') {
        pattern = regex_lite::escape(&pattern);
    }
    if flags.contains('w') {
        pattern = format!(r"\b(?:{pattern})\b");
    }
    if flags.contains('x') {
        pattern = format!("^(?:{pattern})$");
    }
    let regex = RegexBuilder::new(&pattern)
        .case_insensitive(flags.contains('i'))
        .build();
    let regex = regex.map_err(|error| error.to_string())?;
    let names_shown = names.len() > 1 && !flags.contains('h');
    if names.is_empty() {
        names.push("-".to_owned());
    }
    let mut found = false;
    for name in &names {
        let mut lines = Lines::new(job.open(name)?);
        let (mut number, mut count) = (0, 0);
        let prefix = if names_shown || flags.contains('H') {
            format!("{name}:")
        } else {
            String::new()
        };
        while let Some(line) = lines.next().await? {
            number += 1;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\n');
            if regex.is_match(line) == flags.contains('v') {
                continue;
            }
            found = true;
            count += 1;
            if flags.contains('q') {
                return Ok(0);
            }
            if flags.contains(['c', 'l']) {
                continue;
            }
            let at = if flags.contains('n') {
                format!("{number}:")
            } else {
                String::new()
            };
            if flags.contains('o') {
                for part in regex.find_iter(line) {
                    job.say(format!("{prefix}{at}{}\n", part.as_str())).await?;
                }
            } else {
                job.say(format!("{prefix}{at}{line}\n")).await?;
            }
        }
        if flags.contains('c') {
            job.say(format!("{prefix}{count}\n")).await?;
        }
        if flags.contains('l') && count > 0 {
            job.say(format!("{name}\n")).await?;
        }
    }
    Ok(i32::from(!found))
}

/// What `head` and `tail` are asked for: a number of lines or bytes, from the beginning where it has a plus.
struct Amount {
    number: usize,
    is_bytes: bool,
    from_beginning: bool,
    follows: bool,
    names: Vec<String>,
}

fn amount(job: &Job<'_>) -> Result<Amount, Failure> {
    let mut amount = Amount {
        number: 10,
        is_bytes: false,
        from_beginning: false,
        follows: false,
        names: Vec::new(),
    };
    let mut args = job.rest().iter();
    while let Some(arg) = args.next() {
        let text = match arg.strip_prefix('-') {
            None | Some("") => {
                amount.names.push(arg.clone());
                continue;
            }
            Some("f") => {
                amount.follows = true;
                continue;
            }
            Some(flag) => match flag.strip_prefix(['n', 'c']) {
                Some("") => {
                    amount.is_bytes = flag == "c";
                    args.next().ok_or("needs a number")?.as_str()
                }
                Some(number) => {
                    amount.is_bytes = flag.starts_with('c');
                    number
                }
                None => flag,
            },
        };
        amount.from_beginning = text.starts_with('+');
        amount.number = text
            .trim_start_matches(['+', '-'])
            .parse()
            .map_err(|_| format!("invalid number {text:?}"))?;
    }
    if amount.names.is_empty() {
        amount.names.push("-".to_owned());
    }
    Ok(amount)
}

pub async fn head(job: &mut Job<'_>) -> Done {
    let Amount {
        number,
        is_bytes,
        names,
        ..
    } = amount(job)?;
    for name in &names {
        let mut input = job.open(name)?;
        let mut left = number;
        if is_bytes {
            while left > 0 {
                let mut piece = input.read().await?;
                if piece.is_empty() {
                    break;
                }
                piece.truncate(left);
                left -= piece.len();
                job.say(piece).await?;
            }
            continue;
        }
        let mut lines = Lines::new(input);
        while left > 0
            && let Some(line) = lines.next().await?
        {
            job.say(line).await?;
            left -= 1;
        }
    }
    Ok(0)
}

pub async fn tail(job: &mut Job<'_>) -> Done {
    let Amount {
        number,
        is_bytes,
        from_beginning,
        follows,
        names,
    } = amount(job)?;
    for name in &names {
        let mut input = job.open(name)?;
        if from_beginning && is_bytes {
            let mut skipped = number.saturating_sub(1);
            loop {
                let piece = input.read().await?;
                if piece.is_empty() {
                    break;
                }
                let skip = skipped.min(piece.len());
                skipped -= skip;
                job.say(&piece[skip..]).await?;
            }
            continue;
        }
        if is_bytes {
            let mut last = VecDeque::new();
            loop {
                let piece = input.read().await?;
                if piece.is_empty() {
                    break;
                }
                last.extend(piece);
                let over = last.len().saturating_sub(number);
                last.drain(..over);
            }
            job.say(Vec::from(last)).await?;
            continue;
        }
        let mut lines = Lines::new(input);
        let (mut last, mut seen) = (VecDeque::new(), 0);
        while let Some(line) = lines.next().await? {
            seen += 1;
            if from_beginning {
                if seen >= number {
                    job.say(line).await?;
                }
                continue;
            }
            last.push_back(line);
            if last.len() > number {
                last.pop_front();
            }
        }
        for line in last {
            job.say(line).await?;
        }
        while follows {
            // The file is read on from where it ended.
            wstd::task::sleep(std::time::Duration::from_millis(250).into()).await;
            while let Some(line) = lines.more().await? {
                job.say(line).await?;
            }
        }
    }
    Ok(0)
}

pub async fn wc(job: &mut Job<'_>) -> Done {
    let (flags, mut names) = job.flags("lwcm")?;
    let is_lone = names.is_empty();
    if is_lone {
        names.push("-".to_owned());
    }
    let wants = |flag| flags.is_empty() || flags.contains(flag);
    let mut total = [0_usize; 3];
    for name in &names {
        let mut input = job.open(name)?;
        let (mut counts, mut in_word) = ([0_usize; 3], false);
        loop {
            let piece = input.read().await?;
            if piece.is_empty() {
                break;
            }
            counts[2] += piece.len();
            for byte in piece {
                counts[0] += usize::from(byte == b'\n');
                let is_word = !byte.is_ascii_whitespace();
                counts[1] += usize::from(is_word && !in_word);
                in_word = is_word;
            }
        }
        let name = if is_lone { "" } else { name };
        job.say(counted(counts, &wants, name)).await?;
        total
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
    }
    if names.len() > 1 {
        job.say(counted(total, &wants, "total")).await?;
    }
    Ok(0)
}

fn counted(counts: [usize; 3], wants: &impl Fn(char) -> bool, name: &str) -> String {
    let shown = counts
        .iter()
        .zip(['l', 'w', 'c'])
        .filter(|(_, flag)| wants(*flag));
    let mut columns: Vec<String> = shown.map(|(count, _)| count.to_string()).collect();
    if !name.is_empty() {
        columns.push(name.to_owned());
    }
    format!("{}\n", columns.join(" "))
}

pub async fn seq(job: &mut Job<'_>) -> Done {
    let mut numbers = Vec::new();
    for arg in job.rest() {
        numbers.push(
            arg.parse::<i64>()
                .map_err(|_| format!("{arg:?} is no whole number"))?,
        );
    }
    let (first, step, last) = match numbers.as_slice() {
        [last] => (1, 1, *last),
        [first, last] => (*first, 1, *last),
        [first, step, last] if *step != 0 => (*first, *step, *last),
        _ => return Err("needs a last number, or a first and a step before".into()),
    };
    let mut at = first;
    while (step > 0 && at <= last) || (step < 0 && at >= last) {
        job.say(format!("{at}\n")).await?;
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(0)
}

pub async fn sort(job: &mut Job<'_>) -> Done {
    let (flags, mut names) = job.flags("rnu")?;
    if names.is_empty() {
        names.push("-".to_owned());
    }
    let mut all = Vec::new();
    for name in &names {
        let mut lines = Lines::new(job.open(name)?);
        while let Some(line) = lines.next().await? {
            all.push(
                String::from_utf8_lossy(&line)
                    .trim_end_matches('\n')
                    .to_owned(),
            );
        }
    }
    let number = |line: &String| {
        let digits = line.trim_start();
        let end = digits
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(digits.len());
        digits[..end].parse::<i64>().unwrap_or(0)
    };
    if flags.contains('n') {
        all.sort_by_key(number);
    } else {
        all.sort();
    }
    if flags.contains('r') {
        all.reverse();
    }
    if flags.contains('u') {
        all.dedup();
    }
    for line in all {
        job.say(format!("{line}\n")).await?;
    }
    Ok(0)
}

pub async fn uniq(job: &mut Job<'_>) -> Done {
    let (flags, names) = job.flags("c")?;
    let mut lines = Lines::new(job.open(names.first().map_or("-", String::as_str))?);
    let mut run: Option<(Vec<u8>, usize)> = None;
    loop {
        let line = lines.next().await?;
        match (&mut run, &line) {
            (Some((same, count)), Some(line)) if same == line => {
                *count += 1;
                continue;
            }
            _ => {}
        }
        if let Some((text, count)) = run.take() {
            if flags.contains('c') {
                job.say(format!("{count:>7} ")).await?;
            }
            job.say(text).await?;
        }
        match line {
            Some(line) => run = Some((line, 1)),
            None => return Ok(0),
        }
    }
}

pub async fn tr(job: &mut Job<'_>) -> Done {
    let (flags, sets) = job.flags("d")?;
    let from = sets.first().map(|set| characters(set)).unwrap_or_default();
    let to = sets.get(1).map(|set| characters(set)).unwrap_or_default();
    if from.is_empty() || (to.is_empty() && !flags.contains('d')) {
        return Err("needs two sets of characters, or -d and one".into());
    }
    let mut input = job.take_stdin();
    loop {
        let piece = input.read().await?;
        if piece.is_empty() {
            return Ok(0);
        }
        let mut made = Vec::with_capacity(piece.len());
        for byte in piece {
            match from.iter().position(|one| *one == byte) {
                None => made.push(byte),
                Some(_) if flags.contains('d') => {}
                Some(at) => made.extend(to.get(at).or(to.last())),
            }
        }
        job.say(made).await?;
    }
}

/// The bytes of a set such as `a-z\n`.
fn characters(set: &str) -> Vec<u8> {
    let set = unescaped(set).into_bytes();
    let (mut made, mut rest) = (Vec::new(), &set[..]);
    while let Some(first) = rest.first() {
        if rest.len() > 2 && rest[1] == b'-' {
            made.extend(*first..=rest[2]);
            rest = &rest[3..];
        } else {
            made.push(*first);
            rest = &rest[1..];
        }
    }
    made
}

pub async fn tee(job: &mut Job<'_>) -> Done {
    let (flags, names) = job.flags("a")?;
    let appends = flags.contains('a');
    let mut outputs = vec![job.out.clone()];
    for name in &names {
        let mut options = std::fs::File::options();
        options
            .write(true)
            .create(true)
            .append(appends)
            .truncate(!appends);
        let file = options.open(job.shell.path(name));
        let file = file.map_err(|error| format!("{name}: {}", super::told(&error)))?;
        outputs.push(Output::File(file.into()));
    }
    let mut input: Input = job.take_stdin();
    loop {
        let piece = input.read().await?;
        if piece.is_empty() {
            return Ok(0);
        }
        for output in &outputs {
            output.write(&piece).await?;
        }
    }
}

pub async fn yes(job: &mut Job<'_>) -> Done {
    let word = if job.rest().is_empty() {
        "y".to_owned()
    } else {
        job.rest().join(" ")
    };
    let line = format!("{word}\n");
    let chunk = line.repeat((CHUNK / line.len()).max(1));
    loop {
        job.say(&chunk).await?;
    }
}

pub async fn part_of_path(job: &mut Job<'_>, which: &str) -> Done {
    let given = job.rest().first().ok_or("needs a path")?;
    let path = given.trim_end_matches('/');
    let (folder, name) = match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => (".", path),
    };
    let part = if which == "dirname" { folder } else { name };
    let ending = job.rest().get(1).filter(|_| which == "basename");
    let part = ending
        .and_then(|ending| part.strip_suffix(ending.as_str()))
        .unwrap_or(part);
    job.say(format!("{part}\n")).await?;
    Ok(0)
}
