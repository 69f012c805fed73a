//! Rules against requests, and laws every rule keeps.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::auth::user::UserInfo;

/// `verb group/resource[/sub][ name]` or `verb /path`.
fn allows(rule: &Rule, request: &str) -> bool {
    let user = UserInfo::default();
    let words: Vec<&str> = request.split(' ').collect();
    let target = if words[1].starts_with('/') {
        Target::Path(words[1])
    } else {
        let parts: Vec<&str> = words[1].split('/').collect();
        Target::Resource(ResourceTarget {
            group: parts[0].trim_start_matches("core"),
            resource: parts[1],
            subresource: parts.get(2).copied(),
            name: words.get(2).copied(),
            ..ResourceTarget::default()
        })
    };
    rule.allows(&Attributes {
        user: &user,
        verb: words[0],
        target,
    })
}

#[test]
fn resources_match_as_upstream_says() {
    let rule = |groups: &[&str], resources: &[&str]| Rule::resources(groups, resources, &["get"]);
    for (rule, request, expected) in [
        (rule(&[""], &["pods"]), "get core/pods", true),
        (rule(&[""], &["pods"]), "list core/pods", false),
        (rule(&[""], &["pods"]), "get core/pods web", true),
        (rule(&[""], &["pods"]), "get core/pods/log web", false),
        (rule(&[""], &["pods"]), "get apps/pods", false),
        (rule(&[""], &["pods/log"]), "get core/pods/log web", true),
        (rule(&[""], &["pods/log"]), "get core/pods web", false),
        (
            rule(&["apps"], &["*/scale"]),
            "get apps/deployments/scale d",
            true,
        ),
        (
            rule(&["apps"], &["*/scale"]),
            "get apps/deployments d",
            false,
        ),
        (rule(&[""], &["pods/*"]), "get core/pods/log web", false),
        (rule(&[""], &["*"]), "get core/pods/log web", true),
        (rule(&["*"], &["*"]), "get x.io/things t", true),
        (rule(&["*"], &["*"]), "get /metrics", false),
        (rule(&[], &["pods"]), "get core/pods", false),
        (rule(&[""], &[]), "get core/pods", false),
        (
            Rule::resources(&[""], &["pods"], &["*"]),
            "escalate core/pods",
            true,
        ),
        (
            Rule::resources(&[""], &["pods"], &[]),
            "get core/pods",
            false,
        ),
    ] {
        assert_eq!(allows(&rule, request), expected, "{rule:?} {request}");
    }
}

#[test]
fn names_narrow_a_rule_and_are_of_no_use_for_collections() {
    let rule = Rule {
        resource_names: vec!["a".to_owned(), "b".to_owned()],
        ..Rule::resources(&[""], &["configmaps"], &["*"])
    };
    assert!(allows(&rule, "get core/configmaps a"));
    assert!(!allows(&rule, "get core/configmaps c"));
    assert!(!allows(&rule, "list core/configmaps"));
    assert!(!allows(&rule, "create core/configmaps"));
}

#[test]
fn paths_match_with_a_star_at_the_end_only() {
    let rule = |path: &str| Rule::paths(&[path], &["get"]);
    for (pattern, path, expected) in [
        ("/healthz", "/healthz", true),
        ("/healthz", "/healthz/ping", false),
        ("/healthz/*", "/healthz/ping", true),
        ("/healthz/*", "/healthz", false),
        ("/v2*", "/v2/hello", true),
        ("*", "/anything", true),
        ("/a/*/c", "/a/b/c", false),
        ("", "/", false),
    ] {
        assert_eq!(
            allows(&rule(pattern), &format!("get {path}")),
            expected,
            "{pattern} {path}"
        );
    }
    assert!(!allows(&rule("*"), "get core/pods"));
}

#[test]
fn a_rule_is_read_from_json_with_nulls() {
    let rule: Rule = serde_json::from_value(json!({
        "verbs": ["get"], "apiGroups": null, "nonResourceURLs": ["/metrics"], "unknown": 1
    }))
    .unwrap();
    assert_eq!(rule, Rule::paths(&["/metrics"], &["get"]));
    let written = serde_json::to_value(&rule).unwrap();
    assert_eq!(
        written,
        json!({"verbs": ["get"], "nonResourceURLs": ["/metrics"]})
    );
}

/// Few words, so that rules and requests often meet.
pub(in crate::auth::rbac) fn any_rule() -> impl Strategy<Value = Rule> {
    let some = |words: &'static [&'static str], most: usize| {
        prop::collection::vec(
            prop::sample::select(words).prop_map(str::to_owned),
            0..=most,
        )
    };
    (
        some(&["get", "list", "create", "*"], 3),
        some(&["", "apps", "*"], 2),
        some(
            &[
                "pods",
                "pods/log",
                "scale",
                "*/scale",
                "deployments/scale",
                "*",
            ],
            3,
        ),
        some(&["a", "b"], 2),
        some(&["/a", "/a/*", "/a/b", "*"], 2),
    )
        .prop_map(
            |(verbs, api_groups, resources, resource_names, non_resource_urls)| Rule {
                verbs,
                api_groups,
                resources,
                resource_names,
                non_resource_urls,
            },
        )
}

/// A request as [`allows`] reads it.
pub(in crate::auth::rbac) fn any_request() -> impl Strategy<Value = String> {
    let verb = prop::sample::select(&["get", "list", "create", "delete"][..]);
    let target = prop::sample::select(
        &[
            "core/pods",
            "core/pods a",
            "core/pods/log a",
            "apps/deployments/scale b",
            "apps/scale",
            "x/pods c",
            "apps/things/scale",
            "/a",
            "/a/b",
            "/a/b/c",
            "/c",
        ][..],
    );
    (verb, target).prop_map(|(verb, target)| format!("{verb} {target}"))
}

pub(in crate::auth::rbac) fn some_allow(rules: &[Rule], request: &str) -> bool {
    rules.iter().any(|rule| allows(rule, request))
}

proptest! {
    /// A rule allows exactly what the union of its parts allows: every field is a plain "or".
    #[test]
    fn a_rule_is_the_union_of_its_single_parts(rule in any_rule(), request in any_request()) {
        let mut parts = Vec::new();
        for verb in &rule.verbs {
            for resource in &rule.resources {
                for group in &rule.api_groups {
                    parts.push(Rule {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: rule.resource_names.clone(),
                        non_resource_urls: Vec::new(),
                    });
                }
            }
            for path in &rule.non_resource_urls {
                parts.push(Rule { verbs: vec![verb.clone()], non_resource_urls: vec![path.clone()], ..Rule::default() });
            }
        }
        prop_assert_eq!(allows(&rule, &request), some_allow(&parts, &request));
    }

    /// More rules never allow less, and their order does not matter.
    #[test]
    fn rules_only_add(mut rules in prop::collection::vec(any_rule(), 0..5), more in any_rule(), request in any_request()) {
        let before = some_allow(&rules, &request);
        rules.push(more);
        let after = some_allow(&rules, &request);
        prop_assert!(after || !before);
        rules.reverse();
        prop_assert_eq!(some_allow(&rules, &request), after);
    }

    /// Whoever may do everything may do anything, whoever has no rule nothing.
    #[test]
    fn everything_is_everything(request in any_request()) {
        prop_assert!(some_allow(&Rule::everything(), &request));
        prop_assert!(!some_allow(&[], &request));
    }
}
