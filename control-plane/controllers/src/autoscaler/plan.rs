//! Decides how many replicas an autoscaler's target is to have. Rules: upstream `podautoscaler/horizontal.go`, conditions and events included.

use std::sync::Arc;

use coracle_api::quantity::Quantity;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        autoscaling::v2::{
            ContainerResourceMetricStatus, HorizontalPodAutoscaler,
            HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus, MetricSpec,
            MetricStatus, MetricTarget, MetricValueStatus, ResourceMetricStatus,
        },
        core::v1::Pod,
    },
    apimachinery::pkg::{api::resource::Quantity as MetaQuantity, apis::meta::v1::Time},
};
use serde_json::json;

use super::{
    behavior::{self, Behavior},
    history::History,
    metrics::{Measured, Metrics},
    replicas::{Amount, Facts, Goal, Proposal, propose},
};
use crate::{
    action::{Action, Part, Plan, Severity, Step, Target},
    conditions::{self, Condition as _},
    kind::Kind,
    memory::Memory,
};

/// What an autoscaler scales.
pub struct Scale<'a> {
    /// The object.
    pub target: Target,
    /// The resourceVersion it was seen at.
    pub seen: String,
    /// The replicas in its spec.
    pub wanted: i32,
    /// The replicas in its status.
    pub current: i32,
    /// Its pods.
    pub pods: Vec<&'a Arc<Pod>>,
}

/// What is known of an autoscaler.
pub struct Observed<'a> {
    /// The autoscaler.
    pub autoscaler: &'a HorizontalPodAutoscaler,
    /// What it scales; or why that is not known.
    pub scale: Result<Scale<'a>, String>,
    /// What pods use.
    pub metrics: &'a Metrics,
    /// What it recommended and did.
    pub history: History,
    /// The time.
    pub now: Timestamp,
}

/// A decision under way.
struct Draft<'a> {
    observed: &'a Observed<'a>,
    own: Target,
    status: HorizontalPodAutoscalerStatus,
    plan: Plan,
}

impl Draft<'_> {
    fn condition(&mut self, of: &str, is: bool, reason: &str, message: &str) {
        let is = if is { "True" } else { "False" };
        let now = self.observed.now;
        let new = HorizontalPodAutoscalerCondition::new(of, is, reason, message, now);
        conditions::set(&mut self.status.conditions, new);
    }

    /// Tells of trouble when it begins, not at every look.
    fn complain(&mut self, of: &str, reason: &str, message: String) {
        let before = self.observed.autoscaler.status.as_ref();
        let before = before.and_then(|status| status.conditions.as_ref());
        let known = conditions::get(before, of)
            .is_some_and(|one| one.reason() == reason && one.message() == message);
        if !known {
            let note = self.own.note(Severity::Warning, reason.to_owned(), message);
            self.plan.notes.push(note);
        }
    }

    fn finish(mut self, history: History) -> Plan {
        let autoscaler = self.observed.autoscaler;
        self.plan.memory = Some(Memory::Scaling(history));
        let old = autoscaler.status.as_ref();
        self.plan.status = self.own.status(&autoscaler.metadata, old, &self.status);
        self.plan
    }
}

/// Decides.
///
/// # Guarantees
/// The target is never scaled beyond minimum and maximum, and never at all while its replicas are zero.
#[must_use]
pub fn plan(observed: &Observed<'_>) -> Plan {
    let autoscaler = observed.autoscaler;
    let spec = &autoscaler.spec;
    let mut history = observed.history.clone();
    let old = autoscaler.status.clone().unwrap_or_default();
    let mut draft = Draft {
        observed,
        own: Target::of(&Kind::AUTOSCALER, &autoscaler.metadata),
        status: HorizontalPodAutoscalerStatus {
            observed_generation: autoscaler.metadata.generation,
            ..old
        },
        plan: Plan::default(),
    };
    if autoscaler.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let scale = match &observed.scale {
        Ok(scale) => scale,
        Err(why) => {
            let words =
                format!("the HPA controller was unable to get the target's current scale: {why}");
            draft.condition("AbleToScale", false, "FailedGetScale", &words);
            draft.complain("AbleToScale", "FailedGetScale", words);
            return draft.finish(history);
        }
    };
    draft.condition(
        "AbleToScale",
        true,
        "SucceededGetScale",
        "the HPA controller was able to get the target's current scale",
    );
    let least = spec.min_replicas.unwrap_or(1);
    let bounds = (least, spec.max_replicas);
    draft.status.current_replicas = Some(scale.current);
    let wanted = scale.wanted;
    // After a restart nobody knows what was recommended: what there is was.
    history.begin(observed.now, wanted);
    let (desired, why) = if wanted == 0 && least != 0 {
        draft.condition(
            "ScalingActive",
            false,
            "ScalingDisabled",
            "scaling is disabled since the replica count of the target is zero",
        );
        (0, String::new())
    } else if wanted > spec.max_replicas {
        let why = "Current number of replicas above Spec.MaxReplicas";
        (spec.max_replicas, why.to_owned())
    } else if wanted < least {
        let why = "Current number of replicas below Spec.MinReplicas";
        (least, why.to_owned())
    } else {
        match measure(&mut draft, scale) {
            Some((wish, cause)) => {
                let behavior = Behavior::of(spec);
                history.recommend(observed.now, wish);
                let bounded =
                    behavior::bound(&behavior, &history, bounds, wanted, wish, observed.now);
                let (reason, message) = bounded.stabilized;
                draft.condition("AbleToScale", true, reason, message);
                let (limited, reason, message) = bounded.limited;
                draft.condition("ScalingLimited", limited, reason, message);
                let why = if bounded.replicas < wanted {
                    "All metrics below target".to_owned()
                } else {
                    format!("{cause} above target")
                };
                (bounded.replicas, why)
            }
            None => (wanted, String::new()),
        }
    };
    draft.status.desired_replicas = desired;
    if desired != wanted {
        history.change(observed.now, desired - wanted);
        rescale(&mut draft, scale, desired, &why);
    }
    draft.finish(history)
}

