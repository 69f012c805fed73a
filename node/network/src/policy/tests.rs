//! The cases of upstream's documentation, and laws that hold for every set of policies.

use proptest::prelude::*;

use super::*;

fn labels(text: &str) -> Labels {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn pod(namespace: &str, text: &str) -> PodFacts {
    PodFacts {
        namespace: namespace.into(),
        name: "p".into(),
        labels: labels(text),
        ports: vec![("http".into(), Protocol::Tcp, 8080)],
    }
}

fn namespaces() -> BTreeMap<String, Labels> {
    [("shop", "team=a"), ("lab", "team=b"), ("bare", "")]
        .map(|(name, text)| (name.to_owned(), labels(text)))
        .into()
}

fn policy(ingress: Option<Vec<Rule>>, egress: Option<Vec<Rule>>) -> Policy {
    Policy {
        namespace: "shop".into(),
        name: "n".into(),
        pods: Selector::label("app", "db"),
        ingress,
        egress,
    }
}

fn from(peer: Peer) -> Rule {
    Rule {
        peers: vec![peer],
        ports: Vec::new(),
    }
}

fn on(ports: Vec<PortRule>) -> Rule {
    Rule {
        peers: Vec::new(),
        ports,
    }
}

fn tcp(ports: Ports) -> PortRule {
    PortRule {
        protocol: Some(Protocol::Tcp),
        ports,
    }
}

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 1));
const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 2));

fn attempt<'a>(client: Option<&'a PodFacts>, server: Option<&'a PodFacts>) -> Attempt<'a> {
    Attempt {
        source: End {
            ip: CLIENT,
            pod: client,
        },
        target: End {
            ip: SERVER,
            pod: server,
        },
        port: 8080,
        protocol: Protocol::Tcp,
    }
}

/// Whether a policy lets a client in to `app=db` of `shop`.
fn enters(rules: Vec<Rule>, client: Option<&PodFacts>) -> bool {
    let policies = Policies::new(vec![policy(Some(rules), None)], namespaces());
    let server = pod("shop", "app=db");
    policies.may_enter(&attempt(client, Some(&server))).is_ok()
}

#[test]
fn a_pod_is_isolated_only_in_the_directions_of_policies_that_select_it() {
    let (db, web) = (pod("shop", "app=db"), pod("shop", "app=web"));
    let policies = Policies::new(vec![policy(Some(Vec::new()), None)], namespaces());
    let denied = policies
        .may_enter(&attempt(Some(&web), Some(&db)))
        .unwrap_err();
    assert_eq!(denied.pod, ("shop".into(), "p".into()));
    assert_eq!(denied.direction, Direction::Ingress);
    policies.may_leave(&attempt(Some(&db), Some(&web))).unwrap();
    policies.may_enter(&attempt(Some(&db), Some(&web))).unwrap();
    let elsewhere = pod("lab", "app=db");
    policies
        .may_enter(&attempt(Some(&web), Some(&elsewhere)))
        .unwrap();
    let policies = Policies::new(vec![policy(None, Some(Vec::new()))], namespaces());
    policies
        .may_leave(&attempt(Some(&db), Some(&web)))
        .unwrap_err();
    policies.may_leave(&attempt(Some(&db), None)).unwrap_err();
    policies.may_enter(&attempt(Some(&web), Some(&db))).unwrap();
}

#[test]
fn peers_are_pods_of_namespaces() {
    let (web, lab, bare) = (
        pod("shop", "app=web"),
        pod("lab", "app=web"),
        pod("bare", "app=web"),
    );
    let pods = |namespaces: Option<Selector>, pods: Option<Selector>| {
        vec![from(Peer::Pods { namespaces, pods })]
    };
    let all = || Some(Selector::default());
    let (app_web, team_b) = (Selector::label("app", "web"), Selector::label("team", "b"));
    for (rules, expected) in [
        (vec![Rule::default()], [true, true, true, true]),
        (Vec::new(), [false; 4]),
        (pods(None, all()), [true, false, false, false]),
        (pods(all(), None), [true, true, true, false]),
        (
            pods(Some(team_b.clone()), None),
            [false, true, false, false],
        ),
        (
            pods(Some(team_b), Some(app_web)),
            [false, true, false, false],
        ),
        (
            pods(all(), Some(Selector::label("app", "other"))),
            [false; 4],
        ),
    ] {
        let clients = [Some(&web), Some(&lab), Some(&bare), None];
        let entered = clients.map(|client| enters(rules.clone(), client));
        assert_eq!(entered, expected, "{rules:?}");
    }
}

#[test]
fn blocks_have_holes() {
    let block = |range: &str, except: &[&str]| {
        vec![from(Peer::Block {
            range: range.parse().unwrap(),
            except: except.iter().map(|one| one.parse().unwrap()).collect(),
        })]
    };
    assert!(enters(block("10.1.0.0/16", &[]), None));
    assert!(!enters(block("10.1.0.0/16", &["10.1.0.0/24"]), None));
    assert!(enters(block("0.0.0.0/0", &["10.1.1.0/24"]), None));
    assert!(!enters(block("::/0", &[]), None));
}

