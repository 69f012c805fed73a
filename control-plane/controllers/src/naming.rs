//! Names of objects that controllers create. Not random: the same decision gives the same name, so that one that is carried out twice finds its work
//! done (`AlreadyExists`) instead of doing it again.

use sha2::{Digest as _, Sha256};

/// Letters that spell no words and are not mistaken for each other: those of upstream's generated names.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many letters follow a base.
const SUFFIX: usize = 5;
/// The longest base: with its suffix it is a DNS label.
const BASE_LIMIT: usize = 63 - SUFFIX;

/// Gives names for the children of one object.
pub struct Namer {
    base: String,
    seed: Sha256,
    next: u32,
}

impl Namer {
    /// Names that begin with `base`. `seed` is what the decision was made from: another seed, other names.
    #[must_use]
    pub fn new(base: &str, seed: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in seed {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self {
            base: base.chars().take(BASE_LIMIT).collect(),
            seed: hash,
            next: 0,
        }
    }

    /// The next name that is not taken.
    pub fn next(&mut self, taken: impl Fn(&str) -> bool) -> String {
        loop {
            let mut hash = self.seed.clone();
            hash.update(self.next.to_le_bytes());
            self.next = self.next.wrapping_add(1);
            let name = format!("{}{}", self.base, letters(&hash.finalize()));
            if !taken(&name) {
                return name;
            }
        }
    }

    /// What names begin with.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }
}

fn letters(bytes: &[u8]) -> String {
    let letter = |byte: &u8| LETTERS.get(usize::from(*byte) % LETTERS.len()).copied();
    bytes
        .iter()
        .filter_map(letter)
        .take(SUFFIX)
        .map(char::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_decision_gives_the_same_names() {
        let names = |seed: &[&str]| {
            let mut namer = Namer::new("web-", seed);
            [namer.next(|_| false), namer.next(|_| false)]
        };
        let [a, b] = names(&["u", "1"]);
        assert_ne!(a, b);
        assert_eq!(names(&["u", "1"]), [a.clone(), b.clone()]);
        assert_ne!(names(&["u", "2"])[0], a);
        assert_ne!(names(&["u1", ""])[0], a);
        let mut namer = Namer::new("web-", &["u", "1"]);
        assert_eq!(namer.next(|name| name == a), b);
        assert_eq!(a.len(), 9);
        assert_eq!(Namer::new(&"x".repeat(80), &[]).next(|_| false).len(), 63);
    }
}
