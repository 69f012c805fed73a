//! Validation per kind, with upstream's paths, reasons and words (`pkg/apis/*/validation`). [`metadata`] holds what every object must fulfil; the
//! rest is reached through the registry.

mod config;
pub mod container;
pub mod metadata;
pub mod pod;
mod rbac;
pub mod service;
pub mod volume;
pub mod workload;

pub use config::{config_map, config_map_update, secret, secret_update};
pub use rbac::{cluster_role, cluster_role_binding, role, role_binding, role_binding_update};

use serde_json::Value;

use crate::{
    fields::{FieldError, FieldPath, Problems},
    names,
    quantity::Quantity,
};

/// A field of an object together with its path.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: FieldPath,
}

static NULL: Value = Value::Null;

impl<'a> At<'a> {
    /// The whole object.
    pub(crate) fn root(value: &'a Value) -> Self {
        Self {
            value,
            path: FieldPath::root(),
        }
    }

    /// The field `name`; null when it is not there.
    pub(crate) fn field(&self, name: &str) -> At<'a> {
        At {
            value: self.value.get(name).unwrap_or(&NULL),
            path: self.path.child(name),
        }
    }

    /// Whether it is there.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The text, or nothing.
    pub(crate) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The number, if it is one.
    pub(crate) fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// Whether it is true.
    pub(crate) fn flag(&self) -> bool {
        self.value.as_bool().unwrap_or(false)
    }

    /// The elements of a list.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let path = self.path.clone();
        let items = self.value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().enumerate().map(move |(index, value)| At {
            value,
            path: path.index(index),
        })
    }

    /// The entries of a map, each with the path `map[key]`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let path = self.path.clone();
        let entries = self.value.as_object().into_iter().flatten();
        entries.map(move |(key, value)| {
            (
                key.as_str(),
                At {
                    value,
                    path: path.key(key),
                },
            )
        })
    }

    /// Whether a list or map has nothing in it, or is not there.
    pub(crate) fn is_empty(&self) -> bool {
        match self.value {
            Value::Array(items) => items.is_empty(),
            Value::Object(map) => map.is_empty(),
            Value::String(text) => text.is_empty(),
            other => other.is_null(),
        }
    }

    /// Reports that it must be there, and says whether it is.
    pub(crate) fn require(&self, problems: &mut Problems) -> bool {
        if self.is_empty() {
            problems.push(FieldError::required(&self.path, ""));
        }
        !self.is_empty()
    }

    /// Reports a text that is none of `allowed`.
    pub(crate) fn one_of(&self, allowed: &[&str], problems: &mut Problems) {
        if !allowed.contains(&self.text()) {
            problems.push(FieldError::not_supported(
                &self.path,
                self.value.clone(),
                allowed,
            ));
        }
    }

    /// Reports a number below 0.
    pub(crate) fn not_negative(&self, problems: &mut Problems) {
        if self.number().is_some_and(|number| number < 0) {
            problems.push(FieldError::invalid(
                &self.path,
                self.value.clone(),
                "must be greater than or equal to 0",
            ));
        }
    }

    /// Reports a number below 1.
    pub(crate) fn positive(&self, problems: &mut Problems) {
        if self.number().is_some_and(|number| number < 1) {
            problems.push(FieldError::invalid(
                &self.path,
                self.value.clone(),
                "must be greater than 0",
            ));
        }
    }

    /// Reports a number that is no port.
    pub(crate) fn port(&self, problems: &mut Problems) {
        if self
            .number()
            .is_none_or(|number| !(1..=65535).contains(&number))
        {
            problems.push(FieldError::invalid(
                &self.path,
                self.value.clone(),
                "must be between 1 and 65535, inclusive",
            ));
        }
    }

    /// Reports everything `check` finds wrong with the text.
    pub(crate) fn named(&self, check: fn(&str) -> Vec<String>, problems: &mut Problems) {
        for detail in check(self.text()) {
            problems.push(FieldError::invalid(&self.path, self.value.clone(), detail));
        }
    }
}

/// Reports that `new` differs from `old` where it must not.
pub(crate) fn unchanged(new: &At<'_>, old: &At<'_>, problems: &mut Problems) {
    if new.value != old.value {
        problems.push(FieldError::invalid(
            &new.path,
            new.value.clone(),
            "field is immutable",
        ));
    }
}

/// The number of a port in a probe or target: a number, or a name of the IANA form.
pub(crate) fn port_or_name(port: &At<'_>, problems: &mut Problems) {
    match port.value {
        Value::String(_) => port.named(port_name, problems),
        _ => port.port(problems),
    }
}

