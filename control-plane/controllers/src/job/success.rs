//! When an Indexed Job has succeeded before all of its indexes have: `successPolicy` (KEP-3998).

use k8s_openapi::api::batch::v1::SuccessPolicyRule;

use super::{indexes::Indexes, plan::Work};

/// The first rule that is met, by its place in the list.
#[must_use]
pub(super) fn met(work: &Work<'_>) -> Option<usize> {
    let completions = work.indexed()?;
    let policy = work.spec.success_policy.as_ref()?;
    let done = &work.tally.indexes;
    policy
        .rules
        .iter()
        .position(|rule| is_met(rule, done, completions))
}

fn is_met(rule: &SuccessPolicyRule, done: &Indexes, completions: u32) -> bool {
    let count = rule
        .succeeded_count
        .and_then(|count| usize::try_from(count).ok());
    let Some(named) = &rule.succeeded_indexes else {
        return count.is_some_and(|count| done.len() >= count);
    };
    let named = Indexes::parse(named, completions);
    let of_named = named.common(done);
    of_named >= count.unwrap_or(named.len()) && of_named > 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_count_the_indexes_they_name() {
        let rule = |of: serde_json::Value| serde_json::from_value(of).unwrap();
        let done = Indexes::parse("0,2,5", 10);
        let is = |of| is_met(&rule(of), &done, 10);
        assert!(is(json!({"succeededIndexes": "0,2"})));
        assert!(!is(json!({"succeededIndexes": "0-2"})));
        assert!(is(json!({"succeededIndexes": "0-2", "succeededCount": 2})));
        assert!(!is(json!({"succeededIndexes": "3-9", "succeededCount": 2})));
        assert!(is(json!({"succeededCount": 3})));
        assert!(!is(json!({"succeededCount": 4})));
    }
}
