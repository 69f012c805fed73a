//! What happens to links, and what must become of it.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use crate::{
    authority::Authority,
    namespaces::{ADDRESSES, Cable},
};

pub(crate) const ALL: [(&str, fn()); 5] = [
    ("pods_talk_in_both_directions", pods_talk_in_both_directions),
    (
        "a_lost_cable_breaks_connections_and_heals",
        a_lost_cable_breaks_connections_and_heals,
    ),
    (
        "a_cable_that_carries_one_way_breaks_connections_at_both_ends",
        a_cable_that_carries_one_way_breaks_connections_at_both_ends,
    ),
    ("either_node_may_come_back", either_node_may_come_back),
    (
        "a_node_that_lets_nothing_in_is_reached_and_found_again",
        a_node_that_lets_nothing_in_is_reached_and_found_again,
    ),
];

/// No scenario waits longer for a line.
const DEADLINE: Duration = Duration::from_secs(30);
const PORT: u16 = 10_262;

/// A node's process.
struct Node {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// Two nodes and what they are started from.
struct World {
    cable: Cable,
    folders: [tempfile::TempDir; 2],
    /// Whether the second lets links in.
    is_open: bool,
    nodes: [Option<Node>; 2],
}

impl World {
    fn new(is_open: bool) -> Self {
        let authority = Authority::new();
        let folders = [1, 2].map(|number| {
            let folder = tempfile::tempdir().unwrap();
            let papers = authority.papers(&format!("node-{number}"));
            for (name, content) in [
                ("root", papers.root),
                ("certificate", papers.certificate),
                ("key", papers.key),
            ] {
                std::fs::write(folder.path().join(name), content).unwrap();
            }
            folder
        });
        let mut world = Self {
            cable: Cable::new(),
            folders,
            is_open,
            nodes: [None, None],
        };
        world.start(0);
        world.start(1);
        world
    }

    /// Starts a node, after ending the process that it was before.
    fn start(&mut self, host: usize) {
        self.nodes[host] = None;
        let at = |host: usize| {
            if host == 1 && !self.is_open {
                "-".to_owned()
            } else {
                format!("{}:{PORT}", ADDRESSES[host])
            }
        };
        let mut child = self
            .cable
            .on(host)
            .arg("host")
            .arg((host + 1).to_string())
            .arg(self.folders[host].path())
            .args([at(host), at(1 - host)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take().unwrap();
        let node = Node {
            child,
            input,
            lines,
        };
        assert_eq!(node.line(), "ready");
        self.nodes[host] = Some(node);
    }

    fn node(&mut self, host: usize) -> &mut Node {
        self.nodes[host].as_mut().unwrap()
    }

    /// Both directions, connections and datagrams.
    fn all_talk(&mut self) {
        for host in [0, 1] {
            let target = format!("10.{}.0.2:7", 2 - host);
            for what in ["connect", "ask"] {
                assert_eq!(
                    self.node(host).does(what, &target),
                    "ok",
                    "{what} from {host}"
                );
            }
        }
    }

    /// Both ends hold a connection that the other one's pod takes.
    fn hold(&mut self) {
        assert_eq!(self.node(0).does("hold", "10.2.0.2:7"), "held");
        assert_eq!(self.node(1).does("hold", "10.1.0.2:7"), "held");
    }
}

impl Node {
    fn line(&self) -> String {
        self.lines
            .recv_timeout(DEADLINE)
            .expect("the node says nothing")
    }

    fn says(&mut self, what: &str, target: &str) {
        writeln!(self.input, "{what} {target}").unwrap();
    }

    fn does(&mut self, what: &str, target: &str) -> String {
        self.says(what, target);
        self.line()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program, so this is the node itself.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn pods_talk_in_both_directions() {
    World::new(true).all_talk();
}

fn a_lost_cable_breaks_connections_and_heals() {
    let mut world = World::new(true);
    world.hold();
    let since = Instant::now();
    world.cable.set_plugged(false);
    for host in [0, 1] {
        assert_eq!(world.node(host).line(), "broken ConnectionReset");
    }
    // Pings, not the kernel's patience of minutes, told of it.
    assert!(since.elapsed() < Duration::from_secs(10));
    // Whoever connects meanwhile waits.
    world.node(0).says("connect", "10.2.0.2:7");
    world.cable.set_plugged(true);
    assert_eq!(world.node(0).line(), "ok");
    world.all_talk();
}

fn a_cable_that_carries_one_way_breaks_connections_at_both_ends() {
    let mut world = World::new(true);
    world.hold();
    world.cable.set_mute(true);
    for host in [0, 1] {
        assert_eq!(world.node(host).line(), "broken ConnectionReset");
    }
    world.node(1).says("connect", "10.1.0.2:7");
    world.cable.set_mute(false);
    assert_eq!(world.node(1).line(), "ok");
    world.all_talk();
}

fn either_node_may_come_back() {
    let mut world = World::new(true);
    for host in [1, 0] {
        let (other, target) = (1 - host, format!("10.{}.0.2:7", host + 1));
        assert_eq!(world.node(other).does("hold", &target), "held");
        world.start(host);
        assert_eq!(world.node(other).line(), "broken ConnectionReset");
        assert_eq!(world.node(other).does("connect", &target), "ok");
        world.all_talk();
    }
}

fn a_node_that_lets_nothing_in_is_reached_and_found_again() {
    let mut world = World::new(false);
    world.all_talk();
    world.hold();
    world.cable.set_plugged(false);
    for host in [0, 1] {
        assert_eq!(world.node(host).line(), "broken ConnectionReset");
    }
    world.cable.set_plugged(true);
    // It opens its link by itself.
    assert_eq!(world.node(0).does("connect", "10.2.0.2:7"), "ok");
    for host in [0, 1] {
        world.start(host);
        world.all_talk();
    }
}
