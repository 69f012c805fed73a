//! How fast an autoscaler may follow its metrics: stabilization windows, scaling policies, minimum and maximum. Rules: upstream
//! `normalizeDesiredReplicasWithBehaviors`.

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec,
};

use super::{history::History, replicas::Tolerance};
use coracle_api::quantity::Quantity;

/// Both directions' rules, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    up: Rules,
    down: Rules,
    /// How much a ratio may differ from one.
    pub tolerance: Tolerance,
}

#[derive(Clone, Debug, PartialEq)]
struct Rules {
    window: i32,
    select: Select,
    policies: Vec<Policy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Select {
    Max,
    Min,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    percent: bool,
    value: i32,
    period: i32,
}

/// A number of replicas and why it is not another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// The replicas.
    pub replicas: i32,
    /// Reason and message for the condition AbleToScale.
    pub stabilized: (&'static str, &'static str),
    /// Reason and message for the condition ScalingLimited; whether it is limited.
    pub limited: (bool, &'static str, &'static str),
}

/// How long a wish for fewer has to last. Upstream's default.
const DOWN_WINDOW: i32 = 300;

impl Behavior {
    /// The behavior of a spec; what is not said is upstream's default.
    #[must_use]
    pub fn of(spec: &HorizontalPodAutoscalerSpec) -> Self {
        let behavior = spec.behavior.as_ref();
        let up = behavior.and_then(|one| one.scale_up.as_ref());
        let down = behavior.and_then(|one| one.scale_down.as_ref());
        let pods = Policy {
            percent: false,
            value: 4,
            period: 15,
        };
        let all = Policy {
            percent: true,
            value: 100,
            period: 15,
        };
        Self {
            tolerance: Tolerance {
                up: tolerance(up, Tolerance::DEFAULT.up),
                down: tolerance(down, Tolerance::DEFAULT.down),
            },
            up: Rules::of(up, 0, vec![pods, all]),
            down: Rules::of(down, DOWN_WINDOW, vec![all]),
        }
    }
}

fn tolerance(rules: Option<&HPAScalingRules>, default: f64) -> f64 {
    let quantity = rules.and_then(|rules| rules.tolerance.as_ref());
    let parsed = quantity.and_then(|quantity| Quantity::parse(&quantity.0).ok());
    let millis = parsed.and_then(|quantity| i32::try_from(quantity.millis()).ok());
    millis.map_or(default, |millis| f64::from(millis) / 1000.0)
}

impl Rules {
    fn of(rules: Option<&HPAScalingRules>, window: i32, policies: Vec<Policy>) -> Self {
        let given = rules.and_then(|rules| rules.policies.as_ref());
        let given = given.filter(|list| !list.is_empty());
        let given = given.map(|list| list.iter().map(Policy::of).collect());
        Self {
            window: rules
                .and_then(|rules| rules.stabilization_window_seconds)
                .unwrap_or(window),
            select: match rules.and_then(|rules| rules.select_policy.as_deref()) {
                Some("Min") => Select::Min,
                Some("Disabled") => Select::Disabled,
                _ => Select::Max,
            },
            policies: given.unwrap_or(policies),
        }
    }
}

impl Policy {
    fn of(policy: &HPAScalingPolicy) -> Self {
        Self {
            percent: policy.type_ == "Percent",
            value: policy.value,
            period: policy.period_seconds,
        }
    }
}

/// Bounds a wish.
#[must_use]
pub fn bound(
    behavior: &Behavior,
    history: &History,
    (least, most): (i32, i32),
    current: i32,
    wished: i32,
    now: Timestamp,
) -> Bounded {
    let (stable, stabilized) = stabilize(behavior, history, current, wished, now);
    let (replicas, limited) = limit(behavior, history, (least, most), current, stable, now);
    Bounded {
        replicas,
        stabilized,
        limited,
    }
}

