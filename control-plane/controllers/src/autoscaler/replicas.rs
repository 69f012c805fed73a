//! How many replicas one metric asks for. Pods that are not ready yet or were not measured are counted so that they damp a change and never cause one.
//! Rules: upstream `podautoscaler/replica_calculator.go`.

use std::{collections::BTreeMap, sync::Arc};

use coracle_api::{names::ObjectKey, pods, quantity::Quantity};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use super::metrics::{Measured, Metrics, Sample};
use crate::action::key_of;

/// In its first minutes a pod's CPU says more about its start than about its load. Upstream's default.
const INITIALIZATION: SignedDuration = SignedDuration::from_mins(5);
/// A pod that became unready so soon after its start never was ready. Upstream's default.
const READINESS_DELAY: SignedDuration = SignedDuration::from_secs(30);

/// What is wanted of one resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The resource.
    pub of: Measured,
    /// Of this container only.
    pub container: Option<String>,
    /// How much of it.
    pub target: Amount,
}

/// How much a pod should use on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many hundredths of what it requests.
    Utilization(i32),
    /// So many thousandths.
    Value(i64),
}

/// What a metric says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// So many replicas.
    pub replicas: i32,
    /// What pods use on average, in hundredths of what they request.
    pub utilization: Option<i32>,
    /// What pods use on average, in thousandths.
    pub average: i64,
}

/// How much a ratio may differ from one without anything being done, each way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// When there is too much.
    pub down: f64,
    /// When there is too little.
    pub up: f64,
}

impl Tolerance {
    /// Upstream's default: a tenth. At half, noise scales; at double, a third of the load goes unnoticed.
    pub const DEFAULT: Self = Self { down: 0.1, up: 0.1 };

    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What a proposal is made from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The pods of the target.
    pub pods: &'a [&'a Arc<Pod>],
    /// What they use.
    pub metrics: &'a Metrics,
    /// The replicas the target has in its spec.
    pub current: i32,
    /// How much the ratio may differ from one.
    pub tolerance: Tolerance,
    /// The time.
    pub now: Timestamp,
}

/// Pods by what is known of them.
#[derive(Default)]
struct Groups<'a> {
    measured: BTreeMap<ObjectKey, (&'a Arc<Pod>, i64)>,
    unready: Vec<&'a Arc<Pod>>,
    missing: Vec<&'a Arc<Pod>>,
}

/// Computes how many replicas a goal asks for.
///
/// # Errors
/// Why that cannot be said, in upstream's words.
pub fn propose(goal: &Goal, facts: &Facts<'_>) -> Result<Proposal, String> {
    if let Some(problem) = facts.metrics.problem() {
        return Err(format!(
            "unable to get metrics for resource {}: {problem}",
            goal.of.as_str()
        ));
    }
    if facts.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let any = facts
        .pods
        .iter()
        .any(|pod| facts.metrics.of(&key_of(&pod.metadata)).is_some());
    if !any {
        return Err(format!(
            "unable to get metrics for resource {}: no metrics returned from resource metrics API",
            goal.of.as_str()
        ));
    }
    let groups = group(goal, facts)?;
    if groups.measured.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let requests = match goal.target {
        Amount::Utilization(_) => requests(goal, facts.pods)?,
        Amount::Value(_) => BTreeMap::new(),
    };
    let mut usage: BTreeMap<ObjectKey, i64> = groups
        .measured
        .iter()
        .map(|(key, (_, millis))| (key.clone(), *millis))
        .collect();
    let ratio = ratio(goal.target, &usage, &requests)?;
    let (utilization, average) = averages(goal.target, &usage, &requests);
    let made = |replicas| Proposal {
        replicas,
        utilization,
        average,
    };
    let n_ready = usage.len();
    let counts_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !counts_unready && groups.missing.is_empty() {
        if facts.tolerance.covers(ratio) {
            return Ok(made(facts.current));
        }
        return Ok(made(ceiling(ratio, n_ready)));
    }
    // Missing ones use what speaks against a change: all they may when scaling down, nothing when scaling up.
    for pod in &groups.missing {
        let key = key_of(&pod.metadata);
        let assumed = if ratio < 1.0 {
            match goal.target {
                Amount::Utilization(target) => {
                    let request = requests.get(&key).copied().unwrap_or(0);
                    request.saturating_mul(i64::from(target.max(100))) / 100
                }
                Amount::Value(target) => target,
            }
        } else {
            0
        };
        if ratio != 1.0 {
            usage.insert(key, assumed);
        }
    }
    if counts_unready {
        for pod in &groups.unready {
            usage.insert(key_of(&pod.metadata), 0);
        }
    }
    let damped = self::ratio(goal.target, &usage, &requests)?;
    let turned = (ratio < 1.0 && damped > 1.0) || (ratio > 1.0 && damped < 1.0);
    if facts.tolerance.covers(damped) || turned {
        return Ok(made(facts.current));
    }
    let replicas = ceiling(damped, usage.len());
    let wrong_way =
        (damped < 1.0 && replicas > facts.current) || (damped > 1.0 && replicas < facts.current);
    Ok(made(if wrong_way { facts.current } else { replicas }))
}

