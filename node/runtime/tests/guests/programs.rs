//! Programs that behave.

use coracle_runtime::{ArtifactError, ContainerKind, Exit, Mount};

use crate::harness::{runtime, start, wasm};

#[tokio::test]
async fn arguments_environment_output_and_exit_code_arrive() {
    let running = start("exits-with", |spec| {
        spec.args.push("42".into());
        spec.env.push(("GREETING".into(), "hello".into()));
    })
    .await;
    assert_eq!(running.exit().await, Exit::Completed(42));
    assert_eq!(
        running.out.text(),
        "arguments [\"exits-with\", \"42\"]\nGREETING=hello\n"
    );
    assert_eq!(running.err.text(), "to standard error\n");
}

#[tokio::test]
async fn mounts_are_all_the_files_there_are() {
    let (data, readonly) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(readonly.path().join("given"), "hi").unwrap();
    let running = start("uses-files", |spec| {
        let mount = |folder: &tempfile::TempDir, guest: &str, read_only| Mount {
            host_path: folder.path().into(),
            guest_path: guest.into(),
            read_only,
        };
        spec.mounts = vec![
            mount(&data, "/data", false),
            mount(&readonly, "/readonly", true),
        ];
    })
    .await;
    assert_eq!(
        running.exit().await,
        Exit::Completed(0),
        "{}",
        running.err.text()
    );
    assert_eq!(
        running.out.text(),
        "read kept\nreadonly says hi\nwrite to readonly: true\nout by dots: true\nout by root: true\n"
    );
    assert_eq!(
        std::fs::read_to_string(data.path().join("file")).unwrap(),
        "kept"
    );
}

#[tokio::test]
async fn what_cannot_run_is_told_apart() {
    let prepare = |bytes: Vec<u8>| async move { runtime().prepare(bytes.into()).await };
    assert!(matches!(
        prepare(b"#!/bin/sh".to_vec()).await,
        Err(ArtifactError::NotWasm)
    ));
    let good = wasm("exits-with");
    assert!(matches!(
        prepare(good[..good.len() / 2].to_vec()).await,
        Err(ArtifactError::Malformed(_))
    ));
    assert!(matches!(
        prepare(b"\0asm\x01\0\0\0".to_vec()).await,
        Err(ArtifactError::NoEntry | ArtifactError::Malformed(_))
    ));
    assert!(matches!(
        prepare(vec![0; 65 << 20]).await,
        Err(ArtifactError::TooLarge { .. })
    ));
    // (module (import "env" "secret" (func)) (func (export "_start")))
    let stranger = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0e\x01\x03env\x06secret\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\x01\x0a\x04\x01\x02\0\x0b";
    let refused = prepare(stranger.to_vec()).await;
    assert!(
        matches!(&refused, Err(ArtifactError::UnknownImport(what)) if what.contains("env")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_module_is_compiled_once() {
    let first = runtime().prepare(wasm("exits-with")).await.unwrap();
    let again = runtime().prepare(wasm("exits-with")).await.unwrap();
    assert_eq!(first.digest, again.digest);
    assert_eq!(first.kind, ContainerKind::Command);
    assert_eq!(
        runtime().prepare(wasm("hello-http")).await.unwrap().kind,
        ContainerKind::HttpHandler
    );
}
