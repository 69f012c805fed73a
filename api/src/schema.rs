//! The structure of kinds: which fields there are, of which types, how lists merge. Derived from k8s-openapi's JSON schemas, which lack the list
//! types and merge keys; those come from [`merge`]. Compact and shared: every kind's definitions are in one catalog.

mod catalog;
mod merge;

use std::{collections::BTreeMap, sync::Arc};

pub use catalog::{Catalog, Defines, defines};

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// An object with named fields, to be looked up in the catalog.
    Struct(Arc<str>),
    /// An object with free keys.
    Map(Arc<Type>),
    /// A list.
    List(Arc<Type>),
    /// Text. The format is `byte`, `date-time` or empty.
    String(&'static str),
    /// A whole number of 32 or 64 bits.
    Integer(u8),
    /// Any number.
    Number,
    /// True or false.
    Boolean,
    /// A whole number or text.
    IntOrString,
    /// An amount: text, or a number that is read as text.
    Quantity,
    /// Anything: nothing below is known.
    Any,
}

/// How two versions of a list become one (KEP-555, and the older patch strategies that strategic merge patch uses).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merging {
    /// Strategic merge patch merges the list by this key; `Some("")` merges a list of scalars as a set.
    pub patch_key: Option<&'static str>,
    /// Strategic merge patch keeps only the keys that the patch names (`$retainKeys`).
    pub retain_keys: bool,
    /// Server-side apply identifies elements by these keys, or by their values when the key is empty; no keys: the list is replaced whole.
    pub list_keys: Vec<&'static str>,
    /// Server-side apply replaces the object whole.
    pub atomic: bool,
    /// Go always has this struct, list or map, empty if nothing is in it.
    pub always: bool,
    /// What the field is taken to be where it is a key of list elements and not given.
    pub default: Option<&'static str>,
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its type.
    pub of: Type,
    /// How it merges.
    pub merging: Merging,
    /// What it is for, as upstream documents it.
    pub description: Arc<str>,
}

/// A struct.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Struct {
    /// The definition's full name, `io.k8s.api.core.v1.Container`.
    pub name: Arc<str>,
    /// What it is for.
    pub description: Arc<str>,
    /// Server-side apply replaces it whole.
    pub atomic: bool,
    /// Its fields by name.
    pub fields: BTreeMap<Box<str>, Field>,
    /// The fields that must be there.
    pub required: Vec<Box<str>>,
}

/// A kind's structure: its root struct and what that refers to.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The catalog that the names of [`Type::Struct`] are looked up in.
    pub catalog: Arc<Catalog>,
    /// The type of the whole object.
    pub root: Type,
}

impl Schema {
    /// A schema that knows nothing and allows everything.
    #[must_use]
    pub fn any() -> Self {
        Self {
            catalog: Arc::default(),
            root: Type::Any,
        }
    }

    /// The struct a type stands for.
    #[must_use]
    pub fn resolve(&self, of: &Type) -> Option<&Struct> {
        match of {
            Type::Struct(name) => self.catalog.get(name),
            _ => None,
        }
    }

    /// The field `name` of a type, where it is a struct that has it.
    #[must_use]
    pub fn field(&self, of: &Type, name: &str) -> Option<&Field> {
        self.resolve(of)?.fields.get(name)
    }
}
