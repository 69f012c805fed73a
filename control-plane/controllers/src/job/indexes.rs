//! Indexes of Indexed Jobs: sets of small numbers and their text form, `0,2-4`.

use std::{collections::BTreeSet, fmt};

use k8s_openapi::api::core::v1::Pod;

/// The annotation and label with a pod's index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(BTreeSet<u32>);

impl Indexes {
    /// Reads the text form. What is not an index, or not below `completions`, is left out.
    #[must_use]
    pub fn parse(text: &str, completions: u32) -> Self {
        let mut indexes = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<u32>(), last.parse::<u32>()) {
                indexes.extend((first..=last).take_while(|index| *index < completions));
            }
        }
        Self(indexes)
    }

    /// Adds an index.
    pub fn insert(&mut self, index: u32) {
        self.0.insert(index);
    }

    /// Whether an index is in the set.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    /// How many are in both sets.
    #[must_use]
    pub fn common(&self, other: &Self) -> usize {
        self.0.intersection(&other.0).count()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for index in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        for (position, (first, last)) in runs.into_iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The index of a pod.
#[must_use]
pub fn of(pod: &Pod) -> Option<u32> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(INDEX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_form_is_upstreams() {
        for text in ["", "0", "0,1", "0-2", "1,3-5,7"] {
            assert_eq!(Indexes::parse(text, 100).to_string(), text);
        }
        assert_eq!(Indexes::parse("0-4000000000,x,-1", 3).to_string(), "0-2");
    }

    proptest! {
        #[test]
        fn any_set_reads_back(set in prop::collection::btree_set(0_u32..40, 0..30)) {
            let indexes = Indexes(set);
            prop_assert_eq!(Indexes::parse(&indexes.to_string(), 40), indexes);
        }
    }
}
