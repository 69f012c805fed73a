//! What the node and its containers use, over windows of time. The numbers of some moments are remembered, so that the rate over the last ten to thirty
//! seconds can be told whenever somebody asks, however seldom.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use coracle_api::stats::{ContainerStats, NodeStats, PodStats, Usage};
use coracle_runtime::Container;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{machine, pods::Pods, sandbox::Sandbox};

/// How often the numbers are remembered, and how many moments.
const PERIOD: Duration = Duration::from_secs(10);
const MOMENTS: usize = 3;

/// Names a run of a container: pod uid, container, run.
type Run = (String, Arc<str>, u32);

/// The numbers of one moment.
#[derive(Clone, Debug)]
struct Moment {
    at: Timestamp,
    node: u64,
    runs: HashMap<Run, u64>,
}

/// Remembers and tells.
pub(crate) struct UsageMeter {
    pods: Arc<Pods>,
    name: String,
    started: Timestamp,
    moments: Mutex<VecDeque<Moment>>,
}

impl UsageMeter {
    pub(crate) fn new(pods: Arc<Pods>, name: String) -> Arc<Self> {
        Arc::new(Self {
            pods,
            name,
            started: Timestamp::now(),
            moments: Mutex::default(),
        })
    }

    /// Remembers until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => {}
                () = stop.cancelled() => return,
            }
            let moment = self.moment();
            let mut moments = self.moments.lock();
            moments.push_back(moment);
            while moments.len() > MOMENTS {
                moments.pop_front();
            }
        }
    }

    fn moment(&self) -> Moment {
        let mut runs = HashMap::new();
        for pod in self.pods.all() {
            for (name, run, container) in pod.all_running() {
                let used = nanos(container.usage().cpu_time);
                runs.insert((pod.uid.clone(), name, run), used);
            }
        }
        Moment {
            at: Timestamp::now(),
            node: machine::own_usage().0,
            runs,
        }
    }

    /// What is used now, and since the earliest moment that is remembered.
    pub(crate) fn now(&self) -> NodeStats {
        let earlier = self.moments.lock().front().cloned();
        let now = Timestamp::now();
        let (cpu, memory) = machine::own_usage();
        let node_since = earlier
            .as_ref()
            .map_or((self.started, 0), |moment| (moment.at, moment.node));
        let pods = self.pods.all();
        let pods = pods
            .iter()
            .filter_map(|pod| of_pod(pod, earlier.as_ref(), now));
        NodeStats {
            name: self.name.clone(),
            time: now,
            window: go_seconds(window(node_since.0, now)),
            node: over(node_since, (now, cpu), memory),
            pods: pods.collect(),
        }
    }
}

/// What a pod uses; nothing when none of its containers runs.
fn of_pod(pod: &Sandbox, earlier: Option<&Moment>, now: Timestamp) -> Option<PodStats> {
    let of_container = |(name, run, container): (Arc<str>, u32, Arc<Container>)| {
        let used = container.usage();
        let key = (pod.uid.clone(), Arc::clone(&name), run);
        let remembered = earlier.and_then(|moment| Some((moment.at, *moment.runs.get(&key)?)));
        let since =
            remembered.unwrap_or_else(|| (started(container.started_at()).unwrap_or(now), 0));
        ContainerStats {
            name: name.to_string(),
            usage: over(since, (now, nanos(used.cpu_time)), used.memory_bytes),
            peak_bytes: used.memory_peak,
            fuel: used.fuel,
            periods: used.periods,
            throttled_periods: used.throttled_periods,
            throttled_nanoseconds: nanos(used.throttled_time),
        }
    };
    let containers: Vec<_> = pod.all_running().into_iter().map(of_container).collect();
    (!containers.is_empty()).then(|| PodStats {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        usage: containers.iter().map(|one| one.usage).sum(),
        containers,
    })
}

/// The rate between two moments. Without time between them nothing is known, and the rate is zero.
fn over(
    (began, before): (Timestamp, u64),
    (time, cpu): (Timestamp, u64),
    working_set_bytes: u64,
) -> Usage {
    let used = u128::from(cpu.saturating_sub(before)).saturating_mul(1_000_000_000);
    let rate = used
        .checked_div(u128::from(window(began, time)))
        .unwrap_or(0);
    Usage {
        usage_nano_cores: u64::try_from(rate).unwrap_or(u64::MAX),
        usage_core_nano_seconds: cpu,
        working_set_bytes,
    }
}

/// From `began` to `time` in nanoseconds; zero when the clock went back.
fn window(began: Timestamp, time: Timestamp) -> u64 {
    u64::try_from(time.duration_since(began).as_nanos()).unwrap_or(0)
}

/// Seconds to the millisecond, as Go writes durations.
fn go_seconds(nanos: u64) -> String {
    let millis = nanos / 1_000_000;
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    let short = text.trim_end_matches('0').trim_end_matches('.');
    format!("{short}s")
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn started(at: std::time::SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_used_in_the_window() {
        let began = Timestamp::UNIX_EPOCH;
        let time = began + jiff::SignedDuration::from_secs(10);
        let usage = over((began, 1_000_000_000), (time, 3_500_000_000), 7);
        assert_eq!(usage.usage_nano_cores, 250_000_000);
        // No time has passed, or the clock went back: nothing is known.
        assert_eq!(over((time, 0), (time, 5), 0).usage_nano_cores, 0);
        assert_eq!(over((time, 0), (began, 5), 0).usage_nano_cores, 0);
        assert_eq!(go_seconds(window(began, time)), "10s");
        assert_eq!(go_seconds(1_500_000_000), "1.5s");
        assert_eq!(go_seconds(20_007_900_000), "20.007s");
        assert_eq!(go_seconds(0), "0s");
    }
}
