//! Names with `*`, `?` and `[...]`: which names they match, and which files there are.

/// Whether a word is a pattern.
pub fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?', '['])
}

/// Whether `name` matches `pattern`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where the last `*` was, and what it has taken: a pattern is tried again from there.
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
            continue;
        }
        if let Some(length) = one(&pattern[p.min(pattern.len())..], name[n]) {
            p += length;
            n += 1;
            continue;
        }
        let Some((at, taken)) = star else {
            return false;
        };
        star = Some((at, taken + 1));
        (p, n) = (at + 1, taken + 1);
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How much of the pattern matches one character, if it does.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
            let (set, is_negated) = match pattern[1] {
                '!' | '^' => (&pattern[2..end], true),
                _ => (&pattern[1..end], false),
            };
            let mut is_in = false;
            let mut rest = set;
            while let Some(first) = rest.first() {
                if rest.len() > 2 && rest[1] == '-' {
                    is_in |= (*first..=rest[2]).contains(&c);
                    rest = &rest[3..];
                } else {
                    is_in |= *first == c;
                    rest = &rest[1..];
                }
            }
            (is_in != is_negated).then_some(end + 1)
        }
        other => (*other == c).then_some(1),
    }
}

/// The files that a pattern stands for, in order; none where it matches none. `list` says what is in a directory.
pub fn expand(pattern: &str, list: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let is_absolute = pattern.starts_with('/');
    let mut found = vec![if is_absolute {
        "/".to_owned()
    } else {
        String::new()
    }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let join = |folder: &str, name: &str| match folder {
            "" => name.to_owned(),
            "/" => format!("/{name}"),
            folder => format!("{folder}/{name}"),
        };
        let mut next = Vec::new();
        for folder in &found {
            if !is_pattern(part) {
                next.push(join(folder, part));
                continue;
            }
            let names = list(if folder.is_empty() { "." } else { folder });
            let visible = |name: &&String| !name.starts_with('.') || part.starts_with('.');
            let matching = names
                .iter()
                .filter(visible)
                .filter(|name| matches(part, name));
            next.extend(matching.map(|name| join(folder, name)));
        }
        found = next;
    }
    found.sort();
    found
}
