//! What scripts are made of.

/// Pipelines, one after another.
pub type List = Vec<Entry>;

/// A pipeline and when it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub when: When,
    pub pipeline: Pipeline,
}

/// When a pipeline runs, after the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    Always,
    /// `&&`
    Succeeded,
    /// `||`
    Failed,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    pub is_negated: bool,
    pub commands: Vec<Command>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub kind: Kind,
    pub redirections: Vec<Redirection>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    If {
        cases: Vec<(List, List)>,
        otherwise: Option<List>,
    },
    Loop {
        is_until: bool,
        condition: List,
        body: List,
    },
    For {
        name: String,
        words: Vec<Word>,
        body: List,
    },
    Case {
        word: Word,
        arms: Vec<(Vec<Word>, List)>,
    },
    Group(List),
    Subshell(List),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Redirection {
    /// The descriptor: 0, 1 or 2.
    pub of: u8,
    pub to: Target,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    Read(Word),
    Write(Word),
    Append(Word),
    /// `>&1`
    Same(u8),
    /// A here-document.
    Text(Word),
}

/// A word before it is expanded.
pub type Word = Vec<Part>;

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// As it is; in quotes it is no pattern.
    Text { text: String, is_quoted: bool },
    /// `$name`, `${name}`, `${name:-default}`.
    Variable {
        name: String,
        change: Option<Change>,
        is_quoted: bool,
    },
    /// `$(list)`.
    Substitution { list: List, is_quoted: bool },
    /// `$((expression))`.
    Arithmetic(Word),
}

/// What `${name...}` does beyond the value.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// `:-`, `-`: another value where there is none.
    Default(Word),
    /// `:=`: the same, and sets it.
    Assign(Word),
    /// `:+`: another value where there is one.
    Alternative(Word),
    /// `#`, `%` and doubled: without a beginning or an end.
    Without {
        pattern: Word,
        is_end: bool,
        is_longest: bool,
    },
    /// `${#name}`.
    Length,
}
