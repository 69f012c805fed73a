//! docs/api-support.md: every subcommand of every kubectl at hand, run against a control plane, and what came of it. What worked and does not any more fails the
//! test; what works now and did not is written into the page. Columns of versions that are not at hand stay as they are.

mod page;
mod rows;

use std::{collections::BTreeMap, thread};

use coracle_tests::{
    cluster::Cluster,
    kubectl::{self, Kubectl},
};

use page::Page;
use rows::{MANIFESTS, ROWS, Row};

#[test]
fn every_subcommand_of_every_kubectl_does_what_the_page_says() {
    let cluster = Cluster::start();
    let mut columns = BTreeMap::new();
    for program in kubectl::all() {
        let kubectl = cluster.kubectl_at(&program);
        let version = kubectl.version();
        columns.entry(version).or_insert(kubectl);
    }
    assert!(!columns.is_empty());
    // Each version works in a namespace of its own, at the same time.
    let results: BTreeMap<String, Vec<Result<(), String>>> = thread::scope(|scope| {
        let running: Vec<_> = columns
            .iter()
            .map(|(version, kubectl)| (version, scope.spawn(move || run_all(version, kubectl))))
            .collect();
        running
            .into_iter()
            .map(|(version, results)| (version.clone(), results.join().unwrap()))
            .collect()
    });
    let mut page = Page::read();
    let regressions = page.update(&results);
    page.write();
    let failed: Vec<String> = results
        .iter()
        .flat_map(|(version, results)| {
            let rows = ROWS.iter().zip(results);
            rows.filter_map(move |(row, result)| {
                Some(format!(
                    "{} with {version}: {}",
                    row.name,
                    result.as_ref().err()?
                ))
            })
        })
        .collect();
    assert!(
        regressions.is_empty(),
        "worked and does not any more: {regressions:?}\n{}",
        failed.join("\n")
    );
    // For whoever looks why something does not work.
    println!("{}", failed.join("\n"));
}

fn run_all(version: &str, kubectl: &Kubectl) -> Vec<Result<(), String>> {
    let namespace = format!("v{}", version.replace('.', "-"));
    let said = kubectl.try_run(&["create", "namespace", &namespace]);
    if !said.ok {
        return ROWS.iter().map(|_| Err(said.err.clone())).collect();
    }
    ROWS.iter()
        .map(|row| run(row, &namespace, kubectl))
        .collect()
}

/// Runs the steps of a row, each of which must succeed and say what it should.
fn run(row: &Row, namespace: &str, kubectl: &Kubectl) -> Result<(), String> {
    for (command, expected) in row.steps {
        let command = command.replace("NS", namespace);
        let mut words: Vec<&str> = split(&command);
        let input = words
            .last()
            .and_then(|last| last.strip_prefix('<'))
            .map(|name| {
                let found = MANIFESTS.iter().find(|(known, _)| *known == name);
                found.unwrap().1.replace("NS", namespace)
            });
        if input.is_some() {
            words.pop();
        }
        // A step that must fail begins with an exclamation mark.
        let refused = words.first() == Some(&"!");
        if refused {
            words.remove(0);
        }
        let mut arguments = vec!["--namespace", namespace, "--request-timeout=30s"];
        arguments.extend(words);
        let said = match &input {
            Some(input) => kubectl.feed(&arguments, input),
            None => kubectl.try_run(&arguments),
        };
        let text = format!("{}{}", said.out, said.err);
        if said.ok == refused || !text.contains(expected) {
            return Err(format!(
                "kubectl {command}: {} (expected {expected:?})",
                text.trim()
            ));
        }
    }
    Ok(())
}

/// The words of a command; single quotes hold words together.
fn split(command: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (n, part) in command.split('\'').enumerate() {
        if n % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    words
}
