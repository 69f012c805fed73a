//! Definitions by name, converted from what schemars generates for k8s-openapi's types.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{Field, Struct, Type, merge};
use crate::upstream;

/// A type's definitions: how to generate them and the name of its own.
#[derive(Clone, Copy, Debug)]
pub struct Defines {
    generate: fn(&mut SchemaGenerator) -> schemars::Schema,
    name: fn() -> Cow<'static, str>,
}

/// [`Defines`] for a type.
#[must_use]
pub fn defines<T: JsonSchema>() -> Defines {
    Defines {
        generate: SchemaGenerator::subschema_for::<T>,
        name: T::schema_name,
    }
}

/// All definitions of a set of kinds.
#[derive(Debug, Default)]
pub struct Catalog {
    structs: BTreeMap<Arc<str>, Struct>,
    /// Definitions that are not structs, such as quantities and times.
    others: BTreeMap<Arc<str>, Type>,
}

impl Catalog {
    /// The definitions that `kinds` need.
    pub fn collect(kinds: impl Iterator<Item = Defines>) -> Self {
        let mut generator = SchemaSettings::openapi3().into_generator();
        for define in kinds {
            (define.generate)(&mut generator);
        }
        let mut catalog = Self::default();
        let definitions = generator.take_definitions(false);
        // What is not a struct first: the fields of structs refer to it.
        for (name, schema) in &definitions {
            if schema.get("properties").is_none() {
                let of = special(name).unwrap_or_else(|| catalog.plain(schema));
                catalog.others.insert(Arc::from(name.as_str()), of);
            }
        }
        for (name, schema) in &definitions {
            if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
                let structure = catalog.structure(name, schema, properties);
                catalog
                    .structs
                    .insert(Arc::clone(&structure.name), structure);
            }
        }
        catalog
    }

    /// The struct of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Struct> {
        self.structs.get(name)
    }

    /// The type that a definition's name stands for.
    #[must_use]
    pub fn named(&self, name: &str) -> Type {
        match self.others.get(name) {
            Some(of) => of.clone(),
            None => Type::Struct(Arc::from(name)),
        }
    }

    /// The type of a kind.
    #[must_use]
    pub fn root(&self, defines: Defines) -> Type {
        self.named(&(defines.name)())
    }

    /// All structs.
    pub fn iter(&self) -> impl Iterator<Item = &Struct> {
        self.structs.values()
    }

    fn structure(&self, name: &str, schema: &Value, properties: &Map<String, Value>) -> Struct {
        let fields = properties.iter().map(|(key, property)| {
            let field = Field {
                of: self.plain(property),
                merging: merge::of(name, key),
                description: description(property),
            };
            (Box::from(key.as_str()), field)
        });
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        Struct {
            name: Arc::from(name),
            description: description(schema),
            atomic: upstream::table()
                .definition(name)
                .is_some_and(|message| message.atomic),
            fields: fields.collect(),
            required: required.filter_map(Value::as_str).map(Box::from).collect(),
        }
    }

    fn plain(&self, schema: &Value) -> Type {
        if let Some(name) = reference(schema) {
            return special(name).unwrap_or_else(|| self.named(name));
        }
        if schema
            .get("x-kubernetes-int-or-string")
            .and_then(Value::as_bool)
            == Some(true)
        {
            return Type::IntOrString;
        }
        let format = schema
            .get("format")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => Type::String(match format {
                "byte" => "byte",
                "date-time" => "date-time",
                _ => "",
            }),
            Some("integer") => Type::Integer(if format == "int32" { 32 } else { 64 }),
            Some("number") => Type::Number,
            Some("boolean") => Type::Boolean,
            Some("array") => Type::List(Arc::new(
                schema
                    .get("items")
                    .map_or(Type::Any, |items| self.plain(items)),
            )),
            Some("object") => match schema.get("additionalProperties") {
                Some(values @ Value::Object(_)) => Type::Map(Arc::new(self.plain(values))),
                _ => Type::Any,
            },
            _ => Type::Any,
        }
    }
}

/// Definitions whose JSON form their schema does not tell.
fn special(name: &str) -> Option<Type> {
    let (_, short) = name.rsplit_once('.')?;
    match short {
        "Quantity" => Some(Type::Quantity),
        "IntOrString" => Some(Type::IntOrString),
        "Time" | "MicroTime" => Some(Type::String("date-time")),
        "FieldsV1"
        | "RawExtension"
        | "JSON"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrStringArray" => Some(Type::Any),
        _ => None,
    }
}

/// The definition a schema refers to, directly or as the only member of `allOf`.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema
        .get("$ref")
        .or_else(|| schema.get("allOf")?.get(0)?.get("$ref"))?;
    direct.as_str()?.rsplit_once('/').map(|(_, name)| name)
}

/// A schema's description; the same text is kept once.
fn description(schema: &Value) -> Arc<str> {
    static EMPTY: OnceLock<Arc<str>> = OnceLock::new();
    match schema.get("description").and_then(Value::as_str) {
        Some(text) => Arc::from(text),
        None => Arc::clone(EMPTY.get_or_init(|| Arc::from(""))),
    }
}
