//! What the machine says of itself: kernel, memory, disk, processes. Reads `/proc` and `/etc`; what is not there is empty.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::NodeSystemInfo;

/// The machine's memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// All of it.
    pub total: i64,
    /// What could still be used without swapping.
    pub available: i64,
}

/// The machine's memory; nothing where the kernel does not tell.
#[must_use]
pub fn memory() -> Option<Memory> {
    parse_memory(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_memory(text: &str) -> Option<Memory> {
    Some(Memory {
        total: kibibytes(text, "MemTotal")?,
        available: kibibytes(text, "MemAvailable")?,
    })
}

/// A line `name:  n kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number.saturating_mul(1024))
}

/// Room on a disk in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total: u64,
    /// What this process could still write.
    pub available: u64,
}

/// The disk that a directory is on.
///
/// # Errors
/// What the kernel says.
pub fn disk(directory: &Path) -> std::io::Result<Disk> {
    let of = rustix::fs::statvfs(directory)?;
    Ok(Disk {
        total: of.f_frsize.saturating_mul(of.f_blocks),
        available: of.f_frsize.saturating_mul(of.f_bavail),
    })
}

/// Processes and threads on the machine, and how many there may be; nothing where the kernel does not tell.
#[must_use]
pub fn tasks() -> Option<(u64, u64)> {
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let counts = load.split_whitespace().nth(3)?;
    let now = counts.split_once('/')?.1.parse().ok()?;
    let limit = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?;
    Some((now, limit.trim().parse().ok()?))
}

/// CPU time of this process in nanoseconds, and its resident memory in bytes.
#[must_use]
pub fn own_usage() -> (u64, u64) {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = kibibytes(&status, "VmRSS").unwrap_or(0);
    (
        seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        u64::try_from(resident).unwrap_or(0),
    )
}

/// The machine architecture in the words that images and selectors use.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What the Node object says of the machine.
#[must_use]
pub fn system_info() -> NodeSystemInfo {
    let read = |path: &str| {
        fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let machine = read("/etc/machine-id");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version: format!("coracle://{}", env!("CARGO_PKG_VERSION")),
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: version(),
        machine_id: machine.clone(),
        operating_system: std::env::consts::OS.to_owned(),
        os_image: pretty_name(&read("/etc/os-release")),
        system_uuid: machine,
        ..NodeSystemInfo::default()
    }
}

/// The API version this agent speaks and which Coracle it is, as the API server's.
#[must_use]
pub fn version() -> String {
    const MINOR: u32 = {
        k8s_openapi::k8s_if_le_1_36! { 36 }
        k8s_openapi::k8s_if_1_37! { 37 }
    };
    format!("v1.{MINOR}.0+coracle.{}", env!("CARGO_PKG_VERSION"))
}

fn pretty_name(os_release: &str) -> String {
    let line = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or("Linux").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let text = "MemTotal:       24000 kB\nMemFree: 1 kB\nMemAvailable:   12000 kB\n";
        assert_eq!(
            parse_memory(text),
            Some(Memory {
                total: 24_000 << 10,
                available: 12_000 << 10
            })
        );
        assert_eq!(parse_memory("MemTotal: x kB"), None);
        assert_eq!(
            pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux\"\n"),
            "Debian GNU/Linux"
        );
        assert!(own_usage().1 > 0);
        assert!(disk(Path::new("/")).unwrap().total > 0);
    }
}
