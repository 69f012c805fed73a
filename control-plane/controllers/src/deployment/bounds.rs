//! How far a rolling update may go above and below the wanted number of pods.

use k8s_openapi::{api::apps::v1::DeploymentSpec, apimachinery::pkg::util::intstr::IntOrString};

/// The bounds of one Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The number of pods wanted.
    pub replicas: i32,
    /// So many may be there beyond that.
    pub surge: i32,
    /// So many of them may be missing.
    pub unavailable: i32,
}

/// What both fields are when unset.
const DEFAULT: &str = "25%";

impl Bounds {
    /// The bounds of a spec. Percentages of the number wanted: a surge is rounded up, what may be unavailable down; both zero would be a deadlock, so
    /// that then one may be unavailable (upstream's ResolveFenceposts).
    #[must_use]
    pub fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        if !is_rolling(spec) {
            return Self {
                replicas,
                surge: 0,
                unavailable: 0,
            };
        }
        let rolling = spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let default = IntOrString::String(DEFAULT.to_owned());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let surge = part(surge.unwrap_or(&default), replicas, Round::Up);
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let unavailable = part(unavailable.unwrap_or(&default), replicas, Round::Down);
        let unavailable = match (surge, unavailable) {
            (0, 0) => 1,
            _ => unavailable,
        };
        Self {
            replicas,
            surge,
            unavailable: unavailable.min(replicas),
        }
    }

    /// So many pods may there be in all.
    #[must_use]
    pub fn most(self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// So many pods must at least be available.
    #[must_use]
    pub fn least_available(self) -> i32 {
        self.replicas - self.unavailable
    }
}

/// Whether pods are replaced little by little.
#[must_use]
pub fn is_rolling(spec: &DeploymentSpec) -> bool {
    let strategy = spec.strategy.as_ref();
    strategy.and_then(|strategy| strategy.type_.as_deref()) != Some("Recreate")
}

#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number, or that many hundredths of `whole`.
fn part(of: &IntOrString, whole: i32, round: Round) -> i32 {
    match of {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|text| text.parse().ok());
            let hundredths = percent.unwrap_or(0_i64).max(0) * i64::from(whole);
            let rounded = match round {
                Round::Up => (hundredths + 99) / 100,
                Round::Down => hundredths / 100,
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bounds(replicas: i32, rolling: serde_json::Value) -> (i32, i32) {
        let spec = json!({"replicas": replicas, "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        let bounds = Bounds::of(&serde_json::from_value(spec).unwrap());
        (bounds.surge, bounds.unavailable)
    }

    #[test]
    fn bounds_are_rounded_as_upstream() {
        assert_eq!(bounds(10, json!({})), (3, 2));
        assert_eq!(bounds(1, json!({})), (1, 0));
        assert_eq!(
            bounds(3, json!({"maxSurge": 0, "maxUnavailable": "10%"})),
            (0, 1)
        );
        assert_eq!(
            bounds(4, json!({"maxSurge": "50%", "maxUnavailable": 9})),
            (2, 4)
        );
        assert_eq!(bounds(0, json!({})), (0, 0));
        let recreate = json!({"replicas": 3, "selector": {}, "template": {}, "strategy": {"type": "Recreate"}});
        let bounds = Bounds::of(&serde_json::from_value(recreate).unwrap());
        assert_eq!((bounds.most(), bounds.least_available()), (3, 3));
    }
}
