//! Whether a set of rules allows at least what another rule allows (upstream's `Covers`). Pure. Errs on the side of no.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{Rule, path_matches};

/// Matches everything.
const ALL: &str = "*";
/// A rule is taken apart into its combinations of verb, group, resource and name; one with more combinations than this is not covered unless a
/// single rule covers it whole. The largest real role (admin) has some 300. Bounds what a hostile role can cost.
const COMBINATIONS: usize = 20_000;

/// The parts of `wanted` that `held` does not allow, put together again; empty when all is covered.
#[must_use]
pub fn uncovered(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing = Vec::new();
    let mut budget = COMBINATIONS;
    for rule in wanted {
        if held.iter().any(|one| covers(one, rule)) {
            continue;
        }
        let combinations = combinations(rule);
        if combinations > budget {
            missing.push(rule.clone());
            continue;
        }
        budget -= combinations;
        let parts = parts(rule);
        missing.extend(
            parts
                .into_iter()
                .filter(|part| !held.iter().any(|one| covers(one, part))),
        );
    }
    merge(missing)
}

/// Whether `held` alone allows all that `wanted` allows.
fn covers(held: &Rule, wanted: &Rule) -> bool {
    let resources = wanted.resources.is_empty()
        || all_in(&held.api_groups, &wanted.api_groups)
            && wanted.resources.iter().all(|resource| {
                held.resources
                    .iter()
                    .any(|pattern| resource_covers(pattern, resource))
            })
            && names_cover(&held.resource_names, &wanted.resource_names);
    // A pattern matches the patterns within it as it matches paths: both begin with what it requires.
    let paths = wanted.non_resource_urls.iter().all(|path| {
        held.non_resource_urls
            .iter()
            .any(|pattern| path_matches(pattern, path))
    });
    all_in(&held.verbs, &wanted.verbs) && resources && paths
}

fn all_in(held: &[String], wanted: &[String]) -> bool {
    held.iter().any(|one| one == ALL) || wanted.iter().all(|one| held.contains(one))
}

fn names_cover(held: &[String], wanted: &[String]) -> bool {
    held.is_empty() || !wanted.is_empty() && wanted.iter().all(|name| held.contains(name))
}

/// `*` covers everything, `*/scale` every resource's `scale`, anything itself.
fn resource_covers(pattern: &str, wanted: &str) -> bool {
    pattern == ALL
        || pattern == wanted
        || matches!(
            (pattern.split_once('/'), wanted.split_once('/')),
            (Some((ALL, held)), Some((_, wanted))) if held == wanted
        )
}

fn combinations(rule: &Rule) -> usize {
    let resources = [
        rule.api_groups.len(),
        rule.resources.len(),
        rule.resource_names.len().max(1),
        rule.verbs.len(),
    ];
    let resources = resources.into_iter().fold(1, usize::saturating_mul);
    let paths = rule
        .non_resource_urls
        .len()
        .saturating_mul(rule.verbs.len());
    resources.saturating_add(paths)
}

/// The rule as one rule per verb, group, resource and name.
fn parts(rule: &Rule) -> Vec<Rule> {
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let part = Rule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                    continue;
                }
                parts.extend(rule.resource_names.iter().map(|name| Rule {
                    resource_names: vec![name.clone()],
                    ..part.clone()
                }));
            }
        }
        parts.extend(rule.non_resource_urls.iter().map(|path| Rule {
            verbs: vec![verb.clone()],
            non_resource_urls: vec![path.clone()],
            ..Rule::default()
        }));
    }
    parts
}

/// Rules that differ in their verbs only, as one.
fn merge(rules: Vec<Rule>) -> Vec<Rule> {
    let mut verbs_of: BTreeMap<Rule, BTreeSet<String>> = BTreeMap::new();
    for mut rule in rules {
        let verbs = std::mem::take(&mut rule.verbs);
        verbs_of.entry(rule).or_default().extend(verbs);
    }
    verbs_of
        .into_iter()
        .map(|(rule, verbs)| Rule {
            verbs: verbs.into_iter().collect(),
            ..rule
        })
        .collect()
}

/// The rule as upstream writes it in its refusals.
#[must_use]
pub fn compact(rule: &Rule) -> String {
    let fields = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.resource_names),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("Verbs", &rule.verbs),
    ];
    let listed: Vec<String> = fields
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(field, list)| {
            let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
            format!("{field}:[{}]", quoted.join(" "))
        })
        .collect();
    format!("{{{}}}", listed.join(", "))
}

#[cfg(test)]
mod tests;
