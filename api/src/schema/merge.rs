//! How fields merge: as upstream's Go types declare ([`crate::upstream`]), and as a table here for kinds whose types are in other modules, since
//! JSON schemas leave it out. A field that is in neither is atomic.

use super::Merging;
use crate::upstream;

/// Struct (the last two parts of its definition's name), field, patch merge key (empty: a set of scalars), server-side apply keys.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [&'static str],
);

const ROWS: &[Row] = &[("v1.APIServiceStatus", "conditions", Some("type"), &["type"])];

/// How the field `field` of the definition `name` merges.
pub(super) fn of(name: &str, field: &str) -> Merging {
    let table = upstream::table();
    if table.definition(name).is_some() {
        return table.merging(name, field);
    }
    let row = ROWS
        .iter()
        .find(|(of, named, ..)| *named == field && name.ends_with(of) && name.len() > of.len());
    match row {
        Some((_, _, patch_key, list_keys)) => Merging {
            patch_key: *patch_key,
            list_keys: list_keys.to_vec(),
            ..Merging::default()
        },
        None => Merging::default(),
    }
}
