//! From text to [`super::syntax`]: a recursive descent over characters. Depth is bounded, because scripts may be anything.

mod words;

use std::{fmt, iter::Peekable, str::Chars};

use self::words::{assignment, is_break, plain};
use super::syntax::{Command, Entry, Kind, List, Part, Pipeline, Redirection, Target, When, Word};

/// The deepest nesting.
const DEPTH: u32 = 40;

/// Why a script cannot be read.
#[derive(Debug)]
pub enum Problem {
    /// It is not whole: what is missing.
    Incomplete(&'static str),
    /// It is none.
    Unexpected(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Incomplete(missing) => write!(
                f,
                "syntax error: unexpected end of file (expecting {missing})"
            ),
            Self::Unexpected(what) => write!(f, "syntax error: unexpected {what}"),
        }
    }
}

type Parsed<T> = Result<T, Problem>;

/// Words that mean something where a command begins.
const RESERVED: [&str; 15] = [
    "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "for", "in", "case",
    "esac", "{", "}",
];

/// Reads a script.
pub fn script(text: &str) -> Parsed<List> {
    let mut parser = Parser {
        chars: text.chars().peekable(),
        depth: 0,
        ends_line: false,
    };
    let list = parser.list(&[])?;
    match parser.chars.peek() {
        None => Ok(list),
        Some(c) => Err(Problem::Unexpected(format!("{c:?}"))),
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
    depth: u32,
    /// A here-document has taken the end of the line with it.
    ends_line: bool,
}

impl Parser<'_> {
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Problem::Unexpected("nesting so deep".to_owned()));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().copied()
    }

    fn second(&self) -> Option<char> {
        let mut ahead = self.chars.clone();
        ahead.next();
        ahead.next()
    }

    fn eat(&mut self, c: char) -> bool {
        self.chars.next_if_eq(&c).is_some()
    }

    /// Skips blanks, comments and continued lines; not ends of lines.
    fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => {
                    self.chars.next();
                }
                Some('\\') if self.second() == Some('\n') => {
                    self.chars.next();
                    self.chars.next();
                }
                Some('#') => while self.chars.next_if(|c| *c != '\n').is_some() {},
                _ => return,
            }
        }
    }

    fn lines(&mut self) {
        self.blanks();
        while self.eat('\n') {
            self.blanks();
        }
    }

    /// The reserved word that comes next, without taking it.
    fn reserved(&self) -> Option<&'static str> {
        let mut ahead = self.chars.clone();
        let mut word = String::new();
        while let Some(c) = ahead.next_if(|c| !is_break(*c)) {
            word.push(c);
            if word.len() > 5 {
                return None;
            }
        }
        RESERVED.into_iter().find(|reserved| *reserved == word)
    }

    fn expect(&mut self, word: &'static str) -> Parsed<()> {
        self.lines();
        if self.reserved() == Some(word) {
            for _ in word.chars() {
                self.chars.next();
            }
            return Ok(());
        }
        match self.peek() {
            None => Err(Problem::Incomplete(word)),
            Some(c) => Err(Problem::Unexpected(format!("{c:?} (expecting \"{word}\")"))),
        }
    }

    /// Pipelines up to one of `ends`, a closing bracket or the end.
    fn list(&mut self, ends: &[&str]) -> Parsed<List> {
        let mut list = List::new();
        let mut when = When::Always;
        loop {
            self.lines();
            let is_end = match self.peek() {
                None | Some(')') => true,
                Some(';') => self.second() == Some(';'),
                Some(_) => self.reserved().is_some_and(|word| ends.contains(&word)),
            };
            if is_end {
                return if when == When::Always {
                    Ok(list)
                } else {
                    Err(Problem::Incomplete("a command"))
                };
            }
            let pipeline = self.pipeline()?;
            list.push(Entry { when, pipeline });
            when = When::Always;
            if std::mem::take(&mut self.ends_line) {
                continue;
            }
            self.blanks();
            match self.peek() {
                Some('\n') => {}
                Some(';') if self.second() == Some(';') => {}
                Some(';') => {
                    self.chars.next();
                }
                Some('&') if self.second() == Some('&') => {
                    self.chars.next();
                    self.chars.next();
                    when = When::Succeeded;
                }
                Some('&') => {
                    return Err(Problem::Unexpected(
                        "\"&\": there are no jobs here".to_owned(),
                    ));
                }
                Some('|') if self.second() == Some('|') => {
                    self.chars.next();
                    self.chars.next();
                    when = When::Failed;
                }
                None | Some(')') => {}
                Some(c) => return Err(Problem::Unexpected(format!("{c:?}"))),
            }
        }
    }

    fn pipeline(&mut self) -> Parsed<Pipeline> {
        let mut is_negated = false;
        while self.peek() == Some('!') && self.second().is_none_or(char::is_whitespace) {
            self.chars.next();
            self.blanks();
            is_negated = !is_negated;
        }
        let mut commands = vec![self.command()?];
        loop {
            if !self.ends_line {
                self.blanks();
            }
            if self.ends_line || self.peek() != Some('|') || self.second() == Some('|') {
                return Ok(Pipeline {
                    is_negated,
                    commands,
                });
            }
            self.chars.next();
            self.lines();
            commands.push(self.command()?);
        }
    }

    fn command(&mut self) -> Parsed<Command> {
        self.deeper(|parser| {
            if parser.peek().is_none() {
                return Err(Problem::Incomplete("a command"));
            }
            let compound = parser.compound()?;
            let mut redirections = Vec::new();
            let Some(kind) = compound else {
                return parser.simple();
            };
            while !parser.ends_line {
                parser.blanks();
                match parser.redirection()? {
                    Some(redirection) => redirections.push(redirection),
                    None => break,
                }
            }
            Ok(Command { kind, redirections })
        })
    }

    fn compound(&mut self) -> Parsed<Option<Kind>> {
        if self.eat('(') {
            let list = self.list(&[])?;
            return if self.eat(')') {
                Ok(Some(Kind::Subshell(list)))
            } else {
                Err(Problem::Incomplete("\")\""))
            };
        }
        let Some(word) = self.reserved() else {
            return Ok(None);
        };
        let kind = match word {
            "{" => {
                self.expect("{")?;
                let list = self.list(&["}"])?;
                self.expect("}")?;
                Kind::Group(list)
            }
            "if" => self.condition()?,
            "while" | "until" => {
                self.expect(word)?;
                let condition = self.list(&["do"])?;
                Kind::Loop {
                    is_until: word == "until",
                    condition,
                    body: self.body()?,
                }
            }
            "for" => {
                self.expect("for")?;
                self.blanks();
                let name = self.name();
                self.lines();
                let mut words = Vec::new();
                if self.reserved() == Some("in") {
                    self.expect("in")?;
                    loop {
                        self.blanks();
                        match self.word()? {
                            Some(word) => words.push(word),
                            None => break,
                        }
                    }
                } else {
                    words.push(vec![Part::Variable {
                        name: "@".to_owned(),
                        change: None,
                        is_quoted: true,
                    }]);
                }
                self.eat(';');
                Kind::For {
                    name,
                    words,
                    body: self.body()?,
                }
            }
            "case" => self.case()?,
            other => return Err(Problem::Unexpected(format!("\"{other}\""))),
        };
        Ok(Some(kind))
    }

    fn body(&mut self) -> Parsed<List> {
        self.expect("do")?;
        let body = self.list(&["done"])?;
        self.expect("done")?;
        Ok(body)
    }

    fn condition(&mut self) -> Parsed<Kind> {
        self.expect("if")?;
        let mut cases = Vec::new();
        loop {
            let condition = self.list(&["then"])?;
            self.expect("then")?;
            let body = self.list(&["elif", "else", "fi"])?;
            cases.push((condition, body));
            if self.reserved() != Some("elif") {
                break;
            }
            self.expect("elif")?;
        }
        let mut otherwise = None;
        if self.reserved() == Some("else") {
            self.expect("else")?;
            otherwise = Some(self.list(&["fi"])?);
        }
        self.expect("fi")?;
        Ok(Kind::If { cases, otherwise })
    }

    fn case(&mut self) -> Parsed<Kind> {
        self.expect("case")?;
        self.blanks();
        let word = self.word()?.ok_or(Problem::Incomplete("a word"))?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.lines();
            if self.reserved() == Some("esac") {
                self.expect("esac")?;
                return Ok(Kind::Case { word, arms });
            }
            self.eat('(');
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?.ok_or(Problem::Incomplete("a pattern"))?);
                self.blanks();
                if !self.eat('|') {
                    break;
                }
            }
            if !self.eat(')') {
                return Err(Problem::Incomplete("\")\""));
            }
            let body = self.list(&["esac"])?;
            arms.push((patterns, body));
            self.eat(';');
            self.eat(';');
        }
    }

    fn simple(&mut self) -> Parsed<Command> {
        let (mut assignments, mut words, mut redirections) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            if self.ends_line {
                break;
            }
            self.blanks();
            if let Some(redirection) = self.redirection()? {
                redirections.push(redirection);
                continue;
            }
            let Some(word) = self.word()? else { break };
            match assignment(&word) {
                Some(assignment) if words.is_empty() => assignments.push(assignment),
                _ => words.push(word),
            }
        }
        if assignments.is_empty() && words.is_empty() && redirections.is_empty() {
            return match self.peek() {
                None => Err(Problem::Incomplete("a command")),
                Some(c) => Err(Problem::Unexpected(format!("{c:?}"))),
            };
        }
        Ok(Command {
            kind: Kind::Simple { assignments, words },
            redirections,
        })
    }

    fn redirection(&mut self) -> Parsed<Option<Redirection>> {
        let number = match (self.peek(), self.second()) {
            (Some(digit @ '0'..='2'), Some('<' | '>')) => {
                self.chars.next();
                digit.to_digit(10)
            }
            (Some('<' | '>'), _) => None,
            _ => return Ok(None),
        };
        let is_input = self.chars.next() == Some('<');
        let of = number
            .and_then(|number| u8::try_from(number).ok())
            .unwrap_or(u8::from(!is_input));
        if is_input && self.eat('<') {
            let _ = self.eat('-');
            self.blanks();
            let end = self.word()?.ok_or(Problem::Incomplete("a word"))?;
            let text = self.here_document(&plain(&end))?;
            return Ok(Some(Redirection {
                of,
                to: Target::Text(text),
            }));
        }
        let appends = !is_input && self.eat('>');
        let _ = !is_input && self.eat('|');
        if self.eat('&') {
            let to = self
                .chars
                .next()
                .and_then(|c| c.to_digit(10))
                .and_then(|to| u8::try_from(to).ok());
            let to = to
                .filter(|to| *to <= 2)
                .ok_or(Problem::Incomplete("a descriptor"))?;
            return Ok(Some(Redirection {
                of,
                to: Target::Same(to),
            }));
        }
        self.blanks();
        let word = self.word()?.ok_or(Problem::Incomplete("a file"))?;
        let to = match (is_input, appends) {
            (true, _) => Target::Read(word),
            (false, true) => Target::Append(word),
            (false, false) => Target::Write(word),
        };
        Ok(Some(Redirection { of, to }))
    }

    /// A here-document whose operator ends its line: the text up to the line that is `end`.
    fn here_document(&mut self, end: &str) -> Parsed<Word> {
        self.blanks();
        if !self.eat('\n') {
            return Err(Problem::Unexpected(
                "words after a here-document's end".to_owned(),
            ));
        }
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let mut has_end = false;
            for c in self.chars.by_ref() {
                if c == '\n' {
                    has_end = true;
                    break;
                }
                line.push(c);
            }
            if line == end {
                let mut parser = Parser {
                    chars: text.chars().peekable(),
                    depth: self.depth,
                    ends_line: false,
                };
                let mut word = Word::new();
                parser.quoted(&mut word, None)?;
                self.ends_line = true;
                return Ok(word);
            }
            if !has_end {
                return Err(Problem::Incomplete("the end of a here-document"));
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
}