fn rescale(draft: &mut Draft<'_>, scale: &Scale<'_>, desired: i32, why: &str) {
    let words = format!("the HPA controller was able to update the target scale to {desired}");
    draft.condition("AbleToScale", true, "SucceededRescale", &words);
    draft.status.last_scale_time = Some(Time(draft.observed.now));
    let done = format!("New size: {desired}; reason: {why}");
    let failed = format!("New size: {desired}; reason: {why}; error");
    draft.plan.actions.push(Step {
        action: Action::Patch {
            target: scale.target.clone(),
            seen: scale.seen.clone(),
            part: Part::Scale,
            patch: json!({"spec": {"replicas": desired}}),
        },
        success: Some(draft.own.note(Severity::Normal, "SuccessfulRescale", done)),
        failure: Some(draft.own.note(Severity::Warning, "FailedRescale", failed)),
    });
}

/// The most replicas any metric asks for, and which metric; `None` when nothing should be done because too little is known.
fn measure(draft: &mut Draft<'_>, scale: &Scale<'_>) -> Option<(i32, String)> {
    let spec = &draft.observed.autoscaler.spec;
    let facts = Facts {
        pods: &scale.pods,
        metrics: draft.observed.metrics,
        current: scale.wanted,
        tolerance: Behavior::of(spec).tolerance,
        now: draft.observed.now,
    };
    let mut best: Option<(i32, String)> = None;
    let mut shown = Vec::new();
    let mut trouble: Option<(&'static str, String)> = None;
    for metric in spec.metrics.iter().flatten() {
        let proposed = match goal(metric) {
            Ok(goal) => propose(&goal, &facts)
                .map(|proposal| (goal, proposal))
                .map_err(|why| (reason(metric), why)),
            Err(why) => Err(("InvalidMetricSourceType", why)),
        };
        match proposed {
            Ok((goal, proposal)) => {
                shown.push(status_of(&goal, proposal));
                if best
                    .as_ref()
                    .is_none_or(|(most, _)| proposal.replicas > *most)
                {
                    best = Some((proposal.replicas, name(&goal)));
                }
            }
            Err((reason, why)) => {
                draft.complain("ScalingActive", reason, why.clone());
                trouble.get_or_insert((reason, why));
            }
        }
    }
    draft.status.current_metrics = (!shown.is_empty()).then_some(shown);
    // What is unknown might ask for more: with it, there may be more but not fewer.
    let certain = |best: &(i32, String)| trouble.is_none() || best.0 >= scale.wanted;
    match (best.clone().filter(certain), trouble.clone()) {
        (Some((replicas, cause)), _) => {
            let words =
                format!("the HPA was able to successfully calculate a replica count from {cause}");
            draft.condition("ScalingActive", true, "ValidMetricFound", &words);
            Some((replicas, cause))
        }
        (None, Some((reason, why))) => {
            let words = format!("the HPA was unable to compute the replica count: {why}");
            draft.condition("ScalingActive", false, reason, &words);
            None
        }
        (None, None) => None,
    }
}

/// What a metric of the spec wants.
fn goal(metric: &MetricSpec) -> Result<Goal, String> {
    let (name, container, target) = if let Some(resource) = &metric.resource {
        (&resource.name, None, &resource.target)
    } else if let Some(resource) = &metric.container_resource {
        let container = Some(resource.container.clone());
        (&resource.name, container, &resource.target)
    } else {
        return Err(format!(
            "unknown metric source type {:?}: only Resource and ContainerResource are measured",
            metric.type_
        ));
    };
    let of = Measured::parse(name)
        .ok_or_else(|| format!("resource {name} is not measured: only cpu and memory are"))?;
    Ok(Goal {
        of,
        container,
        target: amount(target)?,
    })
}

fn amount(target: &MetricTarget) -> Result<Amount, String> {
    if let Some(value) = &target.average_value {
        let quantity = Quantity::parse(&value.0).map_err(|error| error.to_string())?;
        return Ok(Amount::Value(quantity.millis()));
    }
    let percent = target.average_utilization.map(Amount::Utilization);
    percent.ok_or_else(|| {
        "invalid resource metric source: neither an average utilization target nor an average value target was set".to_owned()
    })
}

fn reason(metric: &MetricSpec) -> &'static str {
    if metric.container_resource.is_some() {
        "FailedGetContainerResourceMetric"
    } else {
        "FailedGetResourceMetric"
    }
}

/// What messages call a metric.
fn name(goal: &Goal) -> String {
    let of = goal.of.as_str();
    let kind = if goal.container.is_some() {
        "container resource"
    } else {
        "resource"
    };
    match goal.target {
        Amount::Utilization(_) => format!("{of} {kind} utilization (percentage of request)"),
        Amount::Value(_) => format!("{of} {kind}"),
    }
}

fn status_of(goal: &Goal, proposal: Proposal) -> MetricStatus {
    let average = match goal.of {
        Measured::Cpu => Quantity::from_millis(proposal.average).to_string(),
        Measured::Memory => {
            let bytes = proposal.average / 1000;
            bytes.to_string()
        }
    };
    let current = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(MetaQuantity(average)),
        value: None,
    };
    let name = goal.of.as_str().to_owned();
    match &goal.container {
        Some(container) => MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(ContainerResourceMetricStatus {
                container: container.clone(),
                current,
                name,
            }),
            ..MetricStatus::default()
        },
        None => MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricStatus { current, name }),
            ..MetricStatus::default()
        },
    }
}
