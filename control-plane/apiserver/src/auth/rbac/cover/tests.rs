//! What covers what, and the law that matters: what is covered was allowed before.

use proptest::prelude::*;

use super::*;
use crate::auth::rbac::rule::tests::{any_request, any_rule, some_allow};

#[test]
fn several_rules_cover_together_what_none_covers_alone() {
    let held = [
        Rule::resources(&[""], &["pods"], &["get", "list"]),
        Rule::resources(&[""], &["services"], &["get"]),
    ];
    let wanted = Rule::resources(&[""], &["pods", "services"], &["get"]);
    assert!(uncovered(&held, &[wanted]).is_empty());
    let wanted = Rule::resources(&[""], &["pods", "services", "secrets"], &["get", "list"]);
    let missing = uncovered(&held, &[wanted]);
    let told: Vec<String> = missing.iter().map(compact).collect();
    assert_eq!(
        told,
        [
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}"#,
            r#"{APIGroups:[""], Resources:["services"], Verbs:["list"]}"#,
        ]
    );
}

#[test]
fn wildcards_are_covered_by_wildcards_only() {
    let many = Rule::resources(&[""], &["pods", "secrets"], &["get", "list", "create"]);
    let all = Rule::resources(&[""], &["*"], &["get"]);
    assert_eq!(uncovered(&[many], std::slice::from_ref(&all)), [all]);
    let named = Rule {
        resource_names: vec!["a".to_owned()],
        ..Rule::resources(&[""], &["pods"], &["get"])
    };
    let unnamed = Rule::resources(&[""], &["pods"], &["get"]);
    assert!(uncovered(std::slice::from_ref(&unnamed), std::slice::from_ref(&named)).is_empty());
    assert!(!uncovered(&[named], &[unnamed]).is_empty());
    let scale = Rule::resources(&["apps"], &["*/scale"], &["get"]);
    let one = Rule::resources(&["apps"], &["deployments/scale"], &["get"]);
    assert!(uncovered(std::slice::from_ref(&scale), std::slice::from_ref(&one)).is_empty());
    assert!(!uncovered(&[one], &[scale]).is_empty());
    let below = Rule::paths(&["/v2/*"], &["get"]);
    let image = Rule::paths(&["/v2/hello/*", "/v2/x"], &["get"]);
    assert!(uncovered(std::slice::from_ref(&below), &[image]).is_empty());
    assert!(!uncovered(&[below], &[Rule::paths(&["/v2", "*"], &["get"])]).is_empty());
}

#[test]
fn a_rule_with_too_many_combinations_is_refused_quickly_unless_covered_whole() {
    let words = |n: usize| -> Vec<String> { (0..n).map(|i| format!("w{i}")).collect() };
    let bomb = Rule {
        verbs: words(5_000),
        api_groups: words(5_000),
        resources: words(5_000),
        ..Rule::default()
    };
    let held = [Rule::resources(&[""], &["pods"], &["get"])];
    assert_eq!(uncovered(&held, std::slice::from_ref(&bomb)).len(), 1);
    assert!(uncovered(&Rule::everything(), &[bomb]).is_empty());
}

proptest! {
    /// Soundness: if the wanted rules are covered, nobody gains anything by them.
    #[test]
    fn what_is_covered_was_allowed_before(
        held in prop::collection::vec(any_rule(), 0..4),
        wanted in prop::collection::vec(any_rule(), 1..3),
        request in any_request(),
    ) {
        if uncovered(&held, &wanted).is_empty() && some_allow(&wanted, &request) {
            prop_assert!(some_allow(&held, &request), "{held:?} {wanted:?}");
        }
    }

    /// What is missing, granted, leaves nothing missing; and rules cover themselves.
    #[test]
    fn what_is_missing_is_all_that_is_missing(
        held in prop::collection::vec(any_rule(), 0..4),
        wanted in prop::collection::vec(any_rule(), 1..3),
    ) {
        let missing = uncovered(&held, &wanted);
        let both = [held, missing].concat();
        prop_assert!(uncovered(&both, &wanted).is_empty());
        prop_assert!(uncovered(&wanted, &wanted).is_empty());
    }
}