/// A wish counts only as far as all wishes of the window agree.
fn stabilize(
    behavior: &Behavior,
    history: &History,
    current: i32,
    wished: i32,
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    let lowest = history
        .recommended(now, behavior.up.window)
        .fold(wished, i32::min);
    let highest = history
        .recommended(now, behavior.down.window)
        .fold(wished, i32::max);
    let stable = current.max(lowest).min(highest);
    if stable == wished {
        return (
            stable,
            ("ReadyForNewScale", "recommended size matches current size"),
        );
    }
    let why = if wished < stable {
        (
            "ScaleDownStabilized",
            "recent recommendations were higher than current one, applying the highest recent recommendation",
        )
    } else {
        (
            "ScaleUpStabilized",
            "recent recommendations were lower than current one, applying the lowest recent recommendation",
        )
    };
    (stable, why)
}

fn limit(
    behavior: &Behavior,
    history: &History,
    (least, most): (i32, i32),
    current: i32,
    wished: i32,
    now: Timestamp,
) -> (i32, (bool, &'static str, &'static str)) {
    const TOO_MANY: (bool, &str, &str) = (
        true,
        "TooManyReplicas",
        "the desired replica count is more than the maximum replica count",
    );
    const TOO_FEW: (bool, &str, &str) = (
        true,
        "TooFewReplicas",
        "the desired replica count is less than the minimum replica count",
    );
    if wished > current {
        let fastest = up_limit(&behavior.up, history, current, now).max(current);
        if wished > fastest.min(most) {
            return if most > fastest {
                (
                    fastest,
                    (
                        true,
                        "ScaleUpLimit",
                        "the desired replica count is increasing faster than the maximum scale rate",
                    ),
                )
            } else {
                (most, TOO_MANY)
            };
        }
    } else if wished < current {
        let fastest = down_limit(&behavior.down, history, current, now).min(current);
        if wished < fastest.max(least) {
            return if least < fastest {
                (
                    fastest,
                    (
                        true,
                        "ScaleDownLimit",
                        "the desired replica count is decreasing faster than the maximum scale rate",
                    ),
                )
            } else {
                (least, TOO_FEW)
            };
        }
    }
    if wished > most {
        return (most, TOO_MANY);
    }
    if wished < least {
        return (least, TOO_FEW);
    }
    let within = (
        false,
        "DesiredWithinRange",
        "the desired count is within the acceptable range",
    );
    (wished, within)
}

/// The most replicas there may be now.
fn up_limit(rules: &Rules, history: &History, current: i32, now: Timestamp) -> i32 {
    let of = |policy: &Policy| {
        let before = current - history.added(now, policy.period);
        if policy.percent {
            // Rounded up.
            let grown = i64::from(before) * (100 + i64::from(policy.value));
            i32::try_from((grown + 99).div_euclid(100)).unwrap_or(i32::MAX)
        } else {
            before.saturating_add(policy.value)
        }
    };
    select(rules.select, rules.policies.iter().map(of), current, true)
}

/// The fewest replicas there may be now.
fn down_limit(rules: &Rules, history: &History, current: i32, now: Timestamp) -> i32 {
    let of = |policy: &Policy| {
        let before = current.saturating_add(history.removed(now, policy.period));
        if policy.percent {
            let left = i64::from(before) * (100 - i64::from(policy.value));
            i32::try_from(left.div_euclid(100)).unwrap_or(0)
        } else {
            before - policy.value
        }
    };
    select(rules.select, rules.policies.iter().map(of), current, false)
}

/// The policy that allows the most change (`Max`) or the least (`Min`).
fn select(select: Select, limits: impl Iterator<Item = i32>, current: i32, up: bool) -> i32 {
    let limit = match (select, up) {
        (Select::Disabled, _) => None,
        (Select::Max, true) | (Select::Min, false) => limits.max(),
        (Select::Min, true) | (Select::Max, false) => limits.min(),
    };
    limit.unwrap_or(current)
}
