//! An applied configuration merged into the live object: what the configuration says wins, what it does not say stays.

use serde_json::{Map, Value};

use super::{Element, Place, Shape};
use crate::schema::Schema;

/// Merges `config` into `live`.
pub(super) fn merge(live: &Value, config: &Value, schema: &Schema) -> Value {
    merged(Some(live), config, Place::root(schema))
}

fn merged(live: Option<&Value>, config: &Value, place: Place<'_>) -> Value {
    match (place.shape(config), config) {
        (Shape::Map(place), Value::Object(config)) => {
            let mut out = match live {
                Some(Value::Object(live)) => live.clone(),
                _ => Map::new(),
            };
            for (key, value) in config {
                // An applied null says that there shall be nothing.
                if value.is_null() {
                    out.remove(key);
                    continue;
                }
                let live = out.get(key);
                let value = merged(live, value, place.child(key));
                out.insert(key.clone(), value);
            }
            Value::Object(out)
        }
        (Shape::List(place, keys), Value::Array(config)) => {
            let live = live
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            Value::Array(merged_list(live, config, place, keys))
        }
        _ => config.clone(),
    }
}

/// Merges lists whose elements have identities: those of the configuration in its order, those it does not name where they were between them.
fn merged_list(live: &[Value], config: &[Value], place: Place<'_>, keys: &[&str]) -> Vec<Value> {
    let identities = |items: &[Value]| -> Vec<Option<Element>> {
        items
            .iter()
            .map(|item| place.identity(item, keys))
            .collect()
    };
    let (live_ids, config_ids) = (identities(live), identities(config));
    let shared = |id: &Option<Element>| id.is_some() && live_ids.contains(id);
    let mut order = config_ids.iter().filter(|id| shared(id));
    let mut next = order.next();
    let mut done: Vec<&Option<Element>> = Vec::new();
    let mut out = Vec::with_capacity(live.len() + config.len());
    let take = |id: &Option<Element>, value: &Value, out: &mut Vec<Value>| {
        let old = live_ids.iter().position(|one| one == id && id.is_some());
        let old = old.and_then(|at| live.get(at));
        out.push(merged(old, value, place.item()));
    };
    let (mut l, mut c) = (0, 0);
    while l < live.len() || c < config.len() {
        let (live_id, config_id) = (live_ids.get(l), config_ids.get(c));
        if let (Some(id), Some(wanted)) = (live_id, config_id) {
            if id == wanted && id.is_some() {
                if let Some(value) = config.get(c) {
                    take(id, value, &mut out);
                }
                done.push(id);
                l += 1;
                c += 1;
                next = order.next();
                continue;
            }
            // Shared, but another one comes first in the configuration.
            if config_ids.contains(id) && next.is_some_and(|next| next != id) {
                l += 1;
                continue;
            }
        }
        if let Some(id) = live_id {
            if !config_ids.contains(id) || id.is_none() {
                out.extend(live.get(l).cloned());
                l += 1;
                continue;
            }
            if done.contains(&id) {
                l += 1;
                continue;
            }
        }
        if let (Some(id), Some(value)) = (config_id, config.get(c)) {
            take(id, value, &mut out);
            done.push(id);
            c += 1;
            if next == Some(id) {
                next = order.next();
            }
        } else {
            // Only shared ones are left, whose place is taken.
            l += 1;
        }
    }
    out
}
