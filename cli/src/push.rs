//! `coracle push`: makes an OCI image of a module and puts it into the cluster's registry.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use clap::Args;
use coracle_api::image::{ComponentInfo, Image, ImageReference};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use kube::client::Body;

use crate::{client::ClientArguments, failure};

/// What is read of an answer that says no.
const REFUSAL_LIMIT: usize = 4096;

/// What to push.
#[derive(Args)]
pub(crate) struct PushArguments {
    #[command(flatten)]
    client: ClientArguments,
    /// What the image is called: NAME:TAG, without a registry's host.
    image: String,
    /// The module: a component or a core module for wasm32-wasi.
    file: PathBuf,
    /// Push even what this version of Coracle cannot run.
    #[arg(long)]
    unchecked: bool,
}

/// Pushes the image.
pub(crate) async fn run(arguments: PushArguments) -> anyhow::Result<()> {
    let reference = ImageReference::parse(&arguments.image)
        .with_context(|| format!("{:?} is no name of an image", arguments.image))?;
    if let Some(host) = &reference.registry {
        bail!("images go to the cluster's own registry: leave {host} out of the name");
    }
    if reference.digest.is_some() {
        bail!("a digest is what comes out: give the image a tag, as hello:1.0");
    }
    let file = arguments.file.display();
    let wasm = std::fs::read(&arguments.file).with_context(|| format!("read {file}"))?;
    if !wasm.starts_with(b"\0asm") {
        bail!("{file} is no WebAssembly module: build it for wasm32-wasip1 or wasm32-wasip2");
    }
    let info = inspect(&arguments, &wasm)?;
    let image =
        Image::of_wasm(&wasm, info.as_ref()).with_context(|| format!("make an image of {file}"))?;
    let client = arguments.client.client().await?;
    let digest = push(&client, &reference, &image, &wasm).await?;
    Ok(writeln!(
        io::stdout(),
        "pushed {} {digest}",
        arguments.image
    )?)
}

/// Says what is wrong with a module before it is pushed, and what it imports and exports.
fn inspect(arguments: &PushArguments, wasm: &[u8]) -> anyhow::Result<Option<ComponentInfo>> {
    let file = arguments.file.display();
    match coracle_runtime::artifact::inspect(wasm) {
        Ok(inspected) => {
            for warning in inspected.warnings {
                eprintln!("warning: {file}: {warning}");
            }
            Ok(Some(ComponentInfo {
                imports: inspected.imports,
                exports: inspected.exports,
            }))
        }
        Err(error) if arguments.unchecked => {
            eprintln!("warning: {file}: {error}");
            Ok(None)
        }
        Err(error) => Err(anyhow::Error::new(error).context(format!(
            "{file} could not run on any node (--unchecked pushes it all the same)"
        ))),
    }
}

async fn push(
    client: &kube::Client,
    reference: &ImageReference,
    image: &Image,
    wasm: &[u8],
) -> anyhow::Result<String> {
    let repository = &reference.repository;
    let parts = [
        (&image.layer, wasm),
        (&image.config, image.config_bytes.as_slice()),
    ];
    for (descriptor, content) in parts {
        let digest = descriptor.digest.to_string();
        let path = format!("/v2/{repository}/blobs/{digest}");
        let head = send(client, Method::HEAD, &path, None, Vec::new()).await?;
        if head.0 == StatusCode::OK {
            continue;
        }
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let octets = Some("application/octet-stream");
        let put = send(client, Method::POST, &path, octets, content.to_vec()).await?;
        expect(
            &put,
            StatusCode::CREATED,
            "the registry refuses a part of the image",
        )?;
    }
    let path = format!("/v2/{repository}/manifests/{}", reference.wanted());
    let media_type = Some(image.manifest.media_type.as_str());
    let put = send(
        client,
        Method::PUT,
        &path,
        media_type,
        image.manifest_bytes.clone(),
    )
    .await?;
    expect(&put, StatusCode::CREATED, "the registry refuses the image")?;
    Ok(image.manifest.digest.to_string())
}

fn expect(answer: &(StatusCode, String), wanted: StatusCode, what: &str) -> anyhow::Result<()> {
    if answer.0 == wanted {
        return Ok(());
    }
    bail!("{what}: {} {}", answer.0, answer.1.trim())
}

async fn send(
    client: &kube::Client,
    method: Method,
    path: &str,
    content_type: Option<&str>,
    content: Vec<u8>,
) -> anyhow::Result<(StatusCode, String)> {
    let mut request = Request::builder().method(method).uri(path);
    request = request.header(header::CONTENT_LENGTH, content.len());
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let request = request.body(Body::from(content))?;
    let answer = client
        .send(request)
        .await
        .map_err(failure::of_request)
        .context("ask the registry")?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut said = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.context("read the registry's answer")?.into_data() else {
            continue;
        };
        said.extend_from_slice(&data);
        if said.len() > REFUSAL_LIMIT {
            said.truncate(REFUSAL_LIMIT);
            break;
        }
    }
    Ok((status, String::from_utf8_lossy(&said).into_owned()))
}