#[test]
fn ports_are_numbers_ranges_and_names() {
    for (ports, expected) in [
        (vec![tcp(Ports::All)], true),
        (vec![tcp(Ports::Range(8080, 8080))], true),
        (vec![tcp(Ports::Range(8000, 9000))], true),
        (vec![tcp(Ports::Range(8081, 9000))], false),
        (vec![tcp(Ports::Named("http".into()))], true),
        (vec![tcp(Ports::Named("admin".into()))], false),
        (
            vec![PortRule {
                protocol: Some(Protocol::Udp),
                ports: Ports::All,
            }],
            false,
        ),
        (
            vec![PortRule {
                protocol: None,
                ports: Ports::All,
            }],
            false,
        ),
        (
            vec![tcp(Ports::Range(1, 2)), tcp(Ports::Range(8080, 8080))],
            true,
        ),
    ] {
        assert_eq!(enters(vec![on(ports.clone())], None), expected, "{ports:?}");
    }
}

#[test]
fn names_of_ports_are_the_targets_for_what_goes_out_too() {
    let rules = vec![on(vec![tcp(Ports::Named("http".into()))])];
    let policies = Policies::new(vec![policy(None, Some(rules))], namespaces());
    let (db, web) = (pod("shop", "app=db"), pod("lab", "app=web"));
    policies.may_leave(&attempt(Some(&db), Some(&web))).unwrap();
    policies.may_leave(&attempt(Some(&db), None)).unwrap_err();
}

#[test]
fn selectors_have_sets() {
    let of = |requirement| Selector(vec![requirement]);
    let values = || vec!["a".to_owned(), "b".to_owned()];
    let (has, other, none) = (labels("k=a"), labels("k=z"), labels("x=y"));
    for (selector, expected) in [
        (
            of(Requirement::In("k".into(), values())),
            [true, false, false],
        ),
        (
            of(Requirement::NotIn("k".into(), values())),
            [false, true, true],
        ),
        (of(Requirement::Exists("k".into())), [true, true, false]),
        (
            of(Requirement::DoesNotExist("k".into())),
            [false, false, true],
        ),
        (Selector::default(), [true; 3]),
    ] {
        let matched = [&has, &other, &none].map(|labels| selector.matches(labels));
        assert_eq!(matched, expected, "{selector:?}");
    }
}

fn rules() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let selector = || {
        prop_oneof![
            Just(Selector::default()),
            Just(Selector::label("app", "web")),
            Just(Selector::label("app", "db")),
        ]
    };
    let peer = prop_oneof![
        (
            proptest::option::of(selector()),
            proptest::option::of(selector())
        )
            .prop_map(|(namespaces, pods)| Peer::Pods { namespaces, pods }),
        (0_u8..=32).prop_map(|bits| Peer::Block {
            range: format!("10.1.0.0/{bits}").parse().unwrap(),
            except: Vec::new(),
        }),
    ];
    let port =
        (8079_u16..8082, 0_u16..3).prop_map(|(first, more)| tcp(Ports::Range(first, first + more)));
    let rule = (
        proptest::collection::vec(peer, 0..3),
        proptest::collection::vec(port, 0..3),
    )
        .prop_map(|(peers, ports)| Rule { peers, ports });
    proptest::option::of(proptest::collection::vec(rule, 0..3))
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let one = (rules(), rules(), any::<bool>()).prop_map(|(ingress, egress, all)| Policy {
        pods: if all {
            Selector::default()
        } else {
            Selector::label("app", "db")
        },
        ..policy(ingress, egress)
    });
    proptest::collection::vec(one, 0..4)
}

proptest! {
    /// Policies add up: what one set allows, and isolates, more policies of the same kind never take away.
    #[test]
    fn what_is_allowed_in_isolation_stays_allowed_with_more_policies(some in policies(), more in policies(), app in "web|db") {
        let (client, server) = (pod("shop", &format!("app={app}")), pod("shop", "app=db"));
        let attempt = attempt(Some(&client), Some(&server));
        let isolates = some.iter().any(|one| one.ingress.is_some());
        let fewer = Policies::new(some.clone(), namespaces());
        let all = Policies::new([some, more].concat(), namespaces());
        if isolates && fewer.may_enter(&attempt).is_ok() {
            prop_assert!(all.may_enter(&attempt).is_ok());
        }
    }

    /// The order of policies does not matter, and a pod reaches itself whatever they say.
    #[test]
    fn order_does_not_matter_and_a_pod_reaches_itself(mut some in policies()) {
        let (client, server) = (pod("shop", "app=web"), pod("shop", "app=db"));
        let mut attempt = attempt(Some(&client), Some(&server));
        let forth = Policies::new(some.clone(), namespaces()).may_enter(&attempt);
        some.reverse();
        let policies = Policies::new(some, namespaces());
        prop_assert_eq!(forth, policies.may_enter(&attempt));
        attempt.source = attempt.target;
        prop_assert!(policies.may_enter(&attempt).is_ok() && policies.may_leave(&attempt).is_ok());
    }
}
