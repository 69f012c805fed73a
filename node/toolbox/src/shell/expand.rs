//! From words to arguments: variables, substitutions, arithmetic, splitting at blanks, names of files.

use std::{cell::RefCell, future::Future, pin::Pin, rc::Rc};

use super::{
    Shell, run,
    syntax::{Change, Part, Word},
};
use crate::{
    applets::files,
    glob,
    streams::{Input, Output},
};

/// A piece of an expanded word.
struct Piece {
    text: String,
    is_quoted: bool,
}

/// Boxed, because words hold commands that hold words.
type Expanding<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// The arguments that words stand for.
pub async fn words(shell: &mut Shell, words: &[Word], err: &Output) -> Vec<String> {
    let mut all = Vec::new();
    for word in words {
        all.extend(fields(shell, word, err).await);
    }
    all
}

/// The one string a word stands for: nothing is split, no file names.
pub fn text<'a>(shell: &'a mut Shell, word: &'a Word, err: &'a Output) -> Expanding<'a, String> {
    Box::pin(async move {
        let pieces = pieces(shell, word, err).await;
        pieces
            .into_iter()
            .flatten()
            .map(|piece| piece.text)
            .collect()
    })
}

/// A pattern: what is quoted in it stands for itself.
pub async fn pattern(shell: &mut Shell, word: &Word, err: &Output) -> String {
    let pieces = pieces(shell, word, err).await;
    pieces.into_iter().flatten().map(escaped).collect()
}

fn escaped(piece: Piece) -> String {
    if !piece.is_quoted {
        return piece.text;
    }
    let mut text = String::new();
    for c in piece.text.chars() {
        if "*?[".contains(c) {
            text.extend(['[', c, ']']);
        } else {
            text.push(c);
        }
    }
    text
}

async fn fields(shell: &mut Shell, word: &Word, err: &Output) -> Vec<String> {
    let mut made = Vec::new();
    for field in pieces(shell, word, err).await {
        // Split at blanks outside quotes; a field that is empty and was not quoted is none.
        let mut current: Option<Vec<Piece>> = None;
        let mut split = Vec::new();
        for piece in field {
            if piece.is_quoted {
                current.get_or_insert_default().push(piece);
                continue;
            }
            let mut rest = piece.text.as_str();
            while let Some(end) = rest.find([' ', '\t', '\n']) {
                if end > 0 {
                    let text = rest[..end].to_owned();
                    current.get_or_insert_default().push(Piece {
                        text,
                        is_quoted: false,
                    });
                }
                split.extend(current.take());
                rest = &rest[end + 1..];
            }
            if !rest.is_empty() {
                let text = rest.to_owned();
                current.get_or_insert_default().push(Piece {
                    text,
                    is_quoted: false,
                });
            }
        }
        split.extend(current);
        for pieces in split {
            let is_pattern = pieces
                .iter()
                .any(|piece| !piece.is_quoted && glob::is_pattern(&piece.text));
            let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
            if is_pattern {
                let pattern: String = pieces.into_iter().map(escaped).collect();
                let list = |folder: &str| files::names(&shell.path(folder)).unwrap_or_default();
                let found = glob::expand(&pattern, &list);
                let exist = found
                    .into_iter()
                    .filter(|name| files::exists(&shell.path(name)));
                let exist: Vec<String> = exist.collect();
                if !exist.is_empty() {
                    made.extend(exist);
                    continue;
                }
            }
            made.push(text);
        }
    }
    made
}

/// The pieces of a word; more than one list for `"$@"`.
async fn pieces(shell: &mut Shell, word: &Word, err: &Output) -> Vec<Vec<Piece>> {
    let mut fields = vec![Vec::new()];
    let add = |fields: &mut Vec<Vec<Piece>>, text: String, is_quoted: bool| {
        if let Some(last) = fields.last_mut() {
            last.push(Piece { text, is_quoted });
        }
    };
    for (index, part) in word.iter().enumerate() {
        match part {
            Part::Text { text, is_quoted } => {
                let home = shell.vars.get("HOME").map_or("/", String::as_str);
                let is_home = index == 0 && !is_quoted && (text == "~" || text.starts_with("~/"));
                let text = if is_home {
                    text.replacen('~', home, 1)
                } else {
                    text.clone()
                };
                add(&mut fields, text, *is_quoted);
            }
            Part::Variable {
                name,
                change: None,
                is_quoted: true,
            } if name == "@" => {
                for (index, word) in shell.words.iter().skip(1).enumerate() {
                    if index > 0 {
                        fields.push(Vec::new());
                    }
                    add(&mut fields, word.clone(), true);
                }
            }
            Part::Variable {
                name,
                change,
                is_quoted,
            } => {
                let value = variable(shell, name, change.as_ref(), err).await;
                add(&mut fields, value, *is_quoted);
            }
            Part::Substitution { list, is_quoted } => {
                let kept = Rc::new(RefCell::new(Vec::new()));
                let out = Output::Memory(Rc::clone(&kept));
                let mut inner = shell.clone();
                let flow = run::list(&mut inner, list, Input::Empty, &out, err).await;
                shell.status = flow.code().unwrap_or(inner.status);
                let text = String::from_utf8_lossy(&kept.borrow())
                    .trim_end_matches('\n')
                    .to_owned();
                add(&mut fields, text, *is_quoted);
            }
            Part::Arithmetic(expression) => {
                let expression = text(shell, expression, err).await;
                let value = arithmetic(shell, &expression).unwrap_or(0);
                add(&mut fields, value.to_string(), true);
            }
        }
    }
    fields
}