/// What is wrong with a text as the name of a port (RFC 6335).
pub(crate) fn port_name(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > 15 {
        wrong.push("must be no more than 15 characters".to_owned());
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        wrong.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !name.chars().any(|c| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// A number, or a percentage as `25%`.
pub(crate) fn number_or_percent(at: &At<'_>, problems: &mut Problems) {
    match at.value {
        Value::String(text) => {
            let digits = text
                .strip_suffix('%')
                .filter(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()));
            if digits.is_none() {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                problems.push(FieldError::invalid(&at.path, at.value.clone(), detail));
            }
        }
        _ => at.not_negative(problems),
    }
}

/// The selector in a workload's spec or similar.
pub(crate) fn label_selector(selector: &At<'_>, problems: &mut Problems) {
    metadata::labels(&selector.field("matchLabels"), problems);
    for expression in selector.field("matchExpressions").items() {
        let values = expression.field("values");
        let operator = expression.field("operator");
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                problems.push(FieldError::required(
                    &values.path,
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                problems.push(FieldError::forbidden(
                    &values.path,
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => problems.push(FieldError::invalid(
                &operator.path,
                operator.value.clone(),
                "not a valid selector operator",
            )),
        }
        expression
            .field("key")
            .named(names::qualified_name, problems);
    }
}

/// Reports a quantity below nothing.
pub(crate) fn quantity(at: &At<'_>, problems: &mut Problems) -> Option<Quantity> {
    let quantity = Quantity::parse(at.text()).ok()?;
    if quantity.is_negative() {
        problems.push(FieldError::invalid(
            &at.path,
            at.value.clone(),
            "must be greater than or equal to 0",
        ));
    }
    Some(quantity)
}

/// Finalizers of a Namespace's spec are changed through the finalize subresource alone; nothing else of it is validated.
#[must_use]
pub fn namespace_update(_new: &Value, _old: &Value) -> Problems {
    Vec::new()
}

/// A Node.
#[must_use]
pub fn node(object: &Value) -> Problems {
    let mut problems = Problems::new();
    for taint in At::root(object).field("spec").field("taints").items() {
        taint
            .field("key")
            .named(names::qualified_name, &mut problems);
        taint
            .field("value")
            .named(names::label_value, &mut problems);
        taint.field("effect").one_of(
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            &mut problems,
        );
    }
    problems
}

/// An Event: it is about something in its own namespace.
#[must_use]
pub fn event(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let root = At::root(object);
    let involved = root.field("involvedObject").field("namespace");
    let namespace = root.field("metadata").field("namespace").text();
    let expected = if involved.text().is_empty() {
        "default"
    } else {
        involved.text()
    };
    if namespace != expected {
        problems.push(FieldError::invalid(
            &involved.path,
            involved.value.clone(),
            "does not match event.namespace",
        ));
    }
    problems
}

/// An EndpointSlice.
#[must_use]
pub fn endpoint_slice(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let root = At::root(object);
    let kind = root.field("addressType");
    if kind.require(&mut problems) {
        kind.one_of(&["FQDN", "IPv4", "IPv6"], &mut problems);
    }
    if root.field("endpoints").items().count() > 1000 {
        problems.push(FieldError::too_many(
            &root.field("endpoints").path,
            root.field("endpoints").items().count(),
            1000,
        ));
    }
    for endpoint in root.field("endpoints").items() {
        endpoint.field("addresses").require(&mut problems);
        for address in endpoint.field("addresses").items() {
            let fits = match kind.text() {
                "IPv4" => address.text().parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => address.text().parse::<std::net::Ipv6Addr>().is_ok(),
                _ => names::dns1123_subdomain(address.text()).is_empty(),
            };
            if !fits {
                let detail = format!("must be a valid {} address", kind.text());
                problems.push(FieldError::invalid(
                    &address.path,
                    address.value.clone(),
                    detail,
                ));
            }
        }
    }
    for port in root.field("ports").items() {
        port.field("protocol")
            .one_of(&["SCTP", "TCP", "UDP"], &mut problems);
    }
    problems
}

/// A changed EndpointSlice.
#[must_use]
pub fn endpoint_slice_update(new: &Value, old: &Value) -> Problems {
    let mut problems = Problems::new();
    unchanged(
        &At::root(new).field("addressType"),
        &At::root(old).field("addressType"),
        &mut problems,
    );
    problems
}

/// A Lease.
#[must_use]
pub fn lease(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let spec = At::root(object).field("spec");
    spec.field("leaseDurationSeconds").positive(&mut problems);
    spec.field("leaseTransitions").not_negative(&mut problems);
    problems
}

/// A HorizontalPodAutoscaler.
#[must_use]
pub fn autoscaler(object: &Value) -> Problems {
    let mut problems = Problems::new();
    let spec = At::root(object).field("spec");
    let (minimum, maximum) = (spec.field("minReplicas"), spec.field("maxReplicas"));
    minimum.positive(&mut problems);
    maximum.positive(&mut problems);
    if maximum.number().is_none() {
        problems.push(FieldError::invalid(
            &maximum.path,
            0,
            "must be greater than 0",
        ));
    } else if maximum.number() < minimum.number() {
        problems.push(FieldError::invalid(
            &maximum.path,
            maximum.value.clone(),
            "must be greater than or equal to `minReplicas`",
        ));
    }
    for field in ["kind", "name"] {
        spec.field("scaleTargetRef")
            .field(field)
            .require(&mut problems);
    }
    for metric in spec.field("metrics").items() {
        let kind = metric.field("type");
        kind.one_of(
            &[
                "ContainerResource",
                "External",
                "Object",
                "Pods",
                "Resource",
            ],
            &mut problems,
        );
        let source = match kind.text() {
            "Resource" => metric.field("resource"),
            "ContainerResource" => metric.field("containerResource"),
            "Pods" => metric.field("pods"),
            "Object" => metric.field("object"),
            _ => metric.field("external"),
        };
        if !source.require(&mut problems) {
            continue;
        }
        let target = source.field("target");
        target
            .field("type")
            .one_of(&["AverageValue", "Utilization", "Value"], &mut problems);
        target.field("averageUtilization").positive(&mut problems);
        let any = ["averageUtilization", "averageValue", "value"]
            .iter()
            .any(|field| target.field(field).is_set());
        if !any {
            problems.push(FieldError::required(
                &target.path,
                "must set either a target raw value or a target utilization",
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests;
