//! Words: quotes, variables, substitutions.

use super::{Parsed, Parser, Problem, script};
use crate::shell::syntax::{Change, Part, Word};

impl Parser<'_> {
    pub(super) fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self
            .chars
            .next_if(|c| c.is_ascii_alphanumeric() || *c == '_')
        {
            name.push(c);
        }
        name
    }

    pub(super) fn word(&mut self) -> Parsed<Option<Word>> {
        let mut word = Word::new();
        let mut is_word = false;
        while let Some(c) = self.peek() {
            if is_break(c) {
                break;
            }
            is_word = true;
            self.chars.next();
            match c {
                '\\' => match self.chars.next() {
                    Some('\n') => {}
                    Some(c) => push(&mut word, c, true),
                    None => return Err(Problem::Incomplete("a character")),
                },
                '\'' => {
                    word.push(Part::Text {
                        text: String::new(),
                        is_quoted: true,
                    });
                    loop {
                        match self.chars.next() {
                            Some('\'') => break,
                            Some(c) => push(&mut word, c, true),
                            None => return Err(Problem::Incomplete("\"'\"")),
                        }
                    }
                }
                '"' => {
                    word.push(Part::Text {
                        text: String::new(),
                        is_quoted: true,
                    });
                    self.quoted(&mut word, Some('"'))?;
                }
                '$' => self.dollar(&mut word, false)?,
                '`' => self.backquoted(&mut word, false)?,
                c => push(&mut word, c, false),
            }
        }
        Ok(is_word.then_some(word))
    }

    /// What is in double quotes, up to `end`.
    pub(super) fn quoted(&mut self, word: &mut Word, end: Option<char>) -> Parsed<()> {
        loop {
            let Some(c) = self.chars.next() else {
                return if end.is_none() {
                    Ok(())
                } else {
                    Err(Problem::Incomplete("'\"'"))
                };
            };
            match c {
                c if Some(c) == end => return Ok(()),
                '\\' => match self.peek() {
                    Some('\n') => {
                        self.chars.next();
                    }
                    Some(c @ ('$' | '`' | '"' | '\\')) => {
                        self.chars.next();
                        push(word, c, true);
                    }
                    _ => push(word, '\\', true),
                },
                '$' => self.dollar(word, true)?,
                '`' => self.backquoted(word, true)?,
                c => push(word, c, true),
            }
        }
    }

    fn backquoted(&mut self, word: &mut Word, is_quoted: bool) -> Parsed<()> {
        let mut text = String::new();
        loop {
            match self.chars.next() {
                Some('`') => break,
                Some('\\') => text.extend(self.chars.next()),
                Some(c) => text.push(c),
                None => return Err(Problem::Incomplete("\"`\"")),
            }
        }
        let list = self.deeper(|_| script(&text))?;
        word.push(Part::Substitution { list, is_quoted });
        Ok(())
    }

    /// What follows a dollar sign.
    fn dollar(&mut self, word: &mut Word, is_quoted: bool) -> Parsed<()> {
        match self.peek() {
            Some('(') => {
                self.chars.next();
                if self.peek() == Some('(') {
                    self.chars.next();
                    let expression = self.arithmetic()?;
                    word.push(Part::Arithmetic(expression));
                    return Ok(());
                }
                let list = self.deeper(|parser| parser.list(&[]))?;
                if !self.eat(')') {
                    return Err(Problem::Incomplete("\")\""));
                }
                word.push(Part::Substitution { list, is_quoted });
            }
            Some('{') => {
                self.chars.next();
                let part = self.deeper(|parser| parser.braced(is_quoted))?;
                word.push(part);
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name();
                word.push(Part::Variable {
                    name,
                    change: None,
                    is_quoted,
                });
            }
            Some(c) if c.is_ascii_digit() || "?#@*$!-".contains(c) => {
                self.chars.next();
                word.push(Part::Variable {
                    name: c.to_string(),
                    change: None,
                    is_quoted,
                });
            }
            _ => push(word, '$', is_quoted),
        }
        Ok(())
    }

    /// The words of an arithmetic expression, up to `))`.
    fn arithmetic(&mut self) -> Parsed<Word> {
        let (mut word, mut open) = (Word::new(), 0);
        loop {
            match self.chars.next() {
                None => return Err(Problem::Incomplete("\"))\"")),
                Some(')') if open == 0 => {
                    return if self.eat(')') {
                        Ok(word)
                    } else {
                        Err(Problem::Incomplete("\"))\""))
                    };
                }
                Some('$') => self.deeper(|parser| parser.dollar(&mut word, true))?,
                Some(c) => {
                    open += i32::from(c == '(') - i32::from(c == ')');
                    push(&mut word, c, true);
                }
            }
        }
    }

    fn braced(&mut self, is_quoted: bool) -> Parsed<Part> {
        let is_length = self.peek() == Some('#') && self.second() != Some('}');
        if is_length {
            self.chars.next();
        }
        let mut name = self.name();
        if name.is_empty() {
            name.extend(self.chars.next_if(|c| "?#@*$!".contains(*c)));
        }
        let mut change = is_length.then_some(Change::Length);
        if !self.eat('}') {
            let has_colon = self.eat(':');
            let kind = self.chars.next().ok_or(Problem::Incomplete("\"}\""))?;
            let is_longest = matches!(kind, '#' | '%') && self.eat(kind);
            let mut other = Word::new();
            loop {
                match self.chars.next() {
                    None => return Err(Problem::Incomplete("\"}\"")),
                    Some('}') => break,
                    Some('$') => self.dollar(&mut other, is_quoted)?,
                    Some('"') => self.quoted(&mut other, Some('"'))?,
                    Some('\\') => other.extend(self.chars.next().map(|c| Part::Text {
                        text: c.into(),
                        is_quoted: true,
                    })),
                    Some(c) => push(&mut other, c, is_quoted),
                }
            }
            change = Some(match kind {
                '-' => Change::Default(other),
                '=' => Change::Assign(other),
                '+' => Change::Alternative(other),
                '#' | '%' if !has_colon => Change::Without {
                    pattern: other,
                    is_end: kind == '%',
                    is_longest,
                },
                kind => return Err(Problem::Unexpected(format!("{kind:?} in \"${{{name}\""))),
            });
        }
        Ok(Part::Variable {
            name,
            change,
            is_quoted,
        })
    }
}

pub(super) fn is_break(c: char) -> bool {
    c.is_whitespace() || ";&|()<>".contains(c)
}

/// Adds a character to a word.
fn push(word: &mut Word, c: char, quoted: bool) {
    match word.last_mut() {
        Some(Part::Text { text, is_quoted }) if *is_quoted == quoted => text.push(c),
        _ => word.push(Part::Text {
            text: c.to_string(),
            is_quoted: quoted,
        }),
    }
}

/// The text of a word, quotes taken away and nothing expanded.
pub(super) fn plain(word: &Word) -> String {
    let texts = word.iter().map(|part| match part {
        Part::Text { text, .. } => text.as_str(),
        _ => "",
    });
    texts.collect()
}

/// The variable and value of a word that is `name=value`.
pub(super) fn assignment(word: &Word) -> Option<(String, Word)> {
    let Some(Part::Text {
        text,
        is_quoted: false,
    }) = word.first()
    else {
        return None;
    };
    let (name, value) = text.split_once('=')?;
    let is_name = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return None;
    }
    let mut rest = word.clone();
    rest[0] = Part::Text {
        text: value.to_owned(),
        is_quoted: false,
    };
    Some((name.to_owned(), rest))
}