async fn variable(shell: &mut Shell, name: &str, change: Option<&Change>, err: &Output) -> String {
    let value = plain(shell, name);
    let is_set = value.as_ref().is_some_and(|value| !value.is_empty());
    match change {
        None => value.unwrap_or_default(),
        Some(Change::Length) => value.unwrap_or_default().chars().count().to_string(),
        Some(Change::Default(other)) => {
            if is_set {
                value.unwrap_or_default()
            } else {
                text(shell, other, err).await
            }
        }
        Some(Change::Assign(other)) => {
            if is_set {
                return value.unwrap_or_default();
            }
            let value = text(shell, other, err).await;
            shell.set(name, &value);
            value
        }
        Some(Change::Alternative(other)) => {
            if is_set {
                text(shell, other, err).await
            } else {
                String::new()
            }
        }
        Some(Change::Without {
            pattern: word,
            is_end,
            is_longest,
        }) => {
            let value = value.unwrap_or_default();
            let pattern = Box::pin(pattern(shell, word, err)).await;
            without(&value, &pattern, *is_end, *is_longest)
        }
    }
}

/// A value without its beginning or end that matches.
fn without(value: &str, pattern: &str, is_end: bool, is_longest: bool) -> String {
    let mut cuts: Vec<usize> = value.char_indices().map(|(at, _)| at).collect();
    cuts.push(value.len());
    // The shortest piece first, unless the longest is wanted.
    if is_end != is_longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (first, last) = value.split_at(cut);
        let (piece, rest) = if is_end { (last, first) } else { (first, last) };
        if glob::matches(pattern, piece) {
            return rest.to_owned();
        }
    }
    value.to_owned()
}

fn plain(shell: &Shell, name: &str) -> Option<String> {
    match name {
        "?" => Some(shell.status.to_string()),
        "#" => Some((shell.words.len().saturating_sub(1)).to_string()),
        "@" | "*" => Some(shell.words.get(1..).unwrap_or_default().join(" ")),
        "$" => Some("1".to_owned()),
        "!" | "-" => Some(String::new()),
        name => match name.parse::<usize>() {
            Ok(index) => shell.words.get(index).cloned(),
            Err(_) => shell.vars.get(name).cloned(),
        },
    }
}

/// The value of an expression of whole numbers.
fn arithmetic(shell: &Shell, expression: &str) -> Option<i64> {
    let tokens: Vec<char> = expression.chars().filter(|c| !c.is_whitespace()).collect();
    let mut rest = &tokens[..];
    let value = sum(shell, &mut rest, 0)?;
    rest.is_empty().then_some(value)
}

/// Deeper brackets than this are no expression.
const BRACKETS: u32 = 32;

fn sum(shell: &Shell, rest: &mut &[char], depth: u32) -> Option<i64> {
    let mut value = product(shell, rest, depth)?;
    while let Some(sign @ ('+' | '-')) = rest.first().copied() {
        *rest = &rest[1..];
        let other = product(shell, rest, depth)?;
        value = if sign == '+' {
            value.wrapping_add(other)
        } else {
            value.wrapping_sub(other)
        };
    }
    Some(value)
}

fn product(shell: &Shell, rest: &mut &[char], depth: u32) -> Option<i64> {
    let mut value = factor(shell, rest, depth)?;
    while let Some(sign @ ('*' | '/' | '%')) = rest.first().copied() {
        *rest = &rest[1..];
        let other = factor(shell, rest, depth)?;
        value = match sign {
            '*' => value.wrapping_mul(other),
            '/' => value.checked_div(other)?,
            _ => value.checked_rem(other)?,
        };
    }
    Some(value)
}

fn factor(shell: &Shell, rest: &mut &[char], depth: u32) -> Option<i64> {
    if depth > BRACKETS {
        return None;
    }
    match *rest.first()? {
        '-' => {
            *rest = &rest[1..];
            factor(shell, rest, depth + 1).map(i64::wrapping_neg)
        }
        '(' => {
            *rest = &rest[1..];
            let value = sum(shell, rest, depth + 1)?;
            (*rest.first()? == ')').then_some(())?;
            *rest = &rest[1..];
            Some(value)
        }
        c if c.is_ascii_alphanumeric() || c == '_' => {
            let end = rest
                .iter()
                .position(|c| !c.is_ascii_alphanumeric() && *c != '_');
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            *rest = after;
            let word: String = word.iter().collect();
            let value = word.parse().ok();
            value.or_else(|| {
                Some(
                    plain(shell, &word)
                        .and_then(|value| value.parse().ok())
                        .unwrap_or(0),
                )
            })
        }
        _ => None,
    }
}
