//! Table of Pods. STATUS is the phase, or the most telling reason of a container that keeps the pod from it.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{NONE, age, column, list, name, name_column, number, or_none, since, text};
use crate::registry::Column;

/// NAME, READY, STATUS, RESTARTS, AGE; wide: IP, NODE, NOMINATED NODE, READINESS GATES.
#[must_use]
pub fn columns() -> Vec<Column> {
    vec![
        name_column(),
        column("Ready", "string", 0),
        column("Status", "string", 0),
        column("Restarts", "string", 0),
        column("Age", "string", 0),
        column("IP", "string", 1),
        column("Node", "string", 1),
        column("Nominated Node", "string", 1),
        column("Readiness Gates", "string", 1),
    ]
}

/// Cells of a Pod.
#[must_use]
pub fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut shown = Shown::of(object);
    shown.consider_init_containers(object);
    if !shown.initializing {
        shown.consider_containers(object);
    }
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        shown.reason = if text(object, "/status/reason") == "NodeLost" {
            "Unknown"
        } else {
            "Terminating"
        }
        .to_owned();
    }
    let restarts = match shown.last_restart {
        Some(at) if shown.restarts > 0 => format!("{} ({} ago)", shown.restarts, since(at, now)),
        _ => shown.restarts.to_string(),
    };
    let ip = list(object, "/status/podIPs")
        .first()
        .map_or_else(|| text(object, "/status/podIP"), |ip| text(ip, "/ip"));
    vec![
        name(object),
        format!("{}/{}", shown.ready, shown.total).into(),
        shown.reason.into(),
        restarts.into(),
        age(object, now),
        or_none(ip).into(),
        or_none(text(object, "/spec/nodeName")).into(),
        or_none(text(object, "/status/nominatedNodeName")).into(),
        readiness_gates(object).into(),
    ]
}

struct Shown<'a> {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<&'a str>,
    initializing: bool,
}

impl<'a> Shown<'a> {
    fn of(object: &Value) -> Self {
        let mut reason = text(object, "/status/phase").to_owned();
        if !text(object, "/status/reason").is_empty() {
            reason = text(object, "/status/reason").to_owned();
        }
        let gated = |condition: &&Value| {
            text(condition, "/type") == "PodScheduled"
                && text(condition, "/reason") == "SchedulingGated"
        };
        if list(object, "/status/conditions")
            .iter()
            .any(|condition| gated(&condition))
        {
            reason = "SchedulingGated".to_owned();
        }
        Self {
            reason,
            ready: 0,
            total: list(object, "/spec/containers").len(),
            restarts: 0,
            last_restart: None,
            initializing: false,
        }
    }

    fn note_restarts(&mut self, status: &'a Value) {
        self.restarts += number(status, "/restartCount");
        let finished = text(status, "/lastState/terminated/finishedAt");
        if !finished.is_empty() && self.last_restart.is_none_or(|last| finished > last) {
            self.last_restart = Some(finished);
        }
    }

    fn consider_init_containers(&mut self, object: &'a Value) {
        let specs = list(object, "/spec/initContainers");
        let restartable = |name: &str| {
            specs.iter().any(|container| {
                text(container, "/name") == name && text(container, "/restartPolicy") == "Always"
            })
        };
        self.total += specs
            .iter()
            .filter(|container| text(container, "/restartPolicy") == "Always")
            .count();
        for (index, status) in list(object, "/status/initContainerStatuses")
            .iter()
            .enumerate()
        {
            let sidecar = restartable(text(status, "/name"));
            self.note_restarts(status);
            let terminated = status.pointer("/state/terminated");
            if terminated.is_some_and(|state| number(state, "/exitCode") == 0) {
                continue;
            }
            if sidecar && status.get("started").and_then(Value::as_bool) == Some(true) {
                if status.get("ready").and_then(Value::as_bool) == Some(true) {
                    self.ready += 1;
                }
                continue;
            }
            let waiting = text(status, "/state/waiting/reason");
            self.reason = match terminated {
                Some(state) => format!("Init:{}", ended(state)),
                None if !waiting.is_empty() && waiting != "PodInitializing" => {
                    format!("Init:{waiting}")
                }
                None => format!("Init:{index}/{}", specs.len()),
            };
            self.initializing = true;
            break;
        }
    }

    fn consider_containers(&mut self, object: &'a Value) {
        let mut running = false;
        for status in list(object, "/status/containerStatuses").iter().rev() {
            self.note_restarts(status);
            let waiting = text(status, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(state) = status.pointer("/state/terminated") {
                self.reason = ended(state);
            } else if status.get("ready").and_then(Value::as_bool) == Some(true)
                && status.pointer("/state/running").is_some()
            {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = |condition: &Value| {
                text(condition, "/type") == "Ready" && text(condition, "/status") == "True"
            };
            let is_ready = list(object, "/status/conditions").iter().any(ready);
            self.reason = if is_ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

/// Why a container ended.
fn ended(state: &Value) -> String {
    match (text(state, "/reason"), number(state, "/signal")) {
        ("", 0) => format!("ExitCode:{}", number(state, "/exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn readiness_gates(object: &Value) -> String {
    let gates = list(object, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let mut states: Map<String, Value> = Map::new();
    for condition in list(object, "/status/conditions") {
        states.insert(
            text(condition, "/type").to_owned(),
            text(condition, "/status").into(),
        );
    }
    let met = gates.iter().filter(|gate| {
        states
            .get(text(gate, "/conditionType"))
            .and_then(Value::as_str)
            == Some("True")
    });
    format!("{}/{}", met.count(), gates.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status_of(spec: Value, status: Value) -> (String, String, String) {
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "spec": spec, "status": status});
        let cells = row(&pod, "2026-01-01T00:01:00Z".parse().unwrap());
        let cell = |index: usize| cells[index].as_str().unwrap().to_owned();
        (cell(1), cell(2), cell(3))
    }

    #[test]
    fn the_status_tells_what_keeps_a_pod_from_running() {
        let two = json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let running =
            json!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
        for (status, shown) in [
            (json!({"phase": "Pending"}), ("0/2", "Pending", "0")),
            (
                json!({"phase": "Running", "containerStatuses": [running, running]}),
                ("2/2", "Running", "0"),
            ),
            (
                json!({"phase": "Running", "containerStatuses": [running, {"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                    "lastState": {"terminated": {"finishedAt": "2026-01-01T00:00:55Z"}}}]}),
                ("1/2", "CrashLoopBackOff", "3 (5s ago)"),
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}),
                ("0/2", "OOMKilled", "0"),
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]}),
                ("0/2", "ExitCode:3", "0"),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted"}),
                ("0/2", "Evicted", "0"),
            ),
        ] {
            let (ready, reason, restarts) = status_of(two.clone(), status);
            assert_eq!((ready.as_str(), reason.as_str(), restarts.as_str()), shown);
        }
        let (_, reason, _) = status_of(
            json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}
            ]}),
        );
        assert_eq!(reason, "Init:1/2");
    }
}
