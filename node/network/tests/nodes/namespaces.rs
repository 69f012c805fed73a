//! Two hosts with a cable between them: network namespaces and a pair of virtual interfaces, removed when dropped.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The addresses of the two hosts.
pub(crate) const ADDRESSES: [&str; 2] = ["10.99.0.1", "10.99.0.2"];

/// Whether there can be namespaces here. Installs `ip` where it is missing and may be installed.
pub(crate) fn are_possible() -> bool {
    let id = Command::new("id").arg("-u").output().expect("run id");
    if id.stdout.trim_ascii() != b"0" {
        return false;
    }
    let has_ip = || {
        Command::new("ip")
            .arg("-V")
            .stdout(Stdio::null())
            .status()
            .is_ok()
    };
    if !has_ip() {
        let mut apt = Command::new("apt-get");
        apt.args(["install", "-y", "--no-install-recommends", "iproute2"]);
        let installed = apt.stdout(Stdio::null()).status().expect("run apt-get");
        assert!(
            installed.success() && has_ip(),
            "iproute2 cannot be installed"
        );
    }
    true
}

/// Two hosts.
pub(crate) struct Cable {
    names: [String; 2],
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().expect("run ip");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {}: {said}", arguments.join(" "));
}

impl Cable {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let cable = Self {
            names: ["a", "b"].map(|end| format!("cor{id}x{number}{end}")),
        };
        let [a, b] = &cable.names;
        ip(&["netns", "add", a]);
        ip(&["netns", "add", b]);
        ip(&[
            "-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b,
        ]);
        for (name, address) in cable.names.iter().zip(ADDRESSES) {
            ip(&[
                "-n",
                name,
                "address",
                "add",
                &format!("{address}/30"),
                "dev",
                "eth0",
            ]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
        }
        cable
    }

    /// A command that runs on one of the hosts.
    pub(crate) fn on(&self, host: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[host]]);
        command.arg(std::env::current_exe().expect("this program"));
        command
    }

    /// Pulls the cable out, or puts it in again.
    pub(crate) fn set_plugged(&self, is_plugged: bool) {
        let state = if is_plugged { "up" } else { "down" };
        ip(&["-n", &self.names[0], "link", "set", "eth0", state]);
    }

    /// Makes everything that the first host sends get lost, while what the second sends arrives; or ends that.
    pub(crate) fn set_mute(&self, is_mute: bool) {
        let neighbour = ["-n", &self.names[0], "neighbour"];
        let entry = [ADDRESSES[1], "dev", "eth0"];
        let how: &[&str] = if is_mute {
            &["lladdr", "02:00:00:00:00:99", "nud", "permanent"]
        } else {
            &[]
        };
        let what = if is_mute { "replace" } else { "delete" };
        ip(&[&neighbour[..], &[what], &entry[..], how].concat());
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            // What is left over is told by the next `ip netns add` of its name, which is not used again.
            drop(Command::new("ip").args(["netns", "delete", name]).output());
        }
    }
}