fn group<'a>(goal: &Goal, facts: &Facts<'a>) -> Result<Groups<'a>, String> {
    let mut groups = Groups::default();
    for pod in facts.pods.iter().copied() {
        let phase = pods::phase(pod);
        if pod.metadata.deletion_timestamp.is_some() || phase == "Failed" {
            continue;
        }
        if phase == "Pending" {
            groups.unready.push(pod);
            continue;
        }
        let key = key_of(&pod.metadata);
        let Some(sample) = facts.metrics.of(&key) else {
            groups.missing.push(pod);
            continue;
        };
        if goal.of == Measured::Cpu && is_starting(pod, sample, facts.now) {
            groups.unready.push(pod);
            continue;
        }
        let millis = sample.millis(goal.of, goal.container.as_deref());
        let container = goal.container.as_deref().unwrap_or_default();
        let millis = millis.ok_or_else(|| {
            format!(
                "container {container} not present in metrics for pod {}/{}",
                key.namespace.as_deref().unwrap_or_default(),
                key.name
            )
        })?;
        groups.measured.insert(key, (pod, millis));
    }
    Ok(groups)
}

/// Whether a pod's CPU is not yet that of its work.
fn is_starting(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let started = pod
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (pods::condition(pod, "Ready"), started) else {
        return true;
    };
    let changed = ready
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::MIN, |time| time.0);
    let later = |time: Timestamp, by| time.saturating_add(by).unwrap_or(Timestamp::MAX);
    let unready = ready.status != "True";
    if later(started.0, INITIALIZATION) > now {
        // A rate over a window that began before the pod was ready includes its start.
        unready || sample.time < later(changed, sample.window)
    } else {
        unready && later(started.0, READINESS_DELAY) > changed
    }
}

/// What each pod requests, in thousandths.
fn requests(goal: &Goal, pods: &[&Arc<Pod>]) -> Result<BTreeMap<ObjectKey, i64>, String> {
    let mut requests = BTreeMap::new();
    for pod in pods {
        let spec = pod.spec.as_ref();
        let main = spec.into_iter().flat_map(|spec| &spec.containers);
        let init = spec
            .into_iter()
            .flat_map(|spec| spec.init_containers.iter().flatten());
        let sidecars = init.filter(|one| one.restart_policy.as_deref() == Some("Always"));
        let mut sum = 0_i64;
        for container in main.chain(sidecars) {
            if goal
                .container
                .as_ref()
                .is_some_and(|only| *only != container.name)
            {
                continue;
            }
            let request = request(container, goal.of).ok_or_else(|| {
                format!(
                    "missing request for {} in container {} of Pod {}",
                    goal.of.as_str(),
                    container.name,
                    pod.metadata.name.as_deref().unwrap_or_default()
                )
            })?;
            sum = sum.saturating_add(request);
        }
        requests.insert(key_of(&pod.metadata), sum);
    }
    Ok(requests)
}

fn request(container: &Container, of: Measured) -> Option<i64> {
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    let quantity = Quantity::parse(&requests.get(of.as_str())?.0).ok()?;
    Some(quantity.millis())
}

/// What is used, in relation to what should be.
fn ratio(
    target: Amount,
    usage: &BTreeMap<ObjectKey, i64>,
    requests: &BTreeMap<ObjectKey, i64>,
) -> Result<f64, String> {
    let used = usage.values().map(|millis| real(*millis)).sum::<f64>();
    let wanted = match target {
        Amount::Utilization(percent) => {
            let requested = usage
                .keys()
                .filter_map(|key| requests.get(key))
                .map(|millis| real(*millis))
                .sum::<f64>();
            requested * f64::from(percent) / 100.0
        }
        Amount::Value(millis) => {
            real(millis) * real(i64::try_from(usage.len()).unwrap_or(i64::MAX))
        }
    };
    if wanted <= 0.0 {
        return Err("no metrics returned matched known pods".to_owned());
    }
    Ok(used / wanted)
}

/// What is shown to users.
fn averages(
    target: Amount,
    usage: &BTreeMap<ObjectKey, i64>,
    requests: &BTreeMap<ObjectKey, i64>,
) -> (Option<i32>, i64) {
    let used = usage
        .values()
        .fold(0, |sum, one| i64::saturating_add(sum, *one));
    let count = i64::try_from(usage.len()).unwrap_or(i64::MAX).max(1);
    let requested = usage
        .keys()
        .filter_map(|key| requests.get(key))
        .fold(0, |sum, one| i64::saturating_add(sum, *one));
    let utilization = match target {
        Amount::Utilization(_) if requested > 0 => {
            i32::try_from(used.saturating_mul(100) / requested).ok()
        }
        _ => None,
    };
    (utilization, used / count)
}

/// A number of thousandths as a real one. What is lost above 2^53 is below a part in 10^15.
#[allow(clippy::cast_precision_loss, reason = "ratios need no more digits")]
fn real(number: i64) -> f64 {
    number as f64
}

/// So many times as many, rounded up.
#[allow(
    clippy::cast_possible_truncation,
    reason = "bounded before it is converted"
)]
fn ceiling(ratio: f64, count: usize) -> i32 {
    let count = real(i64::try_from(count).unwrap_or(i64::MAX));
    (ratio * count).ceil().clamp(0.0, f64::from(i32::MAX)) as i32
}
