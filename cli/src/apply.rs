//! `coracle apply`: creates what a YAML file describes, or changes it to that, for machines without kubectl. The change is a strategic merge of the
//! file into what is there: unlike kubectl's three-way merge it takes nothing away that the file no longer mentions.

use std::{
    fs,
    io::{self, Read, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, ValidationDirective},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde_json::Value;

use crate::{client::ClientArguments, failure};

/// What to apply.
#[derive(Args)]
pub(crate) struct ApplyArguments {
    #[command(flatten)]
    client: ClientArguments,
    /// A file of YAML or JSON, with any number of documents; `-` is standard input. May be given again.
    #[arg(long = "filename", short, required = true)]
    files: Vec<PathBuf>,
    /// The namespace of objects that name none.
    #[arg(long, short, default_value = "default")]
    namespace: String,
}

/// Applies every document of every file in order; stops at the first that is refused.
pub(crate) async fn run(arguments: ApplyArguments) -> anyhow::Result<()> {
    let client = arguments.client.client().await?;
    for file in &arguments.files {
        let text = read(file).with_context(|| format!("read {}", file.display()))?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("{} is not YAML", file.display()))?;
        for document in documents.into_iter().filter(|value| !value.is_null()) {
            let done = apply(&client, &arguments.namespace, document)
                .await
                .with_context(|| format!("apply {}", file.display()))?;
            writeln!(io::stdout(), "{done}")?;
        }
    }
    Ok(())
}

fn read(file: &PathBuf) -> std::io::Result<String> {
    if file.as_os_str() != "-" {
        return fs::read_to_string(file);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

async fn apply(client: &kube::Client, namespace: &str, document: Value) -> anyhow::Result<String> {
    let object: DynamicObject = serde_json::from_value(document.clone())
        .context("every document needs apiVersion, kind and metadata")?;
    let Some(types) = &object.types else {
        bail!("a document has no apiVersion and kind");
    };
    let kind = GroupVersionKind::try_from(types).context("apiVersion is GROUP/VERSION or v1")?;
    let (resource, capabilities) =
        discovery::pinned_kind(client, &kind)
            .await
            .with_context(|| {
                format!(
                    "the cluster knows no {} in {}",
                    types.kind, types.api_version
                )
            })?;
    let named = object.metadata.name.clone().unwrap_or_default();
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object.metadata.namespace.as_deref().unwrap_or(namespace);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    let shown = format!("{}/{named}", resource.plural);
    let creating = create(&api, &document)?;
    match client.request::<DynamicObject>(creating).await {
        Ok(_) => Ok(format!("{shown} created")),
        Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => {
            let before = api
                .get(&named)
                .await
                .map_err(failure::of_request)
                .with_context(|| shown.clone())?;
            let patch = PatchParams {
                field_manager: Some("coracle".to_owned()),
                field_validation: Some(ValidationDirective::Strict),
                ..PatchParams::default()
            };
            let after = api
                .patch(&named, &patch, &Patch::Strategic(document))
                .await
                .map_err(failure::of_request)
                .with_context(|| shown.clone())?;
            let same = before.metadata.resource_version == after.metadata.resource_version;
            Ok(format!(
                "{shown} {}",
                if same { "unchanged" } else { "configured" }
            ))
        }
        Err(error) => Err(failure::of_request(error)).context(shown),
    }
}

/// The request that creates `document`; a field that the kind does not have is refused.
fn create(api: &Api<DynamicObject>, document: &Value) -> anyhow::Result<http::Request<Vec<u8>>> {
    let path = format!(
        "{}?fieldManager=coracle&fieldValidation=Strict",
        api.resource_url()
    );
    http::Request::post(&path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(serde_json::to_vec(document)?)
        .with_context(|| format!("{path:?} is no path of a URL"))
}
